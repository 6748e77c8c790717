"""Callbacks: objects whose hooks are called during training."""

from minidense.callbacks.base import Callback, LambdaCallback
from minidense.callbacks.checkpoint import BackupAndRestore, ModelCheckpoint
from minidense.callbacks.monitors import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN
from minidense.callbacks.reporting import CSVLogger, GradientHealth

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "GradientHealth",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

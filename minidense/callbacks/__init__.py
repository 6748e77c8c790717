"""Callbacks: objects whose hooks are called during training."""

from typing import TYPE_CHECKING

from minidense.callbacks.base import Callback, LambdaCallback
from minidense.callbacks.checkpoint import BackupAndRestore, ModelCheckpoint
from minidense.callbacks.monitors import (
    EarlyStopping,
    KeepBest,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minidense.callbacks.reporting import CSVLogger, GradientHealth, History
from minidense.core.instead import module_attribute

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "GradientHealth",
    "History",
    "KeepBest",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

if not TYPE_CHECKING:
    __getattr__ = module_attribute("callbacks")

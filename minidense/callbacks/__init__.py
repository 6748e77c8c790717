"""Callbacks: what happens around a training run without being part of it."""

from minidense.callbacks.base import (
    Callback,
    CSVLogger,
    EarlyStopping,
    GradientHealth,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "GradientHealth",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
]

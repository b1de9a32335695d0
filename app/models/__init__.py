"""The tables."""

from app.models.accounts import ServiceKey, User
from app.models.base import Base
from app.models.practice_task import PracticeTask, ShadowPrediction, StudentState, StudentTotal
from app.models.training import ModelTracker, ModelVersion, ServingChange, TrainingRun

__all__ = [
    "Base",
    "ModelTracker",
    "ModelVersion",
    "PracticeTask",
    "ServiceKey",
    "ServingChange",
    "ShadowPrediction",
    "StudentState",
    "StudentTotal",
    "TrainingRun",
    "User",
]

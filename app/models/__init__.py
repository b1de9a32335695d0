"""The tables."""

from app.models.accounts import ServiceKey, User
from app.models.base import Base
from app.models.practice_task import PracticeTask, StudentPosterior, StudentTotal
from app.models.training import ModelTracker, ModelVersion, TrainingRun

__all__ = [
    "Base",
    "ModelTracker",
    "ModelVersion",
    "PracticeTask",
    "ServiceKey",
    "StudentPosterior",
    "StudentTotal",
    "TrainingRun",
    "User",
]

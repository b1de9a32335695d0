"""The tables."""

from app.models.accounts import BrowserSession, ServiceKey, User
from app.models.base import Base
from app.models.guarding import AuditEntry, Erasure, RateLimit, TrainingControl
from app.models.planning import ExamPlan
from app.models.practice_task import PracticeTask, ShadowPrediction, StudentState, StudentTotal
from app.models.training import ModelTracker, ModelVersion, NetworkSettings, ServingChange, TrainingRun

__all__ = [
    "AuditEntry",
    "Base",
    "BrowserSession",
    "Erasure",
    "ExamPlan",
    "ModelTracker",
    "ModelVersion",
    "NetworkSettings",
    "PracticeTask",
    "RateLimit",
    "ServiceKey",
    "ServingChange",
    "ShadowPrediction",
    "StudentState",
    "StudentTotal",
    "TrainingControl",
    "TrainingRun",
    "User",
]

"""Predictions, and what completions set off: the synchronous door for console, command line and scripts.

The hot routes go the same way asynchronously; what lies between the statements is `predict`, for both.
"""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import model_tracker, practice_tasks, student_totals
from app.crud.practice_tasks import Asked
from app.crud.student_totals import Past
from app.domain.tasks import Prediction, Task
from app.ml.features import Totals, history_features
from app.ml.prior import PRIOR
from app.ml.serving import Loaded, serving_model
from app.ml.trainer import silent, trainer

log = logging.getLogger("smartstudy.predictions")
_told: set[int] = set()  # versions whose nonsense the log has had already


def predict(loaded: Loaded | None, asked: Asked, past: Past) -> Prediction:
    """What the loaded model says of this task; the prior, where there is none or it gives no finite number."""
    if loaded is None:
        return PRIOR
    features = history_features(Totals(past.counts, past.correct, past.seconds))
    chances, times = loaded.model.predict([str(asked.user_id)], [asked.topic], [asked.difficulty], features)
    chance, seconds = float(chances[0]), float(times[0])
    if not (math.isfinite(chance) and math.isfinite(seconds)):
        if loaded.version.id not in _told:
            _told.add(loaded.version.id)
            log.error("version %s gave %s and %s s; the prior answers", loaded.version.id, chance, seconds)
        return PRIOR
    limits = settings()
    return Prediction(
        min(max(chance, limits.min_probability), limits.max_probability),
        min(max(seconds, limits.min_seconds), limits.max_seconds),
        loaded.version.kind,
        loaded.version.id,
    )


class EmbeddingModelService:
    """Predict, complete and train from a console: `EmbeddingModelService(next(get_db()))`.

    Each call is one transaction of the session, committed when it returns.
    """

    def __init__(self, db: Session) -> None:
        self.db = db

    def predict_and_save(self, user_id: UUID | str, topic: str, difficulty: str, item_id: str | None = None) -> Task:
        """Create a task with its prediction.

        Raises:
            ValueError: the user id is no UUID, the topic is empty or too long, the difficulty unknown.
        """
        from app.schemas.practice_tasks import NewTask

        checked = NewTask.model_validate(
            {"user_id": str(user_id), "topic": topic, "difficulty": difficulty, "item_id": item_id}
        )
        asked = Asked(UUID(str(user_id)), checked.topic, checked.difficulty.value, checked.item_id)
        serving_model().refresh()
        past = student_totals.past_of(
            student_totals.PAST.first_now(
                self.db, user_id=asked.user_id, topic=asked.topic, difficulty=asked.difficulty
            )
        )
        new = practice_tasks.new_row(asked, past.at, predict(serving_model().current, asked, past))
        row = practice_tasks.INSERT.first_now(self.db, **new)
        self.db.commit()
        return practice_tasks.task_of(row)

    def on_task_completed(self, task_id: UUID | str, is_correct: bool, actual_time_seconds: float) -> Task:
        """Record how the student did and count it; the fifth starts a training in the background.

        Raises:
            TaskNotFound: there is no such task.
            OtherResult: it was completed before with another result.
            ValueError: the result is not a yes or no with a finite time above 0.
        """
        from app.schemas.practice_tasks import TaskResult

        result = TaskResult(is_correct=is_correct, actual_time_seconds=actual_time_seconds)
        asked = {"id": UUID(str(task_id)), "owner": None}
        values: dict[str, Any] = {"is_correct": result.is_correct, "seconds": result.actual_time_seconds}
        row = practice_tasks.COMPLETE.first_now(self.db, **asked, **values)
        counted = model_tracker.COUNT.first_now(self.db, finished=1) if row else None
        if counted is None:
            return practice_tasks.settled(practice_tasks.GET.first_now(self.db, **asked), **values)
        self.db.commit()
        if counted["n_samples_since_training"] >= settings().retrain_every:
            trainer().request()
        return practice_tasks.task_of(row)

    def force_train(self, verbose: bool = False) -> Mapping[str, Any]:
        """Train now on all finished tasks, whatever the counter says, and wait for it.

        Returns {"outcome": "published" | "failed", "message": a sentence, ...}; with `verbose` it tells how it goes.
        """
        result = self.train(_print_progress if verbose else silent)
        if verbose:
            print(result["message"])
        return result

    def train(self, say: Callable[[Mapping[str, Any]], None] = silent) -> Mapping[str, Any]:
        """`force_train` for those who show the progress themselves: `say` gets every step."""
        self.db.commit()  # what the session has not committed, the training would not see
        result = trainer().train_now(say)
        serving_model().refresh()
        return result


def _print_progress(step: Mapping[str, Any]) -> None:
    print(describe(step), flush=True)


def describe(step: Mapping[str, Any]) -> str:
    """A step of a training in words."""
    if "epoch" not in step:
        return str(step.get("step", "training"))
    numbers = "  ".join(
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in step.items() if isinstance(value, float)
    )
    return f"epoch {step['epoch']} of {step.get('epochs', '?')}  {numbers}"

"""Topics as a student may stand with them: the ordinary case, and the difference."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from app.domain.attempts import DIFFICULTIES
from app.domain.planning import Exam, PractisedTask, TopicState
from app.domain.tasks import Prediction
from app.ml.prior import PRIOR

NOW = datetime(2026, 3, 2, 15, tzinfo=UTC)
CHANCES, SECONDS = (0.9, 0.8, 0.6), (30.0, 45.0, 70.0)  # easy, medium, hard


def prediction(chance: float, seconds: float = 45.0) -> Prediction:
    return Prediction(chance, seconds, "v1.0", 7, chance / 2, (1 + chance) / 2, seconds / 2, seconds * 2)


def topic(name: str = "algebra", chances: tuple[float, ...] = CHANCES, **more: Any) -> TopicState:
    """Never practised, unless `more` says else."""
    said = (prediction(*each) for each in zip(chances, more.pop("seconds", SECONDS), strict=True))
    recent = more.get("recent", ())
    counts = {"n": len(recent), "n_correct": sum(done.is_correct for done in recent)}
    return TopicState(name, dict(zip(DIFFICULTIES, said, strict=True)), **(counts | more))


def unknown(name: str = "algebra", **more: Any) -> TopicState:
    """Before there is any model."""
    return TopicState(name, dict.fromkeys(DIFFICULTIES, PRIOR), **more)


def done(results: str, difficulty: str = "medium", ago: timedelta = timedelta(minutes=5)) -> tuple[PractisedTask, ...]:
    """Tasks a minute apart, newest first, the newest so long ago: "rwr" is right, wrong, right."""
    return tuple(
        PractisedTask(difficulty, result == "r", NOW - ago - timedelta(minutes=place))
        for place, result in enumerate(results)
    )


def exam(*topics: str, days: int = 10, **more: Any) -> Exam:
    values = {"name": "Finals", "minutes_per_day": 30, "target": 0.8, "chances_at_start": {}, **more}
    date_of_it: date = NOW.date() + timedelta(days=days)
    return Exam(UUID(int=1), UUID(int=2), exam_date=date_of_it, topics=topics, created_at=NOW, **values)

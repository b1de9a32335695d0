"""The web application as the source documents describe it, small, to measure against.

    uvicorn benchmarks.reference.web_documents:app      (DATABASE_URL, filled by `fill`)

Taken from them: `POST /practice-tasks` reads the student's tasks from the database, computes the eleven features from
them in Python, asks both Keras networks by `predict` and saves the task with the answer. `PATCH /practice-tasks/{id}`
saves the result, reads the counter and writes it back one higher; at five a thread of the web process trains both
networks by `fit` (50 epochs, batches of 32) on all finished tasks, with a session of its own, puts them in place of the
old ones and sets the counter to 0. FastAPI, synchronous routes, a SQLAlchemy session per request, psycopg2.

Left out, for it would only cost more: sign-in, other pages, the LNIRT fallback, files of models. The networks start
untrained: they are as slow. Training computes its features as ours does, which is far faster than row by row.
"""

import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import numpy as np
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from app.domain.attempts import DIFFICULTIES, Attempts
from benchmarks.reference import v2_documents

TRAIN_EVERY = 5
AT_LEAST = 10  # finished tasks


class Base(DeclarativeBase):
    pass


class PracticeTask(Base):
    __tablename__ = "practice_tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(index=True)
    topic: Mapped[str]
    difficulty: Mapped[str]
    created_at: Mapped[datetime]
    completed: Mapped[bool] = mapped_column(default=False)
    is_correct: Mapped[bool | None]
    actual_time_seconds: Mapped[float | None]
    completed_at: Mapped[datetime | None]
    correctness_prob: Mapped[float | None]
    estimated_time_seconds: Mapped[float | None]
    lnirt_model_version: Mapped[str | None]


class Tracker(Base):
    __tablename__ = "embedding_model_tracker"

    id: Mapped[int] = mapped_column(primary_key=True)
    n_samples_since_training: Mapped[int] = mapped_column(default=0)
    n_samples_last_training: Mapped[int] = mapped_column(default=0)
    last_trained_at: Mapped[datetime | None]


class Models:
    """Both networks, and the names they know."""

    def __init__(self, attempts: Attempts) -> None:
        self.networks = v2_documents.untrained(attempts)
        self._students = {name: place for place, name in enumerate(attempts.students)}
        self._topics = {name: place for place, name in enumerate(attempts.topics)}

    def predict(self, new: "NewTask", features: Sequence[float]) -> tuple[float, float]:
        """Probability and seconds; strangers and new topics get the first vector."""
        ids = (self._students.get(str(new.user_id), 0), self._topics.get(new.topic, 0))
        inputs = [np.array([place]) for place in (*ids, DIFFICULTIES.index(new.difficulty))]
        asked = [*inputs, np.array([features], np.float32)]
        p, seconds = (float(network.predict(asked, verbose=0)[0, 0]) for network in self.networks.both())
        return min(max(p, 0.01), 0.99), min(max(seconds, 5.0), 600.0)


class NewTask(BaseModel):
    user_id: UUID
    topic: str
    difficulty: str


class TaskResult(BaseModel):
    is_correct: bool
    actual_time_seconds: float


def new_session(url: str) -> sessionmaker[Session]:
    return sessionmaker(create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1)))


def fill(url: str, attempts: Attempts) -> None:
    """Make the tables and store finished tasks."""
    sessions = new_session(url)
    Base.metadata.create_all(sessions.kw["bind"])
    a = attempts
    rows = [
        {
            "user_id": UUID(a.students[a.student[row]]),
            "topic": a.topics[a.topic[row]],
            "difficulty": DIFFICULTIES[a.difficulty[row]],
            "created_at": _moment(a.started[row]),
            "completed": True,
            "is_correct": bool(a.correct[row]),
            "actual_time_seconds": float(a.seconds[row]),
            "completed_at": _moment(a.finished[row]),
        }
        for row in range(len(a))
    ]
    with sessions.begin() as db:
        db.execute(insert(PracticeTask), rows)
        if db.get(Tracker, 1) is None:
            db.add(Tracker(id=1))


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC).replace(tzinfo=None)


def _finished(db: Session) -> Attempts:
    """All finished tasks."""
    rows = db.scalars(select(PracticeTask).where(PracticeTask.completed).order_by(PracticeTask.completed_at)).all()
    students, topics = sorted({str(row.user_id) for row in rows}), sorted({row.topic for row in rows})
    moments = np.array([[_micros(row.created_at), _micros(row.completed_at)] for row in rows]).reshape(-1, 2)
    return Attempts(
        tuple(students),
        tuple(topics),
        (),
        np.array([students.index(str(row.user_id)) for row in rows], np.int32),
        np.array([topics.index(row.topic) for row in rows], np.int32),
        np.array([DIFFICULTIES.index(row.difficulty) for row in rows], np.int32),
        np.full(len(rows), -1, np.int32),
        moments[:, 0],
        moments[:, 1],
        np.array([row.is_correct for row in rows], np.bool_),
        np.array([row.actual_time_seconds for row in rows], np.float64),
    )


def _micros(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1e6)


def features(past: Sequence[PracticeTask], new: NewTask) -> list[float]:
    """The eleven features, row by row."""
    on_topic = [task for task in past if task.topic == new.topic]
    at_difficulty = [task for task in past if task.difficulty == new.difficulty]
    found: list[float] = []
    for tasks, unit in ((past, 100), (on_topic, 20), (at_difficulty, 20)):
        found += [*_averages(tasks), len(tasks) / unit]
    return [*found, *_averages(past[-5:])]


def _averages(tasks: Sequence[PracticeTask]) -> tuple[float, float]:
    if not tasks:
        return 0.5, 0.6
    success = float(np.mean([1.0 if task.is_correct else 0.0 for task in tasks]))
    return success, float(np.mean([task.actual_time_seconds for task in tasks])) / 100.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.sessions = new_session(os.environ["DATABASE_URL"])
    with app.state.sessions() as db:
        app.state.models = Models(_finished(db))
    yield


app = FastAPI(lifespan=lifespan)


def get_db() -> Iterator[Session]:
    with app.state.sessions() as db:
        yield db


Db = Annotated[Session, Depends(get_db)]


@app.get("/readyz")
def ready() -> None:
    """It answers."""


@app.post("/practice-tasks", status_code=201)
def create_task(new: NewTask, db: Db) -> dict[str, Any]:
    mine = select(PracticeTask).where(PracticeTask.user_id == new.user_id, PracticeTask.completed)
    past = db.scalars(mine.order_by(PracticeTask.completed_at)).all()
    p, seconds = app.state.models.predict(new, features(past, new))
    task = PracticeTask(
        **new.model_dump(),
        created_at=datetime.now(UTC).replace(tzinfo=None),
        correctness_prob=p,
        estimated_time_seconds=seconds,
        lnirt_model_version="embedding_v2",
    )
    db.add(task)
    db.commit()
    return {"id": task.id, "correctness_prob": p, "estimated_time_seconds": seconds}


@app.patch("/practice-tasks/{task_id}")
def complete_task(task_id: UUID, result: TaskResult, db: Db) -> dict[str, Any]:
    task = db.get(PracticeTask, task_id)
    if task is None:
        raise HTTPException(404)
    task.completed, task.completed_at = True, datetime.now(UTC).replace(tzinfo=None)
    task.is_correct, task.actual_time_seconds = result.is_correct, result.actual_time_seconds
    db.commit()
    tracker = db.get_one(Tracker, 1)
    tracker.n_samples_since_training = tracker.n_samples_since_training + 1
    due = tracker.n_samples_since_training >= TRAIN_EVERY
    db.commit()
    if due:
        threading.Thread(target=train, daemon=True).start()
    return {"id": task_id}


def train() -> None:
    """In a thread of the web process, with a session of its own."""
    with app.state.sessions() as db:
        attempts = _finished(db)
        if len(attempts) < AT_LEAST:
            return
        models = Models(attempts)
        models.networks.fit(attempts)
        app.state.models = models
        tracker = db.get_one(Tracker, 1)
        tracker.n_samples_since_training, tracker.n_samples_last_training = 0, len(attempts)
        tracker.last_trained_at = datetime.now(UTC).replace(tzinfo=None)
        db.commit()

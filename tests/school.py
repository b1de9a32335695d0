"""Helpers that build the ordinary case and take the difference."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.orm import Session

from app.core.db import embedded_postgres
from app.crud import imports
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.interactions import Interaction, student_uuid, uuid5

PASSWORD = "correct horse battery staple"
SOMEBODY = "00000000-0000-4000-8000-00000000000a"


@dataclass(frozen=True)
class Student:
    """A caller: requests go out with their token or key."""

    client: httpx.Client
    secret: str

    @classmethod
    def registered(cls, client: httpx.Client, name: str) -> "Student":
        email = f"{name}@example.com"
        registered = client.post("/auth/register", json={"email": email, "password": PASSWORD})
        assert registered.status_code == 201, registered.text
        answer = client.post("/auth/token", data={"username": email, "password": PASSWORD})
        return cls(client, answer.json()["access_token"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def ask(self, topic: str = "Calculus", difficulty: str = "medium", **more: Any) -> httpx.Response:
        body = {"topic": topic, "difficulty": difficulty, **more}
        answer: httpx.Response = self.client.post("/practice-tasks", json=body, headers=self.headers)
        return answer

    def complete(self, task_id: str, is_correct: Any = True, seconds: Any = 30.0) -> httpx.Response:
        body = {"is_correct": is_correct, "actual_time_seconds": seconds}
        answer: httpx.Response = self.client.patch(f"/practice-tasks/{task_id}", json=body, headers=self.headers)
        return answer

    def do(self, is_correct: bool = True, seconds: float = 30.0, **task: Any) -> dict[str, Any]:
        """Ask for a task and complete it."""
        asked = self.ask(**task)
        assert asked.status_code == 201, asked.text
        done = self.complete(asked.json()["id"], is_correct, seconds)
        assert done.status_code == 200, done.text
        answer: dict[str, Any] = done.json()
        return answer

    def get(self, path: str, **query: Any) -> httpx.Response:
        answer: httpx.Response = self.client.get(path, params=query, headers=self.headers)
        return answer

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get("/model/status").json()
        return answer


def nobody_trains(*_: object) -> dict[str, str]:
    """In the place of `Trainer._supervised`: the run ends at once, and nothing comes of it."""
    return {"outcome": "published", "message": "Trained by nobody."}


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait for something to become true; what it was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def interactions(attempts: Attempts) -> list[Interaction]:
    """Simulated attempts as rows to import."""
    return [
        Interaction(
            uuid5(f"simulated {row}"),
            student_uuid(attempts.students[attempts.student[row]]),
            None if attempts.item[row] < 0 else attempts.items[attempts.item[row]],
            attempts.topics[attempts.topic[row]],
            DIFFICULTIES[attempts.difficulty[row]],
            bool(attempts.correct[row]),
            float(attempts.seconds[row]),
            int(attempts.started[row]) / 1e6,
        )
        for row in range(len(attempts))
    ]


def imported(db: Session, attempts: Attempts) -> int:
    """Store simulated attempts as finished tasks, committed."""
    added = imports.add(db, interactions(attempts))
    db.commit()
    return added


def throw_away(data_dir: Path) -> None:
    """End an embedded database of a test's own and leave nothing of it, wherever root had to put it."""
    embedded_postgres.stop(data_dir)
    shutil.rmtree((data_dir / "postgres").resolve(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)

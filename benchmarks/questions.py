"""Requests as they go over the wire: tasks to create, and how they went."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from app.domain.attempts import DIFFICULTIES, Attempts

PATH = "/practice-tasks"


def request(method: str, path: str, body: dict[str, Any], key: str = "") -> str:
    content = json.dumps(body)
    sender = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{sender}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n{content}"


def question(world: Attempts, row: int) -> dict[str, str]:
    """The task of this row, to be predicted."""
    return {
        "user_id": world.students[world.student[row]],
        "topic": world.topics[world.topic[row]],
        "difficulty": DIFFICULTIES[world.difficulty[row]],
    }


def result(world: Attempts, row: int) -> dict[str, Any]:
    """How it went."""
    return {"is_correct": bool(world.correct[row]), "actual_time_seconds": float(world.seconds[row])}


def some(world: Attempts, n: int, seed: int) -> list[dict[str, str]]:
    """n tasks as its students might do them."""
    rows = np.random.default_rng(seed).integers(0, len(world), n)
    return [question(world, int(row)) for row in rows]


def posts(asked: Iterable[dict[str, str]], key: str = "", path: str = PATH) -> list[str]:
    return [request("POST", path, body, key) for body in asked]


def patches(ids: Iterable[str], key: str = "", path: str = PATH) -> list[str]:
    """A result for each of these tasks."""
    return [
        request("PATCH", f"{path}/{task}", {"is_correct": place % 3 > 0, "actual_time_seconds": 20.5 + place % 50}, key)
        for place, task in enumerate(ids)
    ]


def ids_of(bodies: Iterable[str]) -> list[str]:
    """Of the tasks in these answers."""
    return [json.loads(body)["id"] for body in bodies]

"""Batches against one by one, side by side: `python -m benchmarks.batches URL KEY`, of a service that is running."""

import statistics
import sys
import time
from collections.abc import Callable
from uuid import uuid4

import httpx

N, ROUNDS = 200, 5


def main(url: str, key: str) -> None:
    """Print the medians of five rounds, in milliseconds."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for label, students in (("one student", 1), ("200 students", N)):
            names = [f"{label} {uuid4()} {k}" for k in range(students)]
            tasks = [
                {
                    "topic": f"Topic {k % 20}",
                    "difficulty": ("easy", "medium", "hard")[k % 3],
                    "item_id": f"ex-{k % 50}",
                    "student": names[k % students],
                }
                for k in range(N)
            ]
            rounds(client, label, tasks)


def rounds(client: httpx.Client, label: str, tasks: list[dict[str, str]]) -> None:
    took: dict[str, list[float]] = {}

    def timed(what: str, work: Callable[..., list[str]], *arguments: object) -> list[str]:
        start = time.perf_counter()
        found = work(client, *arguments)
        took.setdefault(what, []).append(1000 * (time.perf_counter() - start))
        return found

    for _ in range(ROUNDS):
        alone = timed("POST, one by one", each_created, tasks)
        many = timed("POST, a batch", batch, tasks)
        timed("PATCH, one by one", each_finished, alone)
        timed("PATCH, a batch", completed, many)
        if len({task["student"] for task in tasks}) == 1:
            timed("predictions", predicted, tasks)
    for what, each in took.items():
        print(f"{label}: {what}, {N} tasks: {statistics.median(each):.0f} ms")


def each_created(client: httpx.Client, tasks: list[dict[str, str]]) -> list[str]:
    return [ok(client.post("/practice-tasks", json=task))["id"] for task in tasks]


def batch(client: httpx.Client, tasks: list[dict[str, str]]) -> list[str]:
    items = ok(client.post("/practice-tasks/batch", json={"tasks": tasks}))["items"]
    return [item["task"]["id"] for item in items]


def each_finished(client: httpx.Client, ids: list[str]) -> list[str]:
    result = {"is_correct": True, "actual_time_seconds": 30.0}
    return [ok(client.patch(f"/practice-tasks/{each}", json=result))["id"] for each in ids]


def completed(client: httpx.Client, ids: list[str]) -> list[str]:
    results = [{"id": each, "is_correct": True, "actual_time_seconds": 30.0} for each in ids]
    assert ok(client.patch("/practice-tasks/batch", json={"results": results}))["failed"] == 0
    return ids


def predicted(client: httpx.Client, tasks: list[dict[str, str]]) -> list[str]:
    asked = [{name: task[name] for name in ("topic", "difficulty", "item_id")} for task in tasks]
    found = ok(client.post("/predictions", json={"student": tasks[0]["student"], "tasks": asked}))
    return [str(each["correctness_prob"]) for each in found["items"]]


def ok(answer: httpx.Response) -> dict:  # type: ignore[type-arg]
    answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


if __name__ == "__main__":
    main(*sys.argv[1:])

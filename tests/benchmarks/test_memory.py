"""What a training holds in memory grows by little with each task."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.domain.attempts import Attempts
from app.ml.features import learning_curve
from app.ml.lnirt import estimation
from app.ml.lnirt.model import fitted_items
from benchmarks.child import told_by
from benchmarks.memory import attempts

FEWER, MORE = 50_000, 300_000  # tasks
MOST = 120  # bytes a task, beside what a training holds however few there are
FEW_SHARDS, MORE_SHARDS = 250_000, 500_000  # tasks: some of LNIRT's shards, of 200,000 answers
# Bytes a task beside the tasks' own 41: with 230 MB that networks leave, ten million tasks take 120 above TensorFlow.
MOST_ARRANGED, MOST_ASKED = 45, 28


def test_a_training_from_scratch_takes_little_memory_for_each_task_more() -> None:
    """Without reading them, which takes a database, and networks, which learn from a sample."""
    few, many = (told_by("benchmarks.memory", "--child", rows)["steps"] for rows in (FEWER, MORE))
    peaks = {step: taken["peak"] - max(each["peak"] for each in few.values()) for step, taken in many.items()}
    step = max(peaks, key=lambda name: peaks[name])
    assert peaks[step] <= MOST * (MORE - FEWER), f"{step} takes {peaks[step] / (MORE - FEWER):.0f} bytes a task"


@pytest.mark.parametrize("items", [300, 6_000], ids=["all are fitted", "some have hardly an answer"])
def test_what_lnirt_learns_from_takes_few_bytes_a_task_while_it_is_arranged(
    items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the most of a training on many tasks: what is made of them later does not grow with their number."""

    def arranged(tasks: Attempts) -> None:
        with pytest.raises(Arranged):
            fitted_items(tasks)

    monkeypatch.setattr(estimation, "_fit", stop)
    assert bytes_a_task(arranged, items) <= MOST_ARRANGED


def test_a_question_about_all_tasks_takes_few_bytes_a_task() -> None:
    assert bytes_a_task(learning_curve.estimated, 300) <= MOST_ASKED


class Arranged(Exception):
    """LNIRT has got so far."""


def stop(*_: object) -> None:
    raise Arranged


def with_items(tasks: Attempts, items: int) -> Attempts:
    """The same tasks on so many exercises, every second of which is given to two students."""
    item = np.where(tasks.item >= 0, tasks.item % (items // 2), -1).astype(np.int32)
    rare = np.arange(items // 2, items, dtype=np.int32).repeat(2)
    item[: len(rare)] = rare
    return replace(tasks, items=tuple(f"item {number}" for number in range(items)), item=item)


def bytes_a_task(work: Callable[[Attempts], object], items: int) -> float:
    """What arrays hold at the peak for each task more, beside the tasks; counted by NumPy, so always the same."""
    peaks = []
    for rows in (FEW_SHARDS, MORE_SHARDS):
        tasks = with_items(attempts(rows), items)
        tracemalloc.start()
        try:
            work(tasks)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[1] - peaks[0]) / (MORE_SHARDS - FEW_SHARDS)

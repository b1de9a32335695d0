"""Tens of thousands of topics of one student keep nobody's training from its end."""

import numpy as np
import pytest

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt import dynamics, model
from app.ml.lnirt.model import fitted_items


def with_a_flood(attempts: Attempts, topics: int) -> Attempts:
    """One more student, who did a task each on so many topics of their own, all after the others."""
    n, first = len(attempts), int(attempts.finished.max())
    moments = first + 10_000_000 * np.arange(1, topics + 1)
    return Attempts(
        (*attempts.students, "00000000-0000-4000-8000-0000000000ff"),
        (*attempts.topics, *(f"flood {place}" for place in range(topics))),
        attempts.items,
        np.append(attempts.student, np.full(topics, len(attempts.students))).astype(np.int32),
        np.append(attempts.topic, len(attempts.topics) + np.arange(topics)).astype(np.int32),
        np.append(attempts.difficulty, np.ones(topics)).astype(np.int32),
        np.append(attempts.item, np.full(topics, -1)).astype(np.int32),
        np.append(attempts.started, moments - 5_000_000),
        np.append(attempts.finished, moments),
        np.append(attempts.correct, np.arange(n, n + topics) % 2 == 0),
        np.append(attempts.seconds, np.full(topics, 30.0)),
    )


def test_of_many_topics_those_with_answers_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = simulate(school(20, seed=1), 60, seed=1).attempts
    plain = fitted_items(attempts)
    monkeypatch.setattr(model, "MOST_ITEMS", len(plain.bank.items))
    flooded = fitted_items(with_a_flood(attempts, 3_000))
    assert len(flooded.bank.items) <= len(plain.bank.items)
    assert flooded.bank.items.keys() <= plain.bank.items.keys()
    answered = [label for label in plain.bank.items if label in flooded.bank.items]
    betas = [np.array([each.bank.items[label].beta for label in answered]) for each in (plain, flooded)]
    assert np.abs(betas[0] - betas[1]).max() < 0.3


def test_of_each_student_the_newest_tasks_are_followed() -> None:
    student = np.array([0, 1, 0, 0, 1, 0, 2], np.int32)
    assert dynamics._newest(student, 2).tolist() == [False, True, False, True, True, True, True]
    assert dynamics._newest(student, 9).all()

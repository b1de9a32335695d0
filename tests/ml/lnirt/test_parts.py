"""LNIRT's prediction taken apart: what is left of it where only some parts of a task are known."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from app.domain.attempts import Attempts
from app.domain.tasks import TaskRequest
from app.ml import shapley
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt import parts
from app.ml.lnirt.ability import Responses, columns_of, follow, newcomers, practised, predict
from app.ml.lnirt.item_bank import ItemBank
from app.ml.lnirt.model import fit_lnirt

WHO = UUID(int=1)


@pytest.fixture(scope="module", params=[12, 30])
def tasks(request: pytest.FixtureRequest) -> Attempts:
    """Of a small class, and of one that is not; each topic and difficulty has one exercise."""
    found = simulate(school(request.param, seed=5), 40, seed=5).attempts
    item = (found.topic * 3 + found.difficulty).astype(np.int32)
    return replace(found, items=tuple(f"e{each}" for each in range(3 * len(found.topics))), item=item)


@pytest.fixture(scope="module")
def bank(tasks: Attempts) -> ItemBank:
    return fit_lnirt(tasks).bank


def worth(bank: ItemBank, asked: TaskRequest, right: int = 0) -> np.ndarray:
    whole, population = bank.find(asked.item_id, asked.topic, asked.difficulty), bank.population
    done = Responses(columns_of([whole] * right), np.ones(right, np.bool_), np.full(right, np.log(5.0)))
    state = follow(population, done, np.array([right]), newcomers(population))[-1:] if right else newcomers(population)
    said = parts.predictions(bank, whole, state, (right, right), asked)
    alone = predict(population, state, practised(population, columns_of([whole]), np.full((2, 1), right)))
    assert said.probability[-1] == pytest.approx(alone.probability[0])
    return np.column_stack([said.probability, np.exp(said.log_seconds)])


def test_nothing_known_is_an_unseen_task_of_somebody_unknown(bank: ItemBank, tasks: Attempts) -> None:
    first = worth(bank, TaskRequest(WHO, tasks.topics[0], "hard", "e2"), right=3)[0]
    column = columns_of([bank.find(object(), None, None)])
    unknown = predict(
        bank.population, newcomers(bank.population), practised(bank.population, column, np.full((2, 1), 3))
    )
    assert first == pytest.approx([unknown.probability[0], np.exp(unknown.log_seconds[0])])
    assert first == pytest.approx(worth(bank, TaskRequest(WHO, tasks.topics[1], "easy", "e3"), right=3)[0])


def test_all_coalitions_are_sound(bank: ItemBank, tasks: Attempts) -> None:
    for place, topic in enumerate(tasks.topics[:3]):
        for level, difficulty in enumerate(("easy", "medium", "hard")):
            told = worth(bank, TaskRequest(WHO, topic, difficulty, f"e{3 * place + level}"), right=2)
            assert told.shape == (16, 2)
            assert np.isfinite(told).all()
            assert ((told[:, 0] > 0) & (told[:, 0] < 1)).all()
            assert (told[:, 1] > 0).all()


def test_a_topic_and_an_exercise_that_nobody_has_seen_move_nothing(bank: ItemBank) -> None:
    probability, seconds = worth(bank, TaskRequest(WHO, "never seen", "hard", "nor this one"), right=2).T
    student, topic, level, exercise = shapley.shares(probability)
    assert (topic, exercise) == pytest.approx((0, 0), abs=1e-12)
    assert student > 0 > level
    assert shapley.shares(seconds)[[1, 3]] == pytest.approx([0, 0], abs=1e-9)


def test_a_task_without_an_exercise_has_three_parts(bank: ItemBank, tasks: Attempts) -> None:
    probability = worth(bank, TaskRequest(WHO, tasks.topics[0], "easy"), right=4)[:, 0]
    assert len(probability) == 8
    assert shapley.shares(probability).sum() == pytest.approx(probability[-1] - probability[0])

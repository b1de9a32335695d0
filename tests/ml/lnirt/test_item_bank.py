"""Parameters for tasks that the fit has not seen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt.ability import Predictive, newcomers, predict_one
from app.ml.lnirt.estimation import LnirtFit, fit
from app.ml.lnirt.item_bank import Cell, ItemBank, cell_label
from app.ml.lnirt.model import fit_lnirt
from app.ml.lnirt.population import ItemParameters, Population
from app.ml.lnirt.small_data import fit_small

TOPICS = ["algebra", "geometry", "logic", "sets"]
LEVELS = {"easy": -1.0, "medium": 0.0, "hard": 1.0}


def answers(per_cell: int = 3, students: int = 150, seed: int = 0) -> tuple[LnirtFit, list[Cell]]:
    """Difficulty moves beta and time, topics move time; (sets, hard) has no items."""
    rng = np.random.default_rng(seed)
    cells = [(t, d) for t in TOPICS for d in LEVELS for _ in range(per_cell) if (t, d) != ("sets", "hard")]
    beta = np.array([LEVELS[d] for _, d in cells]) + rng.normal(0, 0.2, len(cells))
    lam = np.array([3 + 0.4 * LEVELS[d] + 0.3 * TOPICS.index(t) for t, d in cells]) + rng.normal(0, 0.1, len(cells))
    theta, zeta = rng.normal(0, 1, students), rng.normal(0, 0.3, students)
    person, item = np.repeat(np.arange(students), len(cells)), np.tile(np.arange(len(cells)), students)
    correct = rng.normal(size=len(person)) < theta[person] - beta[item]
    seconds = np.exp(rng.normal(lam[item] - zeta[person], 0.5))
    return fit(person, item, correct, seconds), cells


@pytest.fixture(scope="module")
def fitted() -> tuple[LnirtFit, list[Cell]]:
    return answers()


@pytest.fixture(scope="module")
def bank(fitted: tuple[LnirtFit, list[Cell]]) -> ItemBank:
    return ItemBank.build(*fitted)


def test_a_known_item_keeps_its_own_numbers(bank: ItemBank, fitted: tuple[LnirtFit, list[Cell]]) -> None:
    found = bank.find(4, "algebra", "medium")
    assert found is bank.items[4]
    assert found.beta == pytest.approx(fitted[0].beta[4], abs=0.05)
    assert found.lambda_ == pytest.approx(fitted[0].lambda_[4], abs=0.02)


def test_each_step_back_is_less_certain(bank: ItemBank) -> None:
    steps = [
        bank.find("new", "algebra", "medium"),
        bank.find("new", "sets", "hard"),
        bank.find("new", "unheard", "hard"),
        bank.find(None, None, None),
    ]
    assert (np.diff([step.beta_var for step in steps]) > 0).all()
    assert (np.diff([step.time_var for step in steps]) > 0).all()
    assert steps[0].time_var < bank.find("new", "algebra", "unheard").time_var < steps[3].time_var


def test_an_unseen_cell_is_its_topic_and_its_difficulty(bank: ItemBank) -> None:
    found = bank.find(None, "sets", "hard")
    assert found.beta == pytest.approx(1.0, abs=0.35)
    assert found.lambda_ == pytest.approx(3 + 0.4 + 0.9, abs=0.25)


def test_hard_tasks_look_hard_to_a_stranger(bank: ItemBank) -> None:
    easy, hard = (to_a_stranger(bank.population, bank.find(None, "unheard", d)) for d in ("easy", "hard"))
    assert easy.probability > 0.6 > 0.4 > hard.probability
    assert easy.log_seconds < hard.log_seconds


def to_a_stranger(population: Population, item: ItemParameters) -> Predictive[float]:
    """What is predicted of somebody who has answered nothing."""
    return predict_one(population, newcomers(population)[0], item)


def test_a_rare_item_leans_on_its_cell() -> None:
    """One wrong answer to a new item of an easy cell does not make it hard."""
    rng = np.random.default_rng(1)
    cells: list[Cell] = [("algebra", d) for d in LEVELS for _ in range(4)] + [("algebra", "easy")]
    level = np.array([LEVELS[d] for _, d in cells])
    person, item = np.repeat(np.arange(100), 12), np.tile(np.arange(12), 100)
    correct = (rng.normal(size=1200) < rng.normal(0, 1, 100)[person] - level[item]).astype(float)
    fitted = fit(
        np.append(person, 0), np.append(item, 12), np.append(correct, 0.0), np.append(rng.lognormal(3, 0.5, 1200), 20.0)
    )
    bank = ItemBank.build(fitted, cells)
    assert bank.find(12, None, None).beta < fitted.beta[12] - 0.2


def test_a_cell_may_be_the_item_itself() -> None:
    bank = named(answers(per_cell=1))
    known, unseen = bank.find(None, "logic", "hard"), bank.find("an exercise", "logic", "hard")
    assert known is bank.items[cell_label("logic", "hard")]
    assert known.beta_var < unseen.beta_var


def named(data: tuple[LnirtFit, list[Cell]]) -> ItemBank:
    """The cells are the items."""
    fitted, cells = data
    return ItemBank.build(replace(fitted, items=np.array([cell_label(*each) for each in cells], dtype=object)), cells)


def test_few_items_still_answer() -> None:
    fitted = fit(["a"] * 3, ["x", "y", "y"], [1, 0, 1], [10.0, 20.0, 30.0])
    bank = ItemBank.build(fitted, [("algebra", "easy"), ("algebra", "hard")])
    said = to_a_stranger(fitted.population, bank.find("z", "algebra", "medium"))
    assert 0.2 < said.probability < 0.95
    assert 5 < np.exp(said.log_seconds) < 60


def test_reloaded_bank_says_the_same(tmp_path: Path) -> None:
    data = answers(per_cell=1)
    for place, made in enumerate((named(data), fit_small(simulate(school(9, seed=1), 20, seed=1).attempts))):
        made.save(tmp_path / str(place))
        again = ItemBank.load(tmp_path / str(place))
        for question in (
            (None, "sets", "hard"),
            (None, "algebra", "easy"),
            (None, None, None),
            ("z", "unheard", "easy"),
        ):
            assert again.find(*question) == made.find(*question)
        assert again.population == made.population


def test_an_earlier_releases_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lnirt.json").write_text(
        json.dumps({"population": {}, "prior_sigma2": 0.25, "items": [], "persons": []})
    )
    with pytest.raises(ValueError, match="written by an earlier release"):
        ItemBank.load(tmp_path)


def test_cells_must_fit_the_items(fitted: tuple[LnirtFit, list[Cell]]) -> None:
    with pytest.raises(ValueError, match="items, got 1"):
        ItemBank.build(fitted[0], [("algebra", "easy")])


def test_a_slip_of_the_clock_leaves_an_exercise_nearly_as_sure_as_it_was() -> None:
    students, n, bank = simulate(school(40, seed=11), 30, seed=11).attempts, 24, []
    for first in (33.0, 86_400.0):
        made = students.take(slice(n))  # of the shape that is needed
        seconds = np.array([first, *[33.0] * 7, *[12.0] * 16])
        started = students.finished.max() + np.arange(1, n + 1) * 10**11
        exercises = replace(
            made,
            items=("x0", "x1", "x2"),
            student=np.zeros(n, np.int32),
            item=(np.arange(n) % 3).astype(np.int32),
            started=started,
            finished=started + (seconds * 1e6).astype(np.int64),
            seconds=seconds,
        )
        both: dict[str, Any] = {
            name: np.concatenate([getattr(students, name), getattr(exercises, name)])
            for name in ("student", "topic", "difficulty", "item", "started", "finished", "correct", "seconds")
        }
        bank.append(fit_lnirt(replace(students, items=exercises.items, **both)).bank.items["x0"])
    assert bank[1].sigma2 < 1.5 * bank[0].sigma2
    assert bank[1].lambda_ - bank[0].lambda_ < 0.05

"""Parameters for tasks that the fit has not seen."""

from pathlib import Path

import numpy as np
import pytest

from app.ml.lnirt import LnirtFit, fit
from app.ml.lnirt_items import Cell, ItemBank, cell_label
from app.ml.lnirt_posterior import newcomer, predict

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
def bank() -> ItemBank:
    return ItemBank.build(*answers())


def test_a_known_item_keeps_its_own_numbers(bank: ItemBank) -> None:
    found = bank.find(4, "algebra", "medium")
    assert found.source == "item"
    assert found.parameters.beta == pytest.approx(bank.fit.beta[4], abs=0.05)
    assert found.parameters.lambda_ == pytest.approx(bank.fit.lambda_[4], abs=0.02)


def test_each_step_back_is_named_and_less_certain(bank: ItemBank) -> None:
    steps = [
        bank.find("new", "algebra", "medium"),
        bank.find("new", "sets", "hard"),
        bank.find("new", "unheard", "hard"),
        bank.find(None, None, None),
    ]
    assert [step.source for step in steps] == ["cell", "topic and difficulty", "difficulty", "population"]
    assert (np.diff([step.parameters.beta_var for step in steps]) > 0).all()
    assert (np.diff([step.parameters.time_var for step in steps]) > 0).all()
    assert bank.find("new", "algebra", "unheard").source == "topic"


def test_an_unseen_cell_is_its_topic_and_its_difficulty(bank: ItemBank) -> None:
    found = bank.find(None, "sets", "hard").parameters
    assert found.beta == pytest.approx(1.0, abs=0.35)
    assert found.lambda_ == pytest.approx(3 + 0.4 + 0.9, abs=0.25)


def test_hard_tasks_look_hard_to_a_stranger(bank: ItemBank) -> None:
    stranger = newcomer(bank.population)
    easy, hard = (predict(stranger, bank.find(None, "unheard", d).parameters) for d in ("easy", "hard"))
    assert easy.probability > 0.6 > 0.4 > hard.probability
    assert easy.seconds < hard.seconds


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
    assert bank.find(12, None, None).parameters.beta < fitted.beta[12] - 0.2


def test_a_cell_may_be_the_item_itself() -> None:
    data = answers(per_cell=1)
    labels = [cell_label(*cell) for cell in data[1]]
    named = ItemBank.build(relabelled(data[0], labels), data[1])
    assert named.find(None, "logic", "hard").source == "item"
    assert named.find("an exercise", "logic", "hard").source == "cell"


def relabelled(fitted: LnirtFit, labels: list[str]) -> LnirtFit:
    from dataclasses import replace

    return replace(fitted, items=np.array(labels, dtype=object))


def test_few_items_still_answer() -> None:
    fitted = fit(["a"] * 3, ["x", "y", "y"], [1, 0, 1], [10.0, 20.0, 30.0])
    bank = ItemBank.build(fitted, [("algebra", "easy"), ("algebra", "hard")])
    said = predict(newcomer(fitted.population), bank.find("z", "algebra", "medium").parameters)
    assert 0.2 < said.probability < 0.95
    assert 5 < said.seconds < 60


def test_reloaded_bank_says_the_same(bank: ItemBank, tmp_path: Path) -> None:
    bank.save(tmp_path)
    again = ItemBank.load(tmp_path)
    for question in ((4, None, None), (None, "sets", "hard"), (None, None, None)):
        assert again.find(*question) == bank.find(*question)


def test_cells_must_fit_the_items(bank: ItemBank) -> None:
    with pytest.raises(ValueError, match="items, got 1"):
        ItemBank.build(bank.fit, [("algebra", "easy")])

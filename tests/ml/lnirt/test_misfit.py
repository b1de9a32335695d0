"""Items that contradict the others are named, and answers that are there twice."""

import numpy as np
import pytest

from app.domain.responses import Responses
from app.ml.lnirt.misfit import remarks, rest_correlations


def answers(
    contrary: set[int], *, persons: int = 200, items: int = 10, missing: float = 0.0, seed: int = 1
) -> Responses:
    """Persons of differing ability; the key of the `contrary` items is wrong."""
    rng = np.random.default_rng(seed)
    found = Responses()
    for person, ability in enumerate(rng.normal(0, 1.5, persons)):
        for item in range(items):
            right = rng.random() < 1 / (1 + np.exp(-ability))
            if rng.random() >= missing:
                found.person.append(f"p{person}")
                found.item.append(f"i{item}")
                found.correct.append(float(right != (item in contrary)))
                found.seconds.append(10.0 + item)
    return found


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_items_that_better_persons_get_wrong_more_often_are_named(missing: float) -> None:
    (remark,) = remarks(answers({2, 7}, missing=missing))
    assert remark.startswith("Better persons get these items wrong more often")
    assert "i2 (-" in remark
    assert "i7 (-" in remark
    assert remark.count("(-") == 2
    assert remarks(answers(set(), missing=missing)) == []


def test_an_item_is_compared_with_the_others_only() -> None:
    found = Responses([*"aabbcc"], ["i", "j"] * 3, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0], [1.0] * 6)
    items, correlations, persons = rest_correlations(found)
    assert list(items) == ["i", "j"]
    assert correlations == pytest.approx([1, 1])
    assert list(persons) == [3, 3]


def test_what_nobody_varies_in_is_no_misfit() -> None:
    same = Responses([*"aabb"], ["i", "j"] * 2, [1.0] * 4, [1.0] * 4)
    alone = Responses([*"ab"], ["i", "i"], [1.0, 0.0], [1.0] * 2)
    unmarked = Responses([*"ab"], ["i", "i"], [float("nan")] * 2, [1.0] * 2)
    assert [remarks(each) for each in (same, alone, unmarked)] == [[], [], []]


def test_answers_that_are_there_twice_are_told() -> None:
    found = Responses([*"pppq"], ["i1", "i1", "i1", "i1"], [1.0, 1.0, 0.0, 1.0], [3.0, 3.0, 5.0, 3.0])
    (remark,) = remarks(found)
    assert remark == (
        "2 answers are of a person to an item that they had answered before, 1 of them with the same result and time; "
        "the first: p at i1."
    )

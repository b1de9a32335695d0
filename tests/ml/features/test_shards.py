"""Students are worked on in shards: what comes of them is the same, however many there are."""

import numpy as np
import pytest

from app.domain import attempts as domain
from app.domain.attempts import Attempts, shards
from app.ml.evaluation.simulated import school, simulate
from app.ml.features import learning_curve
from app.ml.features.inputs import inputs_at, inputs_of, known_before
from app.ml.lnirt.model import fit_lnirt


@pytest.fixture(scope="module")
def tasks() -> Attempts:
    return simulate(school(30, seed=3), 40, seed=3).attempts


@pytest.mark.parametrize("rows", [1, 100, 700])
def test_what_is_known_of_a_task_does_not_depend_on_the_shards(
    rows: int, tasks: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = np.random.default_rng(0).permutation(len(tasks))[:400]
    whole = inputs_at(tasks, asked)
    np.testing.assert_array_equal(whole, inputs_of(known_before(tasks))[asked].astype(np.float32))
    monkeypatch.setattr(domain, "SHARD_ROWS", rows)
    np.testing.assert_array_equal(inputs_at(tasks, asked), whole)


@pytest.mark.parametrize("rows", [1, 100, 700])
def test_lnirts_answers_and_the_learning_curve_do_not_depend_on_the_shards(
    rows: int, tasks: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = fit_lnirt(tasks).served(), np.arange(len(tasks))[::-2]
    said, gain = model.answers(tasks, asked), learning_curve.estimated(tasks).gain
    monkeypatch.setattr(domain, "SHARD_ROWS", rows)
    np.testing.assert_allclose(model.answers(tasks, asked).probability, said.probability, rtol=1e-9)
    np.testing.assert_allclose(model.answers(tasks, asked).seconds, said.seconds, rtol=1e-9)
    assert learning_curve.estimated(tasks).gain == pytest.approx(gain, rel=1e-9)


def test_a_shard_holds_the_whole_past_of_those_who_are_asked_for_and_nobody_elses(
    tasks: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "SHARD_ROWS", 100)
    asked = np.flatnonzero(np.isin(tasks.student, [2, 11, 29]))[::3]
    found = list(shards(tasks, asked))
    assert len(found) == 2
    assert sorted(np.unique(np.concatenate([each.attempts.student for each in found])).tolist()) == [2, 11, 29]
    for shard in found:
        assert shard.attempts.finished[shard.asked].tolist() == tasks.finished[asked[shard.places]].tolist()
        whose = np.unique(shard.attempts.student)
        assert len(shard.attempts) == np.isin(tasks.student, whose).sum()
    assert sorted(np.concatenate([each.places for each in found]).tolist()) == list(range(len(asked)))
    assert list(shards(tasks, asked[:0])) == []

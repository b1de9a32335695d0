"""Several kinds answer together: how much each has to say, and how slowly that changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts
from app.domain.kinds import BASE
from app.domain.shares import ALL, Share
from app.domain.tasks import TaskRequest
from app.ml.answers import Answers
from app.ml.evaluation.simulated import school, simulate
from app.ml.serving.pool import in_words, pool
from app.ml.training.gate import Evaluation, HoldoutSet, cut
from app.ml.training.mixture import shares

WORLD = simulate(school(60, seed=4), 200, seed=4)  # 12,000
NETWORK = "embedding_v2"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Says:
    """The truth, blurred by so many logits and log seconds."""

    blur: float
    seed: int = 0

    def answer(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> Any:
        raise NotImplementedError

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        if attempts.students != WORLD.attempts.students:  # made up: what they have done before
            whose, n = attempts.student, np.bincount(attempts.student)
            columns = (attempts.correct, attempts.seconds)
            p, seconds = ((np.bincount(whose, column) / n)[whose[rows]] for column in columns)
            return Answers(p, seconds, p, p, seconds, seconds)
        noise = np.random.default_rng(self.seed).normal(size=(2, len(WORLD.attempts)))[:, rows] * self.blur
        p = expit(logit(WORLD.probability[rows]) + noise[0])
        seconds = WORLD.median_seconds[rows] * np.exp(noise[1])
        return Answers(p, seconds, p / 2, (1 + p) / 2, seconds / 2, seconds * 2)


def judged(holdout: HoldoutSet, base: float, network: float) -> dict[str, Evaluation]:
    """Of two kinds that blur the truth so much."""
    return {BASE: holdout.evaluate(Says(base, 1)), NETWORK: holdout.evaluate(Says(network, 2))}


def holdout(tasks: int) -> HoldoutSet:
    return HoldoutSet(WORLD.attempts.take(slice(tasks)))


def pooled(of: Mapping[str, Evaluation], found: Mapping[str, Share], what: str) -> Any:
    """Chances of older and newer tasks, or log times of those that judge."""
    return sum(
        getattr(found[kind], what) * (each.panel if what == "chance" else np.log(each.answers.seconds))
        for kind, each in of.items()
    )


def test_chances_are_averaged_and_times_multiplied() -> None:
    one, other = (Answers(*(np.array([value]) for value in values)) for values in ([0.2, 10.0] * 3, [0.6, 40.0] * 3))
    said = pool([(one, Share(0.75, 0.5)), (other, Share(0.25, 0.5))])
    assert said.probability[0] == pytest.approx(0.3)
    assert said.seconds[0] == pytest.approx(20)
    half = pool([(one, Share(0.1, 0)), (other, Share(0.1, 0))])  # what is left of others that failed
    assert (half.probability[0], half.seconds[0]) == (pytest.approx(0.4), pytest.approx(20))
    alone = pool([(one, Share(0.1, 0))])  # whatever its share
    assert (alone.probability[0], alone.seconds[0]) == (pytest.approx(0.2), pytest.approx(10))


def test_shares_are_told_in_words() -> None:
    told = in_words({NETWORK: Share(0.3, 0), BASE: Share(0.7, 1), "embedding_lstm": Share()})
    assert told == "LNIRT 70% of the chance and 100% of the time; embedding_v2 30% of the chance and 0% of the time"


def test_lnirt_answers_nearly_alone_while_few_rows_judge() -> None:
    few = holdout(100)
    found = shares(few, judged(few, base=1.0, network=0.0), {BASE: ALL})
    assert min(found[BASE].chance, found[BASE].time) > 0.75


def test_the_better_kind_is_followed_where_many_rows_judge() -> None:
    many = holdout(12_000)
    of, found = judged(many, base=1.2, network=0.1), {BASE: ALL}
    for _ in range(15):
        found = shares(many, of, found)
    assert min(found[NETWORK].chance, found[NETWORK].time) > 0.6
    assert sum(share.chance for share in found.values()) == pytest.approx(1, abs=2e-3)


def test_a_kind_that_is_worse_or_says_the_same_has_no_part() -> None:
    many = holdout(3000)
    assert shares(many, judged(many, base=0.1, network=1.2), {BASE: ALL}) == {BASE: ALL, NETWORK: Share()}
    same = {BASE: many.evaluate(Says(0.5, 1)), NETWORK: many.evaluate(Says(0.5, 1))}
    assert shares(many, same, {BASE: ALL}) == {BASE: ALL, NETWORK: Share()}


def test_nothing_changes_hands_where_one_student_alone_judges() -> None:
    a = WORLD.attempts
    alone = HoldoutSet(replace(a, student=np.where(np.arange(len(a)) < cut(len(a)), a.student, 3).astype(np.int32)))
    before = {BASE: Share(0.4, 0.7), NETWORK: Share(0.6, 0.3)}
    assert shares(alone, judged(alone, base=1.2, network=0.1), before) == before
    assert shares(alone, judged(alone, base=1.2, network=0.1), {}) == {BASE: ALL, NETWORK: Share()}


@pytest.mark.parametrize("before", [{BASE: ALL}, {NETWORK: ALL}, {BASE: Share(0.5, 0.5), NETWORK: Share(0.5, 0.5)}])
@pytest.mark.parametrize(("base", "network"), [(2.0, 0.0), (0.0, 2.0), (1.0, 1.0)])
def test_answers_move_little_from_one_training_to_the_next(
    before: dict[str, Share], base: float, network: float
) -> None:
    """Also where kinds change places."""
    many = holdout(3000)
    of, now = judged(many, base, network), {BASE: Share(), NETWORK: Share()} | before
    for _ in range(8):
        then, now = now, shares(many, of, now)
        for what, most in (("chance", 0.05), ("time", 0.1)):
            assert np.abs(pooled(of, now, what) - pooled(of, then, what)).mean() <= most


def test_a_kind_with_numbers_that_are_none_has_no_part() -> None:
    many = holdout(3000)
    of = judged(many, base=1.0, network=0.1)
    nothing = np.full(len(many), np.nan)
    of[NETWORK] = replace(of[NETWORK], answers=Answers(*[nothing] * 6))
    assert shares(many, of, {BASE: ALL}) == {BASE: ALL}

"""Nobody is served by a model that got worse."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts
from app.domain.reasons import Said
from app.domain.tasks import TaskRequest
from app.ml.answers import Answers
from app.ml.evaluation.simulated import school, simulate
from app.ml.metrics import weights
from app.ml.training.gate import Champion, Evaluation, HoldoutSet, best_first, cut, rejection_reason
from app.ml.training.monotonicity import violation
from app.ml.training.reasons import Rejection

WORLD = simulate(school(20, seed=1), 100, seed=1)
TASKS = WORLD.attempts
HOLDOUT = HoldoutSet(TASKS)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Says:
    """Knows the truth, distorted: `noise` in logits, moved by `shift`, or just a constant."""

    noise: float = 0.0
    shift: float = 0.0
    constant: float | None = None
    pace: float = 1.0
    backwards: bool = False

    def answer(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> Any:
        raise NotImplementedError

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        if attempts is not TASKS:  # made-up students: 10 tasks before
            return self._made_up(attempts, rows)
        random = np.random.default_rng(7)
        p = expit(logit(WORLD.probability) + self.shift + self.noise * random.normal(size=len(TASKS)))[rows]
        if self.constant is not None:
            p = np.full(len(rows), self.constant)
        seconds = WORLD.median_seconds[rows] * self.pace
        return Answers(p, seconds, p, p, seconds / 2, seconds * 2)

    def _made_up(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        share = np.array([attempts.correct[attempts.student == attempts.student[row]].mean() for row in rows])
        pace = np.array([attempts.seconds[attempts.student == attempts.student[row]].mean() for row in rows])
        p, seconds = (1 - share, 1 / pace) if self.backwards else (share, pace)
        return Answers(p, seconds, p, p, seconds, seconds)


def verdict(new: Says, old: Says, lnirt: Says | None = None, by_hand: bool = False) -> Said | None:
    rival = Champion("version 12", HOLDOUT.evaluate(old), by_hand)
    other = Champion("LNIRT", HOLDOUT.evaluate(lnirt), is_baseline=True) if lnirt else None
    return rejection_reason(HOLDOUT, "version 13", HOLDOUT.evaluate(new), rival, other)


def test_the_holdout_set_is_the_newest_tasks() -> None:
    assert HOLDOUT.rows.tolist() == list(range(1700, 2000))
    assert (cut(10), cut(100), cut(1_000_000)) == (8, 85, 995_000)


def test_an_equal_model_is_published() -> None:
    assert verdict(Says(noise=0.1), Says(noise=0.1)) is None


def test_a_better_model_is_published() -> None:
    assert verdict(Says(), Says(noise=1.5)) is None


def test_a_worse_model_is_not_and_the_sentence_says_by_how_much() -> None:
    said = verdict(Says(noise=2), Says())
    assert said is not None
    assert said.text.startswith("version 13's log-loss 0.")
    assert " is worse than 0." in said.text
    assert said.text.endswith("on 300 tasks")


def test_neither_is_one_that_is_worse_than_lnirt() -> None:
    said = verdict(Says(noise=2), Says(noise=2), lnirt=Says())
    assert said is not None
    assert "of LNIRT on 300 tasks" in said.text


def test_a_model_of_shuffled_labels_does_not_replace_one_that_knows_something() -> None:
    share = float(TASKS.correct.mean())
    said = verdict(Says(constant=share), Says(noise=0.5))
    assert said is not None


def test_labels_shuffled_everywhere_do_not_elect_a_model_that_learnt_nothing() -> None:
    nothing = HOLDOUT.evaluate(Says(constant=float(TASKS.correct.mean())))
    assert not nothing.skilled
    before = replace(HOLDOUT.evaluate(Says()), losses=nothing.losses, time_errors=nothing.time_errors)
    assert before.skilled
    said = rejection_reason(HOLDOUT, "version 13", nothing, Champion("version 12", before), None)
    assert said is not None
    assert "can't tell right answers from wrong ones, which version 12 can" in said.text


def test_numbers_that_are_none_are_refused() -> None:
    said = verdict(Says(constant=float("nan")), Says())
    assert said == (Rejection.NOT_FINITE, "version 13 gives answers that are no finite numbers")
    assert HOLDOUT.evaluate(Says(constant=float("nan"))).scores["usable"] is False


def test_anything_beats_a_model_in_service_that_gives_no_numbers() -> None:
    assert verdict(Says(noise=2), Says(constant=float("nan"))) is None


def test_a_model_that_goes_backwards_is_refused() -> None:
    assert violation(Says(), TASKS) is None
    said = verdict(Says(backwards=True), Says())
    assert said is not None
    assert "got everything right a lower chance" in said.text


def test_times_that_got_worse_are_refused() -> None:
    said = verdict(Says(pace=3.0), Says())
    assert said is not None
    assert "error of the log time" in said.text


def test_answers_do_not_jump_without_a_reason() -> None:
    before = HOLDOUT.evaluate(Says(noise=0.5))
    higher = replace(before, panel=before.panel + 0.06)
    said = rejection_reason(HOLDOUT, "version 13", higher, Champion("version 12", before), None)
    assert said is not None
    assert "moves the probabilities by +0.06 on average without being far better" in said.text
    poor = HOLDOUT.evaluate(Says(noise=2))
    assert rejection_reason(HOLDOUT, "version 13", higher, Champion("version 12", poor), None) is None


def test_what_a_person_chose_must_be_outdone_clearly() -> None:
    said = verdict(Says(noise=0.1), Says(noise=0.1), by_hand=True)
    assert said is not None
    assert "chosen by hand" in said.text
    assert verdict(Says(), Says(noise=2), by_hand=True) is None


def test_lnirt_answers_on_a_tie_and_the_best_kind_otherwise() -> None:
    tie = {"lnirt": HOLDOUT.evaluate(Says()), "embedding_v2": HOLDOUT.evaluate(Says())}
    assert best_first(HOLDOUT, tie) == ["lnirt", "embedding_v2"]
    clear = {"embedding_v2": HOLDOUT.evaluate(Says(noise=0.1)), "lnirt": HOLDOUT.evaluate(Says(noise=2))}
    assert best_first(HOLDOUT, clear) == ["embedding_v2", "lnirt"]
    assert best_first(HOLDOUT, {**clear, "embedding_lstm": HOLDOUT.evaluate(Says())})[0] in (
        "embedding_lstm",
        "embedding_v2",
    )
    assert best_first(HOLDOUT, clear, default_kind="embedding_v2")[0] == "embedding_v2"
    broken = {"embedding_v2": HOLDOUT.evaluate(Says(constant=float("nan"))), "lnirt": HOLDOUT.evaluate(Says())}
    assert best_first(HOLDOUT, broken) == ["lnirt", "embedding_v2"]


def test_one_student_does_not_outvote_the_others() -> None:
    student = np.array([0] * 200 + [1, 1, 2, 2, 3, 3, 4, 4], np.int32)
    given = weights(student)
    assert given.sum() == pytest.approx(1)
    assert given[:200].sum() < 0.5
    assert weights(np.zeros(5, np.int32)).tolist() == [0.2] * 5


def test_one_students_tasks_alone_do_not_say_how_others_are_answered() -> None:
    student = TASKS.student.copy()
    student[-len(HOLDOUT) :] = 0
    loud = HoldoutSet(replace(TASKS, student=student)).unfit
    assert loud is not None
    assert (
        loud.text
        == f"{len(HOLDOUT)} of the newest {len(HOLDOUT)} tasks are one student's, who can't speak for the others"
    )
    student[-len(HOLDOUT) // 2 :] = 1
    assert HoldoutSet(replace(TASKS, student=student)).unfit is None


def test_one_students_day_of_nonsense_is_no_judge() -> None:
    assert HOLDOUT.unfit is None
    correct, student = TASKS.correct.copy(), TASKS.student.copy()
    student[-100:], correct[student == 0] = 0, False
    said = HoldoutSet(replace(TASKS, student=student, correct=correct)).unfit
    assert said is not None
    assert said.text.endswith("of the newest 300 tasks are one student's and all wrong, too one-sided to judge by")
    alone = replace(TASKS, student=np.zeros_like(student), correct=np.zeros_like(correct))
    assert HoldoutSet(alone).unfit is None  # one student's service


def test_two_lucky_tasks_decide_nothing() -> None:
    few = HoldoutSet(TASKS.take(slice(12)))
    right = np.where(TASKS.correct[few.rows], 0.9, 0.1)
    lucky, fair = (few._evaluation(Answers(p, *[np.full(2, 30.0)] * 5)) for p in (right, np.full(2, 0.5)))
    assert isinstance(lucky, Evaluation)
    assert rejection_reason(few, "version 2", fair, Champion("version 1", lucky), None) is None

"""The gate: who may serve. New models and those in service answer the same newest tasks; no new one was fitted on them.

Differences are of two models on the same rows; their standard error counts a student's rows as one cluster, and no
student counts for more than a few ordinary ones: a day of nonsense from one of them elects nobody.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts, plausible
from app.domain.kinds import BASE
from app.domain.reasons import Said
from app.ml import metrics
from app.ml.answers import Answers, TaskModel, plain_answers
from app.ml.prior import prior_answers
from app.ml.training.monotonicity import violation
from app.ml.training.reasons import Rejection, RunReason

Floats = NDArray[np.float64]

SHARE = 0.15  # of the tasks, the newest
MOST_ROWS = 5_000  # of the holdout set
FEW = 10  # rows: with these, a difference must be two standard errors
LEAST_PANEL = 80  # with fewer tasks everything still moves
SEVERAL = 3  # students, of whom one may be odd
IN_EFFECT = 2.5  # students with equally many rows, that it takes to evaluate on
BASELINES = {"the running share": "global_mean", "item mean and student": "item_and_student"}  # by function
BASELINE_ROWS = 20_000  # before the holdout set, that a baseline learns from
ENOUGH = 100  # rows, to show skill
MANY_IN_A_ROW = 20  # tasks
GOOD_PART = 0.2
NEARLY_ALL = 0.8
NOT_LUCK = 2.0  # standard errors
WORTH_SAYING = 0.04  # mean change of the probability that only a model better by this many standard errors may bring:
VERY_CLEAR = 2.0
DRIFT = 0.02  # of the log-loss: less is no reason to begin anew
PANEL = 300  # older tasks that are asked too, to see how far the answers move


def cut(tasks: int) -> int:
    """How many of the tasks, in the order of completion, may be fitted on; the rest is held out."""
    return tasks - min(max(2, round(tasks * SHARE)), MOST_ROWS)


@dataclass(frozen=True)
class Evaluation:
    """How one model answered the n rows."""

    answers: Answers
    losses: Floats  # (n,) negative log-likelihood
    time_errors: Floats  # (n,) squared, of log seconds
    scores: Mapping[str, Any]
    skilled: bool  # tells right answers from wrong ones
    panel: Floats  # (m,) probabilities of older tasks and of these
    violation: Rejection | None = None  # of what every sound model keeps to

    @property
    def log_loss(self) -> float:
        return float(self.scores["log_loss"])

    @property
    def is_finite(self) -> bool:
        return self.answers.are_finite()


class HoldoutSet:
    """The newest tasks, which no new model was fitted on, and what they say of models."""

    def __init__(self, attempts: Attempts, first: int | None = None) -> None:
        """`first` is where these rows begin, if it is not the usual place."""
        self._attempts = attempts
        self.rows = np.arange(cut(len(attempts)) if first is None else first, len(attempts))
        self._student = attempts.student[self.rows]
        self._correct = attempts.correct[self.rows]
        self._seconds = attempts.seconds[self.rows]
        self.weights = metrics.weights(self._student)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def unfit(self) -> Said | None:
        """Why nothing is decided by these rows: nearly all of them are one student's; or a good part of them, and all
        right or all wrong, as in nonsense."""
        if len(np.unique(self._attempts.student)) < SEVERAL:
            return None
        whose, rows = np.unique(self._student, return_counts=True)
        student, n = whose[rows.argmax()], int(rows.max())
        results = self._correct[self._student == student]
        if n < MANY_IN_A_ROW or n < GOOD_PART * len(self):
            return None
        if n > NEARLY_ALL * len(self):
            return Rejection.ONE_STUDENTS.said(rows=n, tasks=len(self))
        if 0 < results.sum() < n:
            return None
        return Rejection.ALL_ALIKE.said(rows=n, tasks=len(self), way="right" if results[0] else "wrong")

    def evaluate(self, model: TaskModel) -> Evaluation:
        """Its answers to these rows, and whether they go the right way on made-up students."""
        older = np.unique(np.linspace(0, self.rows[0] - 1, PANEL).astype(np.intp))
        said = model.answers(self._attempts, np.concatenate([older, self.rows]))
        evaluation = self._evaluation(said.take(slice(len(older), None)))
        return replace(evaluation, panel=said.probability, violation=violation(model, self._attempts))

    @cached_property
    def prior(self) -> Evaluation:
        """What is said before there is a model."""
        return self._evaluation(prior_answers(len(self)))

    def _evaluation(self, answers: Answers) -> Evaluation:
        losses = metrics.losses(self._correct, answers.probability)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.square(np.log(answers.seconds) - np.log(plausible(self._seconds)))
        scores = self._scores(answers, losses)
        skilled = self._beyond_luck(scores.get("auc")) > NOT_LUCK
        return Evaluation(answers, losses, errors, {**scores, "skilled": skilled}, skilled, answers.probability)

    def _beyond_luck(self, area: float | None) -> float:
        """By how many standard errors right answers were given better chances than wrong ones (Mann, Whitney 1947)."""
        right = np.count_nonzero(self._correct)
        pairs = right * (len(self) - right)
        return 0.0 if area is None else float((area - 0.5) / np.sqrt((len(self) + 1) / (12 * pairs)))

    def learnt_nothing(self, evaluation: Evaluation) -> bool:
        """Whether these rows, with both results among them, show no skill; a few rows have to show it less clearly."""
        area = evaluation.scores.get("auc")
        return area is not None and self._beyond_luck(area) < (NOT_LUCK if len(self) >= ENOUGH else NOT_LUCK / 2)

    def clearly_greater(self, one: Floats, other: Floats, errors: float = 1.0) -> bool:
        """Whether the mean of `one` is above that of `other` by more than the standard error of the difference."""
        mean, error = self._difference(one - other)
        return mean > errors * error * (1 + FEW / len(self))

    def mean(self, values: Floats) -> float:
        """Of n rows, none of their students counting for more than a few ordinary ones."""
        return float(self.weights @ values)

    @cached_property
    def rows_in_effect(self) -> float:
        """How many rows of equal weight these are worth (Kish 1965)."""
        return float(1 / np.square(self.weights).sum())

    @cached_property
    def students_in_effect(self) -> float:
        """How many students with equally many rows these are worth."""
        shares = np.bincount(self._student, self.weights)
        return float(1 / np.square(shares).sum())

    @cached_property
    def baselines(self) -> dict[str, Evaluation]:
        """What anybody could work out without a model, of the same rows: rivals of every network."""
        newest = self._attempts.take(slice(max(0, self.rows[0] - BASELINE_ROWS), None))
        rows = np.arange(len(newest) - len(self), len(newest))
        found, module = {}, import_module("app.ml.baselines")  # SciPy with it: only a run evaluates
        for name, means in BASELINES.items():
            p, seconds = getattr(module, means)(newest)
            found[name] = self._evaluation(plain_answers(p[rows], seconds[rows]))
        return found

    def _difference(self, difference: Floats) -> tuple[float, float]:
        """Weighted mean of n differences, and its standard error by rows or by students, the greater.

        By rows it is around 0, not around their mean: two rows that happen to say the same prove nothing.
        """
        w = self.weights
        mean = float(w @ difference)
        by_student = np.bincount(self._student, w * (difference - mean))
        return mean, float(np.sqrt(max(np.square(w * difference).sum(), np.square(by_student).sum())))

    @cached_property
    def of_several(self) -> bool:
        """Whether these rows are of several students, if there are several: one's don't say how to answer others."""
        return self.students_in_effect >= min(IN_EFFECT, len(np.unique(self._attempts.student)) - 0.5)

    def jump(self, new: Evaluation, old: Evaluation) -> float:
        """Mean change of the probability, where it is large and several students don't find it far better; else 0."""
        if len(new.panel) != len(old.panel) or len(new.panel) < LEAST_PANEL:
            return 0.0
        moved = float(new.panel.mean() - old.panel.mean())
        far_better = self.of_several and self.clearly_greater(old.losses, new.losses, VERY_CLEAR)
        return moved if abs(moved) > WORTH_SAYING and not far_better else 0.0

    def _scores(self, said: Answers, losses: Floats) -> dict[str, Any]:
        if not said.are_finite():
            return {"usable": False, "held_out_rows": len(self), "log_loss": None}
        mean = self._difference(losses)[0]
        error = self._difference(losses - mean)[1]
        bounds = (said.seconds_low, said.seconds_high)
        scores = metrics.summary(self._correct, said.probability, self._seconds, said.seconds, *bounds)
        return {
            "usable": True,
            "held_out_rows": len(self),
            "students_in_effect": round(self.students_in_effect, 1),
            **asdict(scores),
            "log_loss": mean,
            "log_loss_standard_error": error,
        }


@dataclass(frozen=True, slots=True)
class Champion:
    """Who is to be outdone: a version in service, or a baseline."""

    name: str  # "version 12"
    evaluation: Evaluation
    by_hand: bool = False
    is_baseline: bool = False


def rejection_reason(
    holdout: HoldoutSet, name: str, new: Evaluation, old: Champion, lnirt: Champion | None
) -> Said | None:
    """Why the new model may not take the place of `old`; None if it may."""
    if not new.is_finite:
        return Rejection.NOT_FINITE.said(name=name)
    if new.violation:
        return new.violation.said(name=name)
    baselines = [Champion(each, found, is_baseline=True) for each, found in holdout.baselines.items()] if lnirt else []
    for rival in (old, *([lnirt] if lnirt else []), *baselines):
        if rival.evaluation.is_finite and holdout.clearly_greater(new.losses, rival.evaluation.losses):
            kind = Rejection.WORSE_THAN_BASELINE if rival.is_baseline else Rejection.WORSE
            return kind.said(**_against(holdout, name, new, rival))
    return _not_better_enough(holdout, name, new, old) if old.evaluation.is_finite else None


def _not_better_enough(holdout: HoldoutSet, name: str, new: Evaluation, old: Champion) -> Said | None:
    numbers = _against(holdout, name, new, old)
    if moved := holdout.jump(new, old.evaluation):
        return Rejection.JUMP.said(moved=moved, **numbers)
    if holdout.clearly_greater(old.evaluation.losses, new.losses):
        return None
    if holdout.clearly_greater(new.time_errors, old.evaluation.time_errors):
        return Rejection.WORSE_TIMES.said(**_against(holdout, name, new, old, "rmse_log_time"))
    if old.evaluation.skilled and not new.skilled:
        return Rejection.UNSKILLED.said(**numbers)
    if old.by_hand:
        return Rejection.CHOSEN_BY_HAND.said(**numbers)
    return None


def drift(name: str, now: Evaluation, then: Mapping[str, Any]) -> Said | None:
    """Why a model is to be trained from scratch: it has become clearly worse than it `then` was, on newer tasks."""
    before, error = then.get("log_loss"), then.get("log_loss_standard_error", 0.0)
    if before is None or not now.is_finite:
        return None
    allowed = max(DRIFT, VERY_CLEAR * float(np.hypot(error, now.scores["log_loss_standard_error"])))
    if now.log_loss - before <= allowed:
        return None
    return RunReason.DRIFTED.said(name=name, before=before, now=now.log_loss)


def _against(
    holdout: HoldoutSet, name: str, new: Evaluation, rival: Champion, score: str = "log_loss"
) -> dict[str, object]:
    """Both, and a score of both with as many digits as it takes to tell them apart."""
    one, other = (float(each.scores[score]) for each in (new, rival.evaluation))
    digits = next((d for d in range(2, 7) if round(one, d) != round(other, d)), 6)
    scores = {"new": f"{one:.{digits}f}", "old": f"{other:.{digits}f}"}
    return {"name": name, "rival": rival.name, "tasks": len(holdout), **scores}


def best_first(holdout: HoldoutSet, evaluations: Mapping[str, Evaluation], default_kind: str = BASE) -> list[str]:
    """The kinds as they should answer: the default kind, unless others are clearly better; then by their loss."""
    usable = {kind: each for kind, each in evaluations.items() if each.is_finite}
    ranked = sorted(usable, key=lambda kind: usable[kind].log_loss)
    if default_kind in usable:
        ahead = [k for k in ranked if holdout.clearly_greater(usable[default_kind].losses, usable[k].losses)]
        first = ahead[0] if ahead else default_kind
        ranked = [first, *(kind for kind in ranked if kind != first)]
    return [*ranked, *(kind for kind in evaluations if kind not in usable)]

"""Models of others on our inputs: scikit-learn's, to compare with. A development dependency; nothing here serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts, plausible
from app.ml.answers import Answers
from app.ml.inputs import GROUPS, INPUTS, inputs_of, known_before
from app.ml.networks.calibration import Calibration

Floats = NDArray[np.float64]

ALL_GROUPS = tuple(name for name in GROUPS if name != "base")  # of the past
MOST_CATEGORIES = 254  # of histogram gradient boosting
HELD_OUT = 0.15  # share, the newest: residuals for the interval


def are_installed() -> bool:
    return find_spec("sklearn") is not None


@dataclass(frozen=True, slots=True)
class _Columns:
    """What training attempts say of how to turn any attempts into columns."""

    train: Attempts
    groups: Sequence[str]

    def inputs(self, attempts: Attempts) -> Floats:
        wanted = [INPUTS.index(name) for group in self.groups for name in GROUPS[group]]
        return np.asarray(inputs_of(known_before(attempts))[:, wanted], np.float64)

    def ids(self, attempts: Attempts) -> Floats:
        """Topic, difficulty and, with the item's inputs, item; NaN where the training didn't see it."""
        columns = [
            _codes(self.train.topics, self.train.topic, attempts.topics, attempts.topic),
            attempts.difficulty.astype(np.float64),
        ]
        if "item" in self.groups:
            columns.append(_codes(self.train.items, self.train.item, attempts.items, attempts.item))
        return np.column_stack(columns)


def _codes(
    known: Sequence[str], seen: NDArray[np.int32], names: Sequence[str], codes: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The most frequent names of the training as numbers from 0, others NaN."""
    found, counts = np.unique(seen[seen >= 0], return_counts=True)
    kept = found[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]
    number = {known[place]: float(code) for code, place in enumerate(kept)}
    return np.array([*(number.get(name, np.nan) for name in names), np.nan])[codes]


class GradientBoosting:
    """Histogram gradient boosting (scikit-learn's settings as they come) for correctness and for the log time."""

    def __init__(self, train: Attempts, groups: Sequence[str] = ALL_GROUPS) -> None:
        self._columns = _Columns(train, groups)
        rows = self._rows(train)
        cut = round(len(train) * (1 - HELD_OUT))
        early = self._time(rows[:cut], train.seconds[:cut])
        held_out = slice(cut, None)
        unknown = np.full(len(train) - cut, 0.5)
        kept = Calibration.fitted(
            train.correct[held_out], unknown, train.seconds[held_out], np.exp(early.predict(rows[held_out]))
        )
        self._interval = kept.time_low + kept.shift, kept.time_high + kept.shift
        self._seconds = self._time(rows, train.seconds)
        self._correct = self._classifier().fit(rows, train.correct)

    def answers(self, attempts: Attempts) -> Answers:
        rows = self._rows(attempts)
        p = self._correct.predict_proba(rows)[:, 1]
        return answers_with_interval(p, np.exp(self._seconds.predict(rows)), *self._interval)

    def _rows(self, attempts: Attempts) -> Floats:
        return np.column_stack([self._columns.ids(attempts), self._columns.inputs(attempts)])

    def _categorical(self) -> list[int]:
        return [0, 1, 2] if "item" in self._columns.groups else [0, 1]

    def _classifier(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(categorical_features=self._categorical(), random_state=0)

    def _time(self, rows: Floats, seconds: Floats) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        made = HistGradientBoostingRegressor(categorical_features=self._categorical(), random_state=0)
        return made.fit(rows, np.log(plausible(seconds)))


class LogisticRegression:
    """Logistic and ridge regression on one-hot items (or topics and difficulties) and the inputs, standardised."""

    def __init__(self, train: Attempts) -> None:
        from sklearn.linear_model import LogisticRegression as Logistic
        from sklearn.linear_model import Ridge

        self._columns = _Columns(train, ALL_GROUPS)
        inputs = self._logs(train)
        self._mean, self._sd = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        self._categories = [np.unique(column[~np.isnan(column)]) for column in self._columns.ids(train).T]
        rows = self._rows(train)
        self._correct = Logistic(max_iter=2000).fit(rows, train.correct)
        self._seconds = Ridge().fit(rows, np.log(plausible(train.seconds)))
        residuals = np.log(plausible(train.seconds)) - self._seconds.predict(rows)
        self._interval = tuple(np.quantile(residuals, [0.1, 0.9]).tolist())

    def answers(self, attempts: Attempts) -> Answers:
        rows = self._rows(attempts)
        low, high = self._interval
        return answers_with_interval(
            self._correct.predict_proba(rows)[:, 1], np.exp(self._seconds.predict(rows)), low, high
        )

    def _logs(self, attempts: Attempts) -> Floats:
        """Skewed and never negative, all but the sines and cosines: logs."""
        inputs = self._columns.inputs(attempts)
        return np.asarray(np.where(inputs >= 0, np.log1p(np.maximum(inputs, 0)), inputs), np.float64)

    def _rows(self, attempts: Attempts) -> Floats:
        ids = self._columns.ids(attempts)
        one_hot = [column[:, None] == known for column, known in zip(ids.T, self._categories, strict=True)]
        return np.column_stack([*one_hot, (self._logs(attempts) - self._mean) / self._sd])


def answers_with_interval(p: Floats, seconds: Floats, low: float, high: float) -> Answers:
    """Answers with one interval of the log time for all; nothing is said of how sure the probabilities are."""
    return Answers(p, seconds, p, p, seconds * np.exp(low), seconds * np.exp(high))

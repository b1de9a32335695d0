"""Models of others on our inputs: scikit-learn's, to compare with. A development dependency; nothing here serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from app.domain.attempts import Attempts, plausible
from app.ml.answers import Answers
from app.ml.calibration.calibration import USUAL
from app.ml.calibration.intervals import Band
from app.ml.features.inputs import INPUT_GROUPS, INPUTS, inputs_of, known_before

Floats = NDArray[np.float64]

ALL_GROUPS = tuple(name for name in INPUT_GROUPS if name != "base")  # of the past
MOST_CATEGORIES = 254  # that histogram gradient boosting tells apart by itself
RIDGE_TOLERANCE = 1e-8
HELD_OUT = 0.15  # share, the newest: residuals for the interval


def are_installed() -> bool:
    return find_spec("sklearn") is not None


@dataclass(frozen=True, slots=True)
class _Columns:
    """What training attempts say of how to turn any attempts into columns."""

    train: Attempts
    groups: Sequence[str]

    def inputs(self, attempts: Attempts) -> Floats:
        wanted = [INPUTS.index(name) for group in self.groups for name in INPUT_GROUPS[group]]
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
    """The names of the training as numbers from 0, the most frequent first; others NaN."""
    found, counts = np.unique(seen[seen >= 0], return_counts=True)
    frequent = found[np.argsort(-counts, kind="stable")]
    number = {known[place]: float(code) for code, place in enumerate(frequent)}
    return np.array([*(number.get(name, np.nan) for name in names), np.nan])[codes]


class GradientBoosting:
    """Histogram gradient boosting (scikit-learn's settings as they come) for correctness and for the log time.

    Topics or items of more names than it tells apart are told by how they went in the training, cross-fitted: each row
    by the others of its name (Micci-Barreca 2001, SIGKDD Explorations 3, 27-32; scikit-learn's `TargetEncoder`).
    """

    def __init__(self, train: Attempts, groups: Sequence[str] = ALL_GROUPS) -> None:
        self._columns = _Columns(train, groups)
        rows = self._rows(train)
        self._many = [place for place in self._names() if np.nanmax(rows[:, place], initial=0) >= MOST_CATEGORIES]
        cut = round(len(train) * (1 - HELD_OUT))
        early = self._time(rows[:cut], train.seconds[:cut])
        held_out = slice(cut, None)
        self._band = Band.fitted(train.seconds[held_out], np.exp(early.predict(rows[held_out])), **USUAL)
        self._seconds = self._time(rows, train.seconds)
        self._correct = self._classifier().fit(rows, train.correct)

    def answers(self, attempts: Attempts) -> Answers:
        rows = self._rows(attempts)
        p, seconds = self._correct.predict_proba(rows)[:, 1], np.exp(self._seconds.predict(rows))
        return Answers(p, seconds, p, p, *self._band.around(seconds))

    def _rows(self, attempts: Attempts) -> Floats:
        return np.column_stack([self._columns.ids(attempts), self._columns.inputs(attempts)])

    def _names(self) -> list[int]:
        return [0, 1, 2] if "item" in self._columns.groups else [0, 1]

    def _classifier(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return self._encoded(HistGradientBoostingClassifier, "binary")

    def _time(self, rows: Floats, seconds: Floats) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return self._encoded(HistGradientBoostingRegressor, "continuous").fit(rows, np.log(plausible(seconds)))

    def _encoded(self, boosting: Any, target: str) -> Any:
        """The columns of many names come first, encoded; the others follow as they are."""
        from sklearn.compose import make_column_transformer
        from sklearn.model_selection import KFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import TargetEncoder

        few = [place + sum(many > place for many in self._many) for place in self._names() if place not in self._many]
        made = boosting(categorical_features=few, random_state=0)
        if not self._many:
            return made
        encoder = TargetEncoder(target_type=target, cv=KFold(shuffle=True, random_state=0))
        return make_pipeline(make_column_transformer((encoder, self._many), remainder="passthrough"), made)


class LogisticRegression:
    """Logistic and ridge regression on one-hot topics, difficulties and items and the inputs, standardised."""

    def __init__(self, train: Attempts) -> None:
        from sklearn.linear_model import LogisticRegression as Logistic
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import OneHotEncoder

        self._columns = _Columns(train, ALL_GROUPS)
        inputs = self._logs(train)
        self._mean, self._sd = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        ids = self._columns.ids(train)
        self._named = ~np.isnan(ids).all(axis=0)
        known = [np.unique(column[~np.isnan(column)]) for column in ids[:, self._named].T]
        self._one_hot = OneHotEncoder(categories=known, handle_unknown="ignore").fit(ids[:, self._named])
        rows = self._rows(train)
        self._correct = Logistic(max_iter=2000).fit(rows, train.correct)
        self._seconds = Ridge(solver="sparse_cg", tol=RIDGE_TOLERANCE).fit(rows, np.log(plausible(train.seconds)))
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

    def _rows(self, attempts: Attempts) -> csr_matrix:
        names = self._one_hot.transform(self._columns.ids(attempts)[:, self._named])
        rows: csr_matrix = hstack([names, (self._logs(attempts) - self._mean) / self._sd], format="csr")
        return rows


def answers_with_interval(p: Floats, seconds: Floats, low: float, high: float) -> Answers:
    """Answers with one interval of the log time for all; nothing is said of how sure the probabilities are."""
    unsaid = np.full(len(p), np.nan)
    return Answers(p, seconds, unsaid, unsaid, seconds * np.exp(low), seconds * np.exp(high))

"""The observed answers in the sparse form that LNIRT's fit works on: what nobody answered costs nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Censored:
    """ResponseMatrix whose time is only known to exceed `limit` (centred log seconds), n of them, from m persons."""

    row: Ints  # (n,) which of `persons` gave it
    item: Ints  # (n,)
    limit: Floats  # (n,)
    persons: Ints  # (m,) persons with at least one such answer
    by_person: csr_array  # (m, n)


@dataclass(frozen=True, slots=True)
class ResponseMatrix:
    """What was observed, sparse: N persons, K items; a person may meet an item more than once.

    Times are logs of seconds, less their overall mean.
    """

    n_persons: int
    n_items: int
    marks: csr_array  # (N, 2K) number of right answers in column k, of wrong ones in column K + k
    marks_t: csr_array  # (2K, N)
    timed: csr_array  # (N, K) number of fully observed times
    timed_t: csr_array
    logt: csr_array  # (N, K) their sums, centred log seconds
    logt_t: csr_array
    time_sums: Floats  # (3, K) number, sum and sum of squares of observed centred log seconds
    n_times: Floats  # (K,) observed and censored
    censored: Censored | None


def sparse_answers(
    person: Ints, item: Ints, correct: Floats, logt: Floats, censored: NDArray[np.bool_], n_persons: int, n_items: int
) -> ResponseMatrix:
    """Arrange answers, each array of shape (n,), NaN = missing; `logt` already centred."""
    marked, timed, cut = ~np.isnan(correct), ~np.isnan(logt) & ~censored, ~np.isnan(logt) & censored
    column = item[marked] + n_items * (correct[marked] < 0.5)
    marks = _counts(person[marked], column, None, (n_persons, 2 * n_items))
    rows, columns, values = person[timed], item[timed], logt[timed]
    counts = _counts(rows, columns, None, (n_persons, n_items))
    sums = _counts(rows, columns, values, (n_persons, n_items))
    moments = np.array([np.bincount(columns, weights=values**power, minlength=n_items) for power in range(3)])
    n_times = moments[0] + np.bincount(item[cut], minlength=n_items)
    return ResponseMatrix(
        n_persons, n_items, marks, marks.T.tocsr(), counts, counts.T.tocsr(), sums, sums.T.tocsr(), moments, n_times,
        _censored(person[cut], item[cut], logt[cut]) if cut.any() else None,
    )  # fmt: skip


def _counts(row: Ints, column: Ints, values: Floats | None, shape: tuple[int, int]) -> csr_array:
    data = np.ones(len(row)) if values is None else values
    return csr_array((data, (row.astype(np.int32), column.astype(np.int32))), shape=shape)


def _censored(person: Ints, item: Ints, limit: Floats) -> Censored:
    persons, row = np.unique(person, return_inverse=True)
    by_person = _counts(row, np.arange(len(row)), None, (len(persons), len(row)))
    return Censored(row, item, limit, persons, by_person)

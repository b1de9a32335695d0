"""The observed answers in the sparse form that LNIRT's fit works on, in shards of students: what nobody answered costs
nothing, and no step of a fit looks at more than one shard at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import attrgetter
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.ml.engine.local import Arrays, Engine, LocalEngine, current

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.integer]
P = ParamSpec("P")
T = TypeVar("T")

SHARD_ANSWERS = 200_000  # of a shard: what an E-step makes of them stays small, and its sums small beside them
SHARD_PERSONS = 10_000


@dataclass(frozen=True, slots=True)
class Censored:
    """Answers whose time is only known to exceed `limit` (centred log seconds), n of them, from m persons."""

    row: Ints  # (n,) which of `persons` gave it
    item: Codes  # (n,)
    limit: Floats  # (n,)
    persons: Ints  # (m,) persons with at least one such answer
    by_person: csr_array  # (m, n)


@dataclass(frozen=True, slots=True)
class ResponseMatrix:
    """What was observed of a shard of N persons, sparse, on K items; a person may meet an item more than once.

    Times are logs of seconds, less the mean of all persons'.
    """

    first: int  # how many persons the shards before it hold
    n_persons: int
    n_items: int
    marks: csr_array  # (N, 2K) number of right answers in column k, of wrong ones in column K + k
    timed: csr_array  # (N, K) number of fully observed times
    logt: csr_array  # (N, K) their sums, centred log seconds
    time_sums: Floats  # (3, K) number, sum and sum of squares of observed centred log seconds
    censored: Censored | None


@dataclass(frozen=True, slots=True)
class Responses:
    """All shards of students, and what is known of their answers without looking into one."""

    shards: Sequence[ResponseMatrix]  # or what stands for them where workers hold them
    engine: Engine
    answered: Ints  # (N,) marks of each person
    marks: Floats  # (2K,) right answers to each item, then wrong ones
    time_sums: Floats  # (3, K) as in ResponseMatrix
    n_times: Floats  # (K,) observed and censored

    @property
    def n_persons(self) -> int:
        return len(self.answered)

    @property
    def n_items(self) -> int:
        return len(self.n_times)

    def each(self, work: Callable[Concatenate[ResponseMatrix, P], T], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """What the work makes of each shard, in their order: sums that are added up in it are always the same."""
        return self.engine.map(partial(work, **kwargs), self.shards, *args)


def sparse_answers(
    person: Codes,
    item: Codes,
    correct: NDArray[np.floating] | NDArray[np.bool_],
    logt: Floats,
    censored: NDArray[np.bool_],
    n_persons: int,
    n_items: int,
) -> Responses:
    """Arrange answers, each array of shape (n,), NaN = missing; `logt` already centred."""
    engine = current() if len(person) > SHARD_ANSWERS else LocalEngine()  # of one shard no worker is any quicker
    order = np.argsort(person, kind="stable").astype(np.min_scalar_type(len(person)))  # half as large while shards grow
    count = np.bincount(person, minlength=n_persons)
    ends = np.append(0, np.cumsum(count))

    marks, n_times, answered = np.zeros(2 * n_items), np.zeros(n_items), np.zeros(n_persons, np.int64)

    def parts() -> Iterator[Arrays]:
        first = 0
        while first < n_persons:
            last = int(np.searchsorted(ends, ends[first] + SHARD_ANSWERS, side="right")) - 1
            last = min(max(last, first + 1), first + SHARD_PERSONS)
            rows = order[ends[first] : ends[last]]
            marked = correct[rows].astype(np.float32)
            answers = {"item": item[rows], "correct": marked, "logt": logt[rows], "censored": censored[rows]}
            marks[:n_items] += np.bincount(answers["item"], answers["correct"] == 1, n_items)
            marks[n_items:] += np.bincount(answers["item"], answers["correct"] == 0, n_items)
            n_times[:] += np.bincount(answers["item"], ~np.isnan(answers["logt"]), n_items)
            whose = person[rows] - first
            answered[first:last] = np.bincount(whose, ~np.isnan(answers["correct"]), last - first)
            yield {"persons": np.array([first, last]), "person": whose, **answers}
            first = last

    shards = engine.shards(partial(_shard, n_items), parts())
    return Responses(shards, engine, answered, marks, added(engine.map(attrgetter("time_sums"), shards)), n_times)


def _shard(n_items: int, part: Arrays) -> ResponseMatrix:
    first, last = part["persons"].tolist()
    person, item, correct, logt, censored = (part[name] for name in ("person", "item", "correct", "logt", "censored"))
    n_persons = last - first
    marked, timed, cut = ~np.isnan(correct), ~np.isnan(logt) & ~censored, ~np.isnan(logt) & censored
    column = item[marked] + n_items * (correct[marked] < 0.5)
    marks = _counts(person[marked], column, None, (n_persons, 2 * n_items))
    rows, columns, values = person[timed], item[timed], logt[timed]
    counts = _counts(rows, columns, None, (n_persons, n_items))
    sums = _counts(rows, columns, values, (n_persons, n_items))
    moments = np.array([np.bincount(columns, weights=values**power, minlength=n_items) for power in range(3)])
    return ResponseMatrix(
        first, n_persons, n_items, marks, counts,
        csr_array((sums.data, counts.indices, counts.indptr), shape=sums.shape),  # they lie at the same places
        moments, _censored(person[cut], item[cut], logt[cut]) if cut.any() else None,
    )  # fmt: skip


def _counts(row: Codes, column: Codes, values: Floats | None, shape: tuple[int, int]) -> csr_array:
    """Values, or how many there are, at each place; counts in the smallest type that holds them."""
    data = np.ones(len(row), np.float32) if values is None else values
    found: csr_array = csr_array((data, (row.astype(np.int32), column.astype(np.int32))), shape=shape)
    if values is not None:
        return found
    counts = found.data.astype(np.min_scalar_type(int(found.data.max(initial=0))))
    return csr_array((counts, found.indices, found.indptr), shape=shape)


def _censored(person: Codes, item: Codes, limit: Floats) -> Censored:
    persons, row = np.unique(person.astype(np.int64), return_inverse=True)
    by_person = _counts(row, np.arange(len(row)), None, (len(persons), len(row)))
    return Censored(row, item, limit, persons, by_person)


def added(parts: Iterable[Floats]) -> Floats:
    """The sum of arrays of one shape, of each shard one, in their order."""
    return reduce(np.add, parts)

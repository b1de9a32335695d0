"""Who is ahead, in a sentence: on tasks that both predicted, where there are any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.crud.comparison import Floats, Ints, Predicted
from app.ml.metrics import TINY

Name = Callable[[int], str]


def sentence(data: Predicted, kinds: Mapping[int, str], of_kind: Ints, names: Sequence[str], days: int) -> str:
    """About versions; about kinds too, where one of them had several versions."""
    if len(data) == 0:
        span = "today" if days == 1 else f"in the last {days} days"
        return f"Nothing to compare yet: no predicted task has been completed {span}."
    by_version = _about(data, data.version, lambda id_: version_name(id_, kinds))
    by_version = by_version[0].upper() + by_version[1:]
    if len(names) < 2 or len(set(data.version.tolist())) == len(names):
        return by_version
    by_kind = _about(data, of_kind, lambda place: _kind_name(names[place]))
    return f"{by_version} All versions of a kind taken together: {by_kind}"


def version_name(version: int, kinds: Mapping[int, str]) -> str:
    return f"version {version} of {kinds[version]}" if version else "the prior"


def _kind_name(kind: str) -> str:
    return "the prior" if kind == "prior" else kind


def _about(data: Predicted, labels: Ints, name: Name) -> str:
    losses = -np.log(np.clip(np.where(data.correct, data.probability, 1 - data.probability), TINY, 1))
    pair = both_predicted(data, labels)
    return _on_the_same(pair, losses, name) if pair else _apart(data, labels, losses, name)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two labels and the rows in which they predicted the same m tasks."""

    one: int
    other: int
    ones: NDArray[np.intp]  # (m,)
    others: NDArray[np.intp]  # (m,)


def both_predicted(data: Predicted, labels: Ints) -> Pair | None:
    """Of a label that was shown and one that was a shadow, those with the most tasks in common; the newer on a tie."""
    shadows, shown = np.flatnonzero(data.shadow), np.flatnonzero(~data.shadow)
    row_of = np.zeros(int(data.task.max()) + 1, np.intp)
    row_of[data.task[shown]] = shown
    partners = row_of[data.task[shadows]]
    apart = labels[partners] != labels[shadows]
    shadows, partners = shadows[apart], partners[apart]
    if len(shadows) == 0:
        return None
    pairs = np.sort(np.column_stack([labels[partners], labels[shadows]]), axis=1)
    found, which, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    best = int(np.flatnonzero(counts == counts.max())[-1])
    mine = which.reshape(-1) == best
    older, newer = found[best].tolist()
    swapped = labels[partners[mine]] == older
    ones, others = np.where(swapped, shadows[mine], partners[mine]), np.where(swapped, partners[mine], shadows[mine])
    return Pair(newer, older, ones, others)


def _on_the_same(pair: Pair, losses: Floats, name: Name) -> str:
    differences = losses[pair.ones] - losses[pair.others]
    mean, n = float(differences.mean()), len(differences)
    one = (name(pair.one), float(losses[pair.ones].mean()))
    other = (name(pair.other), float(losses[pair.others].mean()))
    first, second = (one, other) if mean <= 0 else (other, one)
    digits = next((d for d in range(2, 6) if round(first[1], d) != round(second[1], d)), 2)
    numbers = f"log-loss {first[1]:.{digits}f} against {second[1]:.{digits}f}"
    if mean == 0:
        return f"{first[0]} and {second[0]} are level on {_tasks(n)}: {numbers}."
    chance = n < 2 or abs(mean) < 2 * float(differences.std(ddof=1)) / np.sqrt(n)
    doubt = ", which may well be chance" if chance else ""
    return f"{first[0]} is ahead of {second[0]} on {_tasks(n)}: {numbers}{doubt}."


def _apart(data: Predicted, labels: Ints, losses: Floats, name: Name) -> str:
    """No two predicted the same task: the two with the most tasks, each on its own."""
    found, counts = np.unique(labels, return_counts=True)
    most = sorted(zip(counts.tolist(), found.tolist(), strict=True), reverse=True)[:2]
    said = [(name(label), f"{losses[labels == label].mean():.2f}", n) for n, label in most]
    first = f"{said[0][0]} has a log-loss of {said[0][1]} on {_tasks(said[0][2])}"
    if len(said) == 1:
        return f"{first}; there is no other to compare it with."
    return f"{first}, {said[1][0]} {said[1][1]} on {_other(said[1][2])}."


def _tasks(n: int) -> str:
    return "1 task" if n == 1 else f"{n:,} tasks"


def _other(n: int) -> str:
    return "1 other task" if n == 1 else f"{n:,} other tasks"

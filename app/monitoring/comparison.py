"""The live quality of the versions: what they predicted, against what was completed since; and who is ahead."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.crud import predictions
from app.crud.predictions import ComparedOutcomes, Floats, Ints
from app.ml import metrics
from app.schemas.comparison import Comparison, DayOut, KindQuality, VersionQuality

PRIOR = "prior"
EPOCH = date(1970, 1, 1)
Name = Callable[[int], str]
Rows = NDArray[np.intp]


def comparison(db: Session, days: int, limit: int = 50, most_a_day: int | None = None) -> Comparison:
    """Compare every kind and the newest `limit` versions, over all these days and by day of completion.

    Of all tasks, or of so many of each day at the most: then it takes no longer where there are more.
    """
    data = predictions.compared(db, days, most_a_day)
    versions, which = np.unique(data.version, return_inverse=True)
    kinds = {0: PRIOR, **predictions.kinds_of(db, versions.tolist())}
    names, of_version = np.unique([kinds[version] for version in versions.tolist()], return_inverse=True)
    of_kind = of_version.astype(np.int32)[which]
    newest = data.take(np.isin(data.version, versions[-limit:]))
    by_version = [
        VersionQuality(id=version or None, kind=kinds[version], **fields)
        for version, fields in _qualities(newest, newest.version)
    ]
    return Comparison(
        days=days,
        text=_text(data, kinds, of_kind, names.tolist(), days),
        kinds=[KindQuality(kind=names[kind], **fields) for kind, fields in _qualities(data, of_kind)],
        versions=by_version[::-1],
    )


def _qualities(data: ComparedOutcomes, labels: Ints) -> Iterator[tuple[int, dict[str, Any]]]:
    """Score each label, what was shown and what was a shadow, over all days and by day, the oldest first."""
    for label, role, rows in _groups(data, labels):
        by_day = [DayOut(day=EPOCH + timedelta(day), **quality(of_day)) for day, _, of_day in _groups(rows, rows.day)]
        yield label, {"role": role, **quality(rows), "by_day": by_day}


def _groups(data: ComparedOutcomes, labels: Ints) -> Iterator[tuple[int, str, ComparedOutcomes]]:
    """Divide the rows by label and role, in one sort."""
    if len(data) == 0:
        return
    keys = labels.astype(np.int64) * 2 + data.shadow
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    for key, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        yield key // 2, "shadow" if key % 2 else "served", data.take(rows)


def quality(rows: ComparedOutcomes) -> dict[str, Any]:
    """Return the scores of n predictions, n at least 1."""
    columns = (rows.correct, rows.probability, rows.seconds, rows.estimate, rows.low, rows.high)
    return {"n": len(rows), **asdict(metrics.summary(*columns))}


def _text(data: ComparedOutcomes, kinds: dict[int, str], of_kind: Ints, names: list[str], days: int) -> str:
    """Say who is ahead, of the versions; of the kinds too, where one of them had several versions."""
    if len(data) == 0:
        span = "today" if days == 1 else f"in the last {days} days"
        return f"Nothing to compare yet: no predicted task has been completed {span}."
    by_version = _ahead(data, data.version, lambda id_: f"version {id_} of {kinds[id_]}" if id_ else "the prior")
    by_version = by_version[0].upper() + by_version[1:]
    if len(names) < 2 or len(set(data.version.tolist())) == len(names):
        return by_version
    by_kind = _ahead(data, of_kind, lambda place: "the prior" if names[place] == PRIOR else names[place])
    return f"{by_version} All versions of a kind taken together: {by_kind}"


def _ahead(data: ComparedOutcomes, labels: Ints, name: Name) -> str:
    """Say who is ahead, on tasks that both predicted where there are any."""
    losses = metrics.losses(data.correct, data.probability)
    pair = both_predicted(data, labels)
    return _on_the_same(*pair, losses, name) if pair else _on_others(labels, losses, name)


def both_predicted(data: ComparedOutcomes, labels: Ints) -> tuple[int, int, Rows, Rows] | None:
    """Find the two labels, one shown and one a shadow, with the most tasks in common, the newer on a tie.

    Returns the newer label and the older, and the rows in which each predicted the same m tasks, (m,).
    """
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
    newers = np.where(swapped, shadows[mine], partners[mine])
    olders = np.where(swapped, partners[mine], shadows[mine])
    return newer, older, newers, olders


def _on_the_same(newer: int, older: int, newers: Rows, olders: Rows, losses: Floats, name: Name) -> str:
    differences = losses[newers] - losses[olders]
    mean, n = float(differences.mean()), len(differences)
    both = [(name(newer), float(losses[newers].mean())), (name(older), float(losses[olders].mean()))]
    (first, lower), (second, higher) = both if mean <= 0 else both[::-1]
    digits = next((d for d in range(2, 6) if round(lower, d) != round(higher, d)), 2)
    numbers = f"log-loss {lower:.{digits}f} against {higher:.{digits}f}"
    if mean == 0:
        return f"{first} and {second} are level on {_tasks(n)}: {numbers}."
    chance = n < 2 or abs(mean) < 2 * float(differences.std(ddof=1)) / np.sqrt(n)
    doubt = ", which may well be chance" if chance else ""
    return f"{first} is ahead of {second} on {_tasks(n)}: {numbers}{doubt}."


def _on_others(labels: Ints, losses: Floats, name: Name) -> str:
    """Set side by side the two with the most tasks, where no two predicted the same."""
    found, counts = np.unique(labels, return_counts=True)
    most = sorted(zip(counts.tolist(), found.tolist(), strict=True), reverse=True)[:2]
    said = [(name(label), f"{losses[labels == label].mean():.2f}", n) for n, label in most]
    (one, loss, n), *other = said
    text = f"{one} has a log-loss of {loss} on {_tasks(n)}"
    if not other:
        return f"{text}; there is no other to compare it with."
    ((another, loss, n),) = other
    return f"{text}, {another} {loss} on {_tasks(n, 'other ')}."


def _tasks(n: int, which: str = "") -> str:
    return f"{n:,} {which}task{'s' * (n != 1)}"

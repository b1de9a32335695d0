"""The live quality of the versions: what they predicted, against what was completed since."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.crud import comparison as predictions
from app.crud.comparison import Ints, Predicted
from app.ml import metrics
from app.monitoring.comparison_text import sentence
from app.schemas.comparison import Comparison, DayOut, KindQuality, VersionQuality

PRIOR = "prior"
EPOCH = date(1970, 1, 1)


def comparison(db: Session, days: int, limit: int = 50, most_a_day: int | None = None) -> Comparison:
    """Every kind and the newest `limit` versions, over all these days and by day of completion.

    Of all tasks, or of so many of each day at the most: then it takes no longer where there are more.
    """
    data = predictions.completed(db, days, most_a_day)
    versions, which = np.unique(data.version, return_inverse=True)
    known = {0: PRIOR, **predictions.kinds_of(db, versions.tolist())}
    kinds = {version: known[version] for version in versions.tolist()}
    names = sorted(set(kinds.values()))
    of_kind = np.array([names.index(kind) for kind in kinds.values()], np.int32)[which]
    return Comparison(
        days=days,
        text=sentence(data, kinds, of_kind, names, days),
        kinds=[
            KindQuality(kind=names[of.label], role=of.role, **quality(of.rows), by_day=by_day(of.rows))
            for of in groups(data, of_kind)
        ],
        versions=_versions(data, kinds, limit),
    )


def _versions(data: Predicted, kinds: Mapping[int, str], limit: int) -> list[VersionQuality]:
    newest = sorted(set(data.version.tolist()), reverse=True)[:limit]
    kept = data.take(np.isin(data.version, newest))
    found = [
        VersionQuality(
            id=of.label or None, kind=kinds[of.label], role=of.role, **quality(of.rows), by_day=by_day(of.rows)
        )
        for of in groups(kept, kept.version)
    ]
    return found[::-1]


def by_day(rows: Predicted) -> list[DayOut]:
    """Oldest day first."""
    return [DayOut(day=EPOCH + timedelta(of.label), **quality(of.rows)) for of in groups(rows, rows.day)]


@dataclass(frozen=True, slots=True)
class Group:
    """The predictions with one label, shown or shadow."""

    label: int
    shadow: bool
    rows: Predicted

    @property
    def role(self) -> str:
        return "shadow" if self.shadow else "served"


def groups(data: Predicted, labels: Ints) -> Iterator[Group]:
    """By label and role, in one sort."""
    if len(data) == 0:
        return
    keys = labels.astype(np.int64) * 2 + data.shadow
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    for key, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        yield Group(key // 2, bool(key % 2), data.take(rows))


def quality(rows: Predicted) -> dict[str, Any]:
    """The scores of n predictions, n at least 1."""
    columns = (rows.correct, rows.probability, rows.seconds, rows.estimate, rows.low, rows.high)
    return {"n": len(rows), **asdict(metrics.summary(*columns))}

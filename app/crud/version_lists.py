"""Versions as a list shows them: without their reports, which are most of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud.model_versions import KNOWS_ERASED


@dataclass(frozen=True, slots=True)
class Listed:
    """One trained model."""

    id: int
    kind: str
    state: str
    place: int  # among the serving: the lowest answers
    by_hand: bool
    reason: str | None
    n_tasks: int
    scores: Mapping[str, Any]
    created_at: datetime
    run_id: int | None
    pruned_at: datetime | None
    knows_erased: bool  # may know a student who was erased since

    @property
    def answers(self) -> bool:
        return self.state == "serving" and self.place == 0

    @property
    def can_be_promoted(self) -> bool:
        """As `model_versions.promote` would have it; who answers already has no need."""
        sound = self.pruned_at is None and self.scores.get("usable") is not False
        return sound and not self.knows_erased and not self.answers


COLUMNS = ", ".join(name for name in Listed.__slots__ if name != "knows_erased")


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run's version of one kind came to on the tasks it was judged on."""

    run_id: int
    kind: str
    version_id: int
    log_loss: float


def newest(db: Session, limit: int, before: int | None = None) -> list[Listed]:
    """Newest first; `before` is the id that the page before ended with."""
    return _listed(db, "CAST(:before AS int) IS NULL OR id < :before", limit, before=before)


def one(db: Session, version_id: int) -> Listed | None:
    return next(iter(_listed(db, "id = :id", 1, id=version_id)), None)


def _listed(db: Session, where: str, limit: int, **values: object) -> list[Listed]:
    rows = db.execute(
        text(f"""SELECT {COLUMNS}, {KNOWS_ERASED} AS knows_erased FROM model_versions
                 WHERE {where} ORDER BY id DESC LIMIT :limit"""),
        {"limit": limit, **values},
    ).mappings()
    return [Listed(**row) for row in rows]


def held_out(db: Session, most: int) -> Sequence[Scored]:
    """The log-loss of the newest versions, the oldest of them first."""
    rows = db.execute(
        text("""SELECT run_id, kind, id, CAST(scores ->> 'log_loss' AS float8) FROM (
                    SELECT id, kind, run_id, scores FROM model_versions
                    WHERE run_id IS NOT NULL AND jsonb_typeof(scores -> 'log_loss') = 'number'
                    ORDER BY id DESC LIMIT :most) AS newest
                ORDER BY id"""),
        {"most": most},
    )
    return [Scored(*row) for row in rows]

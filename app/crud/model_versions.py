"""The trained models: which are kept, which serve, and every change of that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from app.crud.model_tracker import to_json
from app.domain.errors import NotKept, VersionNotFound
from app.domain.kinds import KINDS
from app.domain.shares import ALL, Share

CHANGING = "hashtext('smartstudy.serving')"  # who changes who serves, waits for others who do

# Whoever was erased since it was trained may be known to it.
KNOWS_ERASED = "erasures < (SELECT coalesce(max(id), 0) FROM erasures)"
FORMER = "a former admin"


@dataclass(frozen=True, slots=True)
class Version:
    """One trained model and its files."""

    id: int
    kind: str
    folder: str  # below MODEL_DIR
    files: Mapping[str, str]  # name -> SHA-256, hexadecimal
    state: str
    reason: str | None
    n_tasks: int
    report: Mapping[str, Any]
    created_at: datetime
    place: int = 0  # among the serving: the lowest answers
    by_hand: bool = False  # chosen by a person
    scores: Mapping[str, Any] | None = None  # on rows that it was not fitted on
    train_seconds: float | None = None
    data_from: datetime | None = None
    data_to: datetime | None = None
    run_id: int | None = None
    pruned_at: datetime | None = None
    erasures: int = 0  # the last one that it was trained after
    chance_share: float = 0.0  # of what is answered while it serves, 0-1
    time_share: float = 0.0

    @property
    def mark(self) -> tuple[int, int, int]:
        """What tells it and its shares from others, as `student_totals.PAST` has it."""
        return self.id, round(1000 * self.chance_share), round(1000 * self.time_share)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of who serves."""

    id: int
    at: datetime
    what: str
    lineup: Sequence[int]  # versions, best first
    made_by: str
    reason: str
    back_to: int | None  # of a roll-back: the change it restored


@dataclass(frozen=True, slots=True)
class Kept:
    """A version whose files are on disk, or should be."""

    id: int
    folder: str
    files: Mapping[str, str]


COLUMNS = ", ".join(Version.__slots__)
CHANGE = ", ".join(Change.__slots__)


def add(
    db: Session,
    *,
    kind: str,
    folder: str,
    files: Mapping[str, str],
    n_tasks: int,
    report: Mapping[str, Any],
    scores: Mapping[str, Any],
    span: tuple[datetime, datetime],
    run_id: int,
    erasures: int = 0,
) -> int:
    """A new version: a candidate until it serves or is rejected."""
    made: int = db.scalar(
        text("""INSERT INTO model_versions (kind, folder, files, state, n_tasks, report, scores, train_seconds,
                                            data_from, data_to, run_id, erasures)
                VALUES (:kind, :folder, CAST(:files AS jsonb), 'candidate', :n_tasks, CAST(:report AS jsonb),
                        CAST(:scores AS jsonb), :train_seconds, :data_from, :data_to, :run_id, :erasures)
                RETURNING id"""),
        {
            "kind": kind,
            "folder": folder,
            "files": to_json(files),
            "n_tasks": n_tasks,
            "report": to_json(report),
            "scores": to_json(scores),
            "train_seconds": report.get("train_seconds"),
            "data_from": span[0],
            "data_to": span[1],
            "run_id": run_id,
            "erasures": erasures,
        },
    )
    return made


def reject(db: Session, version_id: int, reason: str) -> None:
    """It never serves, for this reason."""
    db.execute(
        text("UPDATE model_versions SET state = 'rejected', reason = :reason WHERE id = :id"),
        {"id": version_id, "reason": reason},
    )


def explain(db: Session, version_id: int, reason: str) -> None:
    """Say in the version's own row why it stands as it does."""
    db.execute(text("UPDATE model_versions SET reason = :reason WHERE id = :id"), {"id": version_id, "reason": reason})


def take_turn(db: Session) -> None:
    """Nobody else changes who serves until this transaction ends."""
    db.execute(text(f"SELECT pg_advisory_xact_lock({CHANGING})"))


def keep_as_it_is(connection: Connection) -> None:
    """Nobody publishes, promotes or removes a version until `let_go`; several may hold this at once."""
    connection.execute(text(f"SELECT pg_advisory_lock_shared({CHANGING})"))


def let_go(connection: Connection) -> None:
    connection.execute(text(f"SELECT pg_advisory_unlock_shared({CHANGING})"))


def kept(db: Session) -> list[Kept]:
    """Every version whose files are not gone; at any revision of the schema."""
    rows = db.execute(text("SELECT id, folder, files FROM model_versions WHERE pruned_at IS NULL ORDER BY id"))
    return [Kept(*row) for row in rows]


def folders(db: Session) -> list[str]:
    """Of every version, whether or not it is still there."""
    return list(db.scalars(text("SELECT folder FROM model_versions")))


def mark_gone(db: Session, folders: Sequence[str]) -> None:
    """The files of these versions are not there; one that serves stays, for the service says so and falls back."""
    db.execute(
        text("UPDATE model_versions SET pruned_at = now() WHERE folder = ANY(:folders) AND state <> 'serving'"),
        {"folders": list(folders)},
    )


def serve(
    db: Session,
    lineup: Sequence[int],
    *,
    what: str,
    made_by: str,
    reason: str,
    by_hand: int | None = None,
    back_to: int | None = None,
) -> None:
    """These versions serve, the first of them answers; whoever else did retires. Call `take_turn` before."""
    db.execute(
        text("""UPDATE model_versions SET state = 'retired', by_hand = false
                WHERE state = 'serving' AND id <> ALL(:ids)"""),
        {"ids": list(lineup)},
    )
    db.execute(
        text("""UPDATE model_versions SET state = 'serving', place = array_position(CAST(:ids AS int[]), id) - 1,
                       by_hand = CASE WHEN id = :by_hand THEN true
                                      ELSE by_hand AND CAST(:by_hand AS int) IS NULL END
                WHERE id = ANY(:ids)"""),
        {"ids": list(lineup), "by_hand": by_hand},
    )
    db.execute(
        text("""INSERT INTO serving_changes (what, lineup, made_by, reason, back_to)
                VALUES (:what, CAST(:ids AS int[]), :made_by, :reason, :back_to)"""),
        {"what": what, "ids": list(lineup), "made_by": made_by, "reason": reason, "back_to": back_to},
    )


def share(db: Session, shares: Mapping[int, Share]) -> None:
    """What each serving version has to say of chance and time; those that are not named have nothing to say."""
    db.execute(
        text(
            """UPDATE model_versions SET chance_share = 0, time_share = 0
                WHERE id <> ALL(:ids) AND chance_share + time_share > 0"""
        ),
        {"ids": list(shares)},
    )
    for version_id, each in shares.items():
        db.execute(
            text("UPDATE model_versions SET chance_share = :chance, time_share = :time WHERE id = :id"),
            {"id": version_id, "chance": each.chance, "time": each.time},
        )


def promote(db: Session, version_id: int, made_by: str) -> str:
    """Let this version answer; what was done, in a sentence.

    Raises:
        VersionNotFound: there is no such version.
        NotKept: its files are gone, it never was a model that can serve, or it knows somebody who was erased.
    """
    take_turn(db)
    version = get(db, version_id)
    if version.kind not in KINDS:
        raise NotKept(f"Version {version_id} is of the kind {version.kind}, which this release does not have.")
    _must_be_kept(version, last_erasure(db))
    others = [other.id for other in serving(db).values() if other.kind != version.kind]
    reason = f"Version {version_id} of {version.kind} was promoted by {made_by}."
    serve(db, [version_id, *others], what="promoted", made_by=made_by, reason=reason, by_hand=version_id)
    _alone(db, version_id)
    explain(db, version_id, reason)
    return reason


def roll_back(db: Session, made_by: str) -> str:
    """Undo the change that put the answering version there; what was done, in a sentence.

    Raises:
        NotKept: there is nothing to go back to.
    """
    take_turn(db)
    now = serving(db)
    back_to = _before(db, next(iter(now.values()), None))
    if back_to is None:
        raise NotKept(f"There is no earlier version to go back to{_without_erased(db)}.")
    kept = [version for version in (get(db, each) for each in back_to.lineup) if version.pruned_at is None]
    wanted = [version for version in kept if version.erasures >= last_erasure(db)]
    kinds = {version.kind for version in wanted}
    lineup = [version.id for version in (*wanted, *(v for v in now.values() if v.kind not in kinds))]
    reason = f"Rolled back to version {lineup[0]} of {wanted[0].kind} by {made_by}."
    restored = back_to.back_to or back_to.id
    serve(db, lineup, what="rolled back", made_by=made_by, reason=reason, by_hand=lineup[0], back_to=restored)
    _alone(db, lineup[0])
    explain(db, lineup[0], reason)
    return reason


def _alone(db: Session, version_id: int) -> None:
    """What a person chose has all the say."""
    share(db, {version_id: ALL})


def _before(db: Session, answering: Version | None) -> Change | None:
    """The change to go back to: the last one in which another version answered that is kept.

    After a roll-back that is counted from the change it went back to, so that the next one goes further.
    """
    if answering is None:
        return None
    row = db.execute(
        text(f"""SELECT {CHANGE} FROM serving_changes AS earlier
                 WHERE lineup[1] <> :id
                   AND id < (SELECT coalesce(back_to, id) FROM serving_changes ORDER BY id DESC LIMIT 1)
                   AND EXISTS (SELECT 1 FROM model_versions
                               WHERE model_versions.id = earlier.lineup[1] AND pruned_at IS NULL
                                 AND NOT ({KNOWS_ERASED}))
                 ORDER BY id DESC LIMIT 1"""),
        {"id": answering.id},
    ).mappings()
    found = row.first()
    return Change(**found) if found else None


def last_erasure(db: Session) -> int:
    """0 before anybody was erased."""
    n: int = db.scalar(text("SELECT coalesce(max(id), 0) FROM erasures"))
    return n


def _without_erased(db: Session) -> str:
    """What to add where versions are kept that must not come back."""
    kept = text(f"SELECT EXISTS (SELECT FROM model_versions WHERE pruned_at IS NULL AND {KNOWS_ERASED})")
    return " that was trained since a student was erased" if db.scalar(kept) else ""


def _must_be_kept(version: Version, last_erasure: int) -> None:
    if version.pruned_at is not None:
        raise NotKept(f"The files of version {version.id} are gone since {version.pruned_at:%Y-%m-%d %H:%M} UTC.")
    if version.scores and version.scores.get("usable") is False:
        raise NotKept(f"Version {version.id} can't serve: {version.reason}")
    if version.erasures < last_erasure:
        raise NotKept(
            f"Version {version.id} may know a student who was erased since it was trained; it can't be chosen any more."
        )


def serving(db: Session) -> dict[str, Version]:
    """The serving version of each kind, the one that answers first."""
    rows = db.execute(
        text(f"SELECT {COLUMNS} FROM model_versions WHERE state = 'serving' ORDER BY place, id")
    ).mappings()
    return {row["kind"]: Version(**row) for row in rows}


def retired(db: Session, kind: str, most: int = 5) -> list[Version]:
    """Versions of this kind that served and whose files are kept, newest first."""
    rows = db.execute(
        text(f"""SELECT {COLUMNS} FROM model_versions WHERE kind = :kind AND state = 'retired' AND pruned_at IS NULL
                 ORDER BY id DESC LIMIT :most"""),
        {"kind": kind, "most": most},
    ).mappings()
    return [Version(**row) for row in rows]


def to_go_on_from(db: Session, kind: str, file: str) -> Version | None:
    """The version of this kind that a training goes on from: the serving one, else the newest whose files are kept.

    It has to have this file, and may know nobody who was erased.
    """
    rows = db.execute(
        text(f"""SELECT {COLUMNS} FROM model_versions
                 WHERE kind = :kind AND pruned_at IS NULL AND data_to IS NOT NULL AND files ? :file
                   AND NOT ({KNOWS_ERASED})
                 ORDER BY state = 'serving' DESC, id DESC LIMIT 1"""),
        {"kind": kind, "file": file},
    ).mappings()
    found = rows.first()
    return Version(**found) if found else None


def of_run(db: Session, run_id: int, kind: str) -> Version | None:
    """What the run came to for this kind."""
    rows = db.execute(
        text(f"SELECT {COLUMNS} FROM model_versions WHERE run_id = :run_id AND kind = :kind LIMIT 1"),
        {"run_id": run_id, "kind": kind},
    ).mappings()
    found = rows.first()
    return Version(**found) if found else None


def get(db: Session, version_id: int) -> Version:
    row = db.execute(
        text(f"SELECT {COLUMNS} FROM model_versions WHERE id = :id"), {"id": version_id}
    ).mappings().first()  # fmt: skip
    if row is None:
        raise VersionNotFound(f"There is no version {version_id}.")
    return Version(**row)


def latest(db: Session, limit: int = 10, kind: str | None = None, before: int | None = None) -> list[Version]:
    """Newest first; `before` is the id that the page before ended with."""
    rows = db.execute(
        text(f"""SELECT {COLUMNS} FROM model_versions
                 WHERE (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:before AS int) IS NULL OR id < :before)
                 ORDER BY id DESC LIMIT :limit"""),
        {"limit": limit, "kind": kind, "before": before},
    ).mappings()
    return [Version(**row) for row in rows]


def with_files(db: Session) -> list[Version]:
    """Those whose files are there, newest first."""
    rows = db.execute(
        text(f"SELECT {COLUMNS} FROM model_versions WHERE pruned_at IS NULL ORDER BY id DESC")
    ).mappings()  # fmt: skip
    return [Version(**row) for row in rows]


def changes(db: Session, limit: int = 10) -> list[Change]:
    """Newest first."""
    rows = db.execute(
        text(f"SELECT {CHANGE} FROM serving_changes ORDER BY id DESC LIMIT :limit"), {"limit": limit}
    ).mappings()
    return [Change(**row) for row in rows]


def prune(db: Session, kinds: Iterable[str], keep: int) -> list[str]:
    """Of each kind mark all but the newest `keep` as gone, never one that serves.

    Their folders may be deleted after the commit.
    """
    gone: list[str] = []
    for kind in kinds:
        rows = db.execute(
            text("""UPDATE model_versions SET pruned_at = now() WHERE id IN (
                        SELECT id FROM model_versions WHERE kind = :kind AND state <> 'serving' AND pruned_at IS NULL
                        ORDER BY id DESC OFFSET :keep)
                    RETURNING folder"""),
            {"kind": kind, "keep": keep - 1},
        )
        gone += [row.folder for row in rows]
    return gone


def withdraw(db: Session, kinds: Iterable[str] | None = None) -> list[str]:
    """Mark as gone what may know somebody who was erased and doesn't serve, of these kinds or of all.

    Their folders are to be deleted after the commit.
    """
    rows = db.execute(
        text(f"""UPDATE model_versions SET pruned_at = now()
                 WHERE pruned_at IS NULL AND state <> 'serving' AND {KNOWS_ERASED}
                   AND (CAST(:kinds AS text[]) IS NULL OR kind = ANY(CAST(:kinds AS text[]))) RETURNING folder"""),
        {"kinds": None if kinds is None else list(kinds)},
    )
    return [row.folder for row in rows]


def forget_name(db: Session, email: str) -> None:
    """An admin was erased: what they chose stays, their address does not."""
    names = {"email": email, "former": FORMER, "ending": f" by {email}."}
    for table in ("serving_changes", "model_versions"):
        db.execute(
            text(f"""UPDATE {table} SET reason = left(reason, -length(:ending)) || ' by ' || :former || '.'
                     WHERE right(reason, length(:ending)) = :ending"""),
            names,
        )
    db.execute(text("UPDATE serving_changes SET made_by = :former WHERE made_by = :email"), names)
    db.execute(text("UPDATE training_control SET paused_by = :former WHERE paused_by = :email"), names)

"""The trained models: which there are, which are kept, and which serve. `serving_changes` changes the latter."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.crud.model_tracker import to_json
from app.crud.rows import all_as, execute, first_as, number
from app.domain.errors import VersionNotFound

LAST_ERASURE = "(SELECT coalesce(max(id), 0) FROM erasures)"
KNOWS_ERASED = f"erasures < {LAST_ERASURE}"  # whoever was erased since it was trained may be known to it
# Of the tasks that it was trained on, those whose result was corrected since. A single one spoils a version of
# up to ten thousand tasks; among a million it is not to be told from chance, and no version could be gone back to.
CORRECTED = """CASE WHEN pruned_at IS NULL THEN (
        SELECT count(DISTINCT task_id) FROM result_corrections AS wrong
        WHERE wrong.id > model_versions.corrections AND wrong.completed_at <= model_versions.created_at) ELSE 0 END"""
TOO_MANY = "(10000 * {corrected} >= greatest(n_tasks, 1))"
KNOWS_CORRECTED = TOO_MANY.format(corrected=CORRECTED)
RETIRED_MOST = 5


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
    scores: Mapping[str, Any] = field(default_factory=dict)  # on rows that it was not fitted on
    train_seconds: float | None = None
    data_from: datetime | None = None
    data_to: datetime | None = None
    run_id: int | None = None
    pruned_at: datetime | None = None
    erasures: int = 0  # the last one that it was trained after
    corrections: int = 0  # likewise
    chance_share: float = 0.0  # of what is answered while it serves, 0-1
    time_share: float = 0.0
    knows_erased: bool = False  # may know a student who was erased since
    corrected: int = 0  # results that it learnt and that were corrected since
    knows_corrected: bool = False  # too many of them for it to answer again

    @property
    def mark(self) -> tuple[int, int, int]:
        """What tells it and its shares from others, as `student_totals.PAST` has it."""
        return self.id, round(1000 * self.chance_share), round(1000 * self.time_share)

    @property
    def answers(self) -> bool:
        return self.state == "serving" and self.place == 0

    @property
    def can_be_promoted(self) -> bool:
        """As `serving_changes.promote` would have it; who answers already has no need."""
        sound = self.pruned_at is None and self.scores.get("usable") is not False
        return sound and not self.knows_erased and not self.knows_corrected and not self.answers


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """A version whose files are on disk, or should be."""

    id: int
    folder: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """What a run's version of one kind came to on the tasks it was judged on."""

    run_id: int
    kind: str
    version_id: int
    log_loss: float


WORKED_OUT = {"knows_erased": KNOWS_ERASED, "knows_corrected": TOO_MANY.format(corrected="corrected")}
COLUMNS = [f"{WORKED_OUT[name]} AS {name}" if name in WORKED_OUT else name for name in Version.__slots__]
# Corrections are counted once for a version, not for each column that they are in: OFFSET keeps the count apart.
COUNTED = f"model_versions CROSS JOIN LATERAL (SELECT {CORRECTED} AS corrected OFFSET 0) AS counted"
SELECT = f"SELECT {', '.join(COLUMNS)} FROM {COUNTED}"
WITHOUT_REPORTS = SELECT.replace(" report,", " CAST('{}' AS jsonb) AS report,")
INSERT = """
    INSERT INTO model_versions (kind, folder, files, state, n_tasks, report, scores, train_seconds, data_from, data_to,
                                run_id, erasures, corrections)
    VALUES (:kind, :folder, CAST(:files AS jsonb), 'candidate', :n_tasks, CAST(:report AS jsonb),
            CAST(:scores AS jsonb), :train_seconds, :data_from, :data_to, :run_id, :erasures, :corrections)
    RETURNING id"""
REJECT = "UPDATE model_versions SET state = 'rejected', reason = :reason WHERE id = :id"
TO_GO_ON_FROM = f"""{SELECT}
    WHERE kind = :kind AND pruned_at IS NULL AND data_to IS NOT NULL AND files ? :file AND NOT ({KNOWS_ERASED})
        AND NOT {KNOWS_CORRECTED}
    ORDER BY state = 'serving' DESC, id DESC LIMIT 1"""
NEWEST = """
    WHERE (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:before AS int) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit"""
COST = """
    SELECT min(seconds / rows) FROM (
        SELECT CAST(report ->> 'rows' AS float8) AS rows, CAST(report ->> 'train_seconds' AS float8)
            * CASE WHEN report ? 'cut_short' THEN 2 ELSE 1 END AS seconds
        FROM model_versions
        WHERE kind = :kind AND report ? 'train_seconds' AND report ? 'rows' AND NOT report ? 'learnt_rows'
        ORDER BY id DESC LIMIT 3) AS lately
    WHERE rows >= greatest(:least, 1)"""
HELD_OUT = """
    SELECT run_id, kind, id AS version_id, CAST(scores ->> 'log_loss' AS float8) AS log_loss FROM model_versions
    WHERE run_id IS NOT NULL AND jsonb_typeof(scores -> 'log_loss') = 'number'
    ORDER BY id DESC LIMIT :most"""
MARK_GONE = "UPDATE model_versions SET pruned_at = now() WHERE folder = ANY(:folders) AND state <> 'serving'"
PRUNE = """
    UPDATE model_versions SET pruned_at = now() WHERE id IN (
        SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY kind ORDER BY id DESC) AS place FROM model_versions
                        WHERE kind = ANY(:kinds) AND state <> 'serving' AND pruned_at IS NULL) AS ranked
        WHERE place >= :keep)
    RETURNING folder"""
WITHDRAW = f"""
    UPDATE model_versions SET pruned_at = now()
    WHERE pruned_at IS NULL AND state <> 'serving' AND {KNOWS_ERASED}
      AND (CAST(:kinds AS text[]) IS NULL OR kind = ANY(CAST(:kinds AS text[])))
    RETURNING folder"""


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
    corrections: int = 0,
) -> int:
    """A new version: a candidate until it serves or is rejected. `span` is its first and last completion."""
    return number(
        db,
        INSERT,
        kind=kind,
        folder=folder,
        files=to_json(files),
        n_tasks=n_tasks,
        report=to_json(report),
        scores=to_json(scores),
        train_seconds=report.get("train_seconds"),
        data_from=span[0],
        data_to=span[1],
        run_id=run_id,
        erasures=erasures,
        corrections=corrections,
    )


def reject(db: Session, version_id: int, reason: str) -> None:
    """It never serves, for this reason."""
    execute(db, REJECT, id=version_id, reason=reason)


def explain(db: Session, version_id: int, reason: str) -> None:
    """Say in the version's own row why it stands as it does."""
    execute(db, "UPDATE model_versions SET reason = :reason WHERE id = :id", id=version_id, reason=reason)


def get(db: Session, version_id: int) -> Version:
    """Raises VersionNotFound."""
    found = first_as(Version, db, f"{SELECT} WHERE id = :id", id=version_id)
    if found is None:
        raise VersionNotFound(f"There is no version {version_id}.")
    return found


def serving(db: Session) -> dict[str, Version]:
    """The serving version of each kind, the one that answers first."""
    found = all_as(Version, db, f"{SELECT} WHERE state = 'serving' ORDER BY place, id")
    return {version.kind: version for version in found}


def retired(db: Session, kind: str) -> list[Version]:
    """Versions of this kind that served, whose files are kept and what they learnt still holds, newest first."""
    where = f"kind = :kind AND state = 'retired' AND pruned_at IS NULL AND NOT {KNOWS_CORRECTED}"
    return all_as(Version, db, f"{SELECT} WHERE {where} ORDER BY id DESC LIMIT {RETIRED_MOST}", kind=kind)


def to_go_on_from(db: Session, kind: str, file: str) -> Version | None:
    """The version of this kind that a training goes on from: the serving one, else the newest whose files are kept.

    It has to have this file, and may know nobody who was erased and few results that were corrected.
    """
    return first_as(Version, db, TO_GO_ON_FROM, kind=kind, file=file)


def of_run(db: Session, run_id: int, kind: str) -> Version | None:
    """What the run came to for this kind."""
    return first_as(Version, db, f"{SELECT} WHERE run_id = :run_id AND kind = :kind LIMIT 1", run_id=run_id, kind=kind)


def cost(db: Session, kind: str, least: int) -> float | None:
    """Seconds a task that the quickest of the last three trainings of this kind from scratch took, twice as many where
    it was cut short; none where all had fewer tasks than `least`. (One during which the machine stood still tells
    nothing of the next.)"""
    seconds: float | None = execute(db, COST, kind=kind, least=least).scalar()
    return seconds


def latest(
    db: Session, limit: int = 10, kind: str | None = None, before: int | None = None, *, with_reports: bool = True
) -> list[Version]:
    """Newest first; `before` is the id that the page before ended with. Reports are most of a row."""
    select = SELECT if with_reports else WITHOUT_REPORTS
    return all_as(Version, db, select + NEWEST, limit=limit, kind=kind, before=before)


def held_out_scores(db: Session, most: int) -> list[HeldOutScore]:
    """The log-loss of the newest versions, the oldest of them first."""
    return all_as(HeldOutScore, db, HELD_OUT, most=most)[::-1]


def last_erasure(db: Session) -> int:
    """The last erasure's number; 0 before anybody was erased."""
    return number(db, f"SELECT {LAST_ERASURE}")


def with_files(db: Session) -> list[Version]:
    """Those whose files are there, newest first."""
    return all_as(Version, db, f"{WITHOUT_REPORTS} WHERE pruned_at IS NULL ORDER BY id DESC")


def kept(db: Session) -> list[KeptFiles]:
    """Every version whose files are not gone; at any revision of the schema."""
    return all_as(KeptFiles, db, "SELECT id, folder, files FROM model_versions WHERE pruned_at IS NULL ORDER BY id")


def folders(db: Session) -> dict[str, bool]:
    """Of every version; whether its files are kept."""
    sql = "SELECT folder, pruned_at IS NULL AS is_kept FROM model_versions"
    return {row.folder: row.is_kept for row in execute(db, sql)}


def mark_gone(db: Session, folders: Sequence[str]) -> None:
    """The files of these versions are not there; one that serves stays, for the service says so and falls back."""
    execute(db, MARK_GONE, folders=list(folders))


def prune(db: Session, kinds: Iterable[str], keep: int) -> list[str]:
    """Of each kind mark all but the newest `keep` as gone, never one that serves.

    Their folders may be deleted after the commit.
    """
    return list(execute(db, PRUNE, kinds=list(kinds), keep=keep).scalars())


def withdraw(db: Session, kinds: Iterable[str] | None = None) -> list[str]:
    """Mark as gone what may know somebody who was erased and doesn't serve, of these kinds or of all.

    Their folders are to be deleted after the commit.
    """
    return list(execute(db, WITHDRAW, kinds=None if kinds is None else list(kinds)).scalars())

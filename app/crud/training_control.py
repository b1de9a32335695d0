"""Whether trainings may begin by themselves: after failures they wait longer and longer, and then for a person.

What a person pauses or resumes stands in the audit too.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.crud import audit
from app.crud.rows import execute
from app.domain.actors import Actor

SERVICE = "the service"  # who paused, where it was no person
HOPELESS = 5  # failed runs in a row, after which a person has to look
FIRST_WAIT, LONGEST_WAIT = 1, 300  # seconds after a failed run, twice as many after each further one

# A run that came to models, or a person who said to go on, ends a row of failures.
FAILURES = """
    SELECT id, finished_at, message, overran, progress ->> 'step' AS step FROM training_runs
    WHERE outcome = 'failed'
      AND id > greatest((SELECT coalesce(max(forgiven_through), 0) FROM training_control),
                        (SELECT coalesce(max(id), 0) FROM training_runs WHERE outcome IN ('published', 'rejected')))"""

READ = f"""
    WITH failed AS ({FAILURES}),
         row AS (SELECT count(*) AS n,
                        count(*) FILTER (WHERE overran IS NOT NULL OR step IN ('fetch', 'store', 'database'))
                            AS awaited,
                        max(least(finished_at, clock_timestamp())) AS last,
                        (array_agg(message ORDER BY id DESC))[1] AS message FROM failed)
    SELECT paused_at, paused_by, reason, row.n, row.awaited, row.message,
           extract(epoch FROM row.last + make_interval(secs => least(
               {FIRST_WAIT} * power(2, least(row.n, 20) - 1), {LONGEST_WAIT})) - clock_timestamp()) AS wait
    FROM row LEFT JOIN training_control ON training_control.id = 1"""
PAUSE = """
    INSERT INTO training_control AS control (id, paused_at, paused_by, reason) VALUES (1, now(), :by, :reason)
    ON CONFLICT (id) DO UPDATE SET paused_at = now(), paused_by = :by, reason = :reason
    WHERE control.paused_at IS NULL RETURNING id"""
NO_PAUSE = "paused_at = NULL, paused_by = NULL, reason = NULL"
RESUME = f"""
    INSERT INTO training_control (id, forgiven_through) VALUES (1, (SELECT coalesce(max(id), 0) FROM training_runs))
    ON CONFLICT (id) DO UPDATE SET {NO_PAUSE}, forgiven_through = excluded.forgiven_through"""


@dataclass(frozen=True, slots=True)
class Control:
    """How it stands with trainings that nobody orders."""

    paused_at: datetime | None
    paused_by: str | None  # an address, "command line", or SERVICE
    reason: str | None
    failures: int  # runs that failed in a row
    awaited: int  # of them, for want of files or of the database, or that overran: the next one waits or takes less
    wait_seconds: float  # until the next may begin; 0 when it may now
    last_failure: str | None

    @property
    def is_paused(self) -> bool:
        """Whether they wait for a person."""
        return self.paused_at is not None or self.failures - self.awaited >= HOPELESS

    @property
    def may_begin(self) -> bool:
        return not self.is_paused and self.wait_seconds <= 0


def read(db: Session) -> Control:
    row = execute(db, READ).one()
    wait = max(float(row.wait), 0.0) if row.wait is not None else 0.0
    return Control(row.paused_at, row.paused_by, row.reason, row.n, row.awaited, wait, row.message)


def pause(db: Session, actor: Actor, reason: str) -> bool:
    """Let no training begin by itself; False where it is so already, and the first reason stays."""
    done = _pause(db, actor.name, reason)
    if done:
        audit.record(db, actor, "trainings paused", reason=reason)
    return done


def _pause(db: Session, by: str, reason: str) -> bool:
    return execute(db, PAUSE, by=by, reason=reason).first() is not None


def resume(db: Session, actor: Actor) -> bool:
    """Let trainings begin by themselves again, and forget the failures so far; False where nothing held them up."""
    was = read(db)
    execute(db, RESUME)
    done = was.is_paused or was.failures > 0
    if done:
        audit.record(db, actor, "trainings resumed")
    return done


def after_failure(db: Session) -> str | None:
    """Pause where too many runs failed in a row; what is to be said of it, once."""
    now = read(db)
    if now.failures - now.awaited < HOPELESS:
        return None
    reason = f"{now.failures} trainings failed in a row, the last: {now.last_failure}"
    return reason if _pause(db, SERVICE, reason) else None


def after_success(db: Session) -> None:
    """What the service paused by itself, goes on; what a person paused, stays."""
    execute(db, f"UPDATE training_control SET {NO_PAUSE} WHERE paused_by = :service", service=SERVICE)

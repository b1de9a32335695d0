"""Training runs, and the lock that lets one of them at work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.crud import rows
from app.crud.model_tracker import to_json
from app.crud.rows import all_as, execute, first_as, number
from app.domain.errors import TrainingBusy

TRIES = 3  # of what a person ordered, where one trainer after another dies of it
LOCK = "hashtext('smartstudy.training')"  # one per database; PostgreSQL lets it go with the transaction


@dataclass(frozen=True, slots=True)
class Run:
    """One training, from the moment it was asked for."""

    id: int
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str
    n_tasks: int | None
    n_taken: int | None
    progress: Mapping[str, Any]
    message: str | None
    kinds: Sequence[str] | None  # none: all of them
    from_scratch: bool = True  # or went on from the models there were
    trainer: str | None = None  # the process that took it, `host:process id`
    n_read: int | None = None  # finished tasks that it worked with
    peak_bytes: int | None = None  # of memory


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a training takes or waits, beside the one before it of its sort: from scratch, or going on."""

    run_id: int | None  # at work, or ended last; none where none has begun
    at_work: bool
    seconds: float
    usual_seconds: float | None  # that the one before took which came to models
    waited_seconds: float  # that a run has been waiting for its turn; 0 where none does

    @property
    def is_slow(self) -> bool:
        return self.usual_seconds is not None and self.seconds >= max(SLOWER * self.usual_seconds, WORTH_TELLING)

    @property
    def is_starving(self) -> bool:
        return self.waited_seconds >= max(SLOWER * (self.usual_seconds or 0), WORTH_TELLING)


SLOWER = 10  # times as long as before
WORTH_TELLING = 120.0  # seconds: what is quicker than this, nobody waits for
SELECT = f"SELECT {', '.join(Run.__slots__)} FROM training_runs"
INTERRUPT = "UPDATE training_runs SET outcome = 'interrupted', finished_at = now(), message ="
SEEN_BY_NOW = """
    UPDATE training_runs SET seen_at = clock_timestamp()
    WHERE id IN (SELECT id FROM training_runs WHERE finished_at IS NULL AND seen_at > clock_timestamp()
                 FOR NO KEY UPDATE SKIP LOCKED)"""
SILENT = "finished_at IS NULL AND seen_at < clock_timestamp() - make_interval(secs => :silent)"
NEVER_BEGAN = "The run never began; its process seems to have ended before."
BROKEN_OFF = "The process ended in the middle of the run."
AGAIN = "{} Run {} does it again."
NOT_SEEN = "Its process had not been seen for {:g} s, so another run took its place."
HOLDER = f"""
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((CAST(classid AS bigint) << 32) | CAST(objid AS bigint)) = CAST({LOCK} AS bigint)"""
# What a person ordered, whose trainer is no more: its lock has fallen.
BROKEN = f"""ordered AND outcome = 'running' AND finished_at IS NULL AND tries < {TRIES}
    AND NOT EXISTS ({HOLDER})"""
# Its process is no more, or freezes; what nobody has taken yet, waits.
DID_NOT_BEGIN = f"outcome = 'asked' AND NOT (ordered AND trainer IS NULL) AND {SILENT}"
ASK = """
    INSERT INTO training_runs (kinds, trainer, ordered, tries)
    VALUES (CAST(:kinds AS text[]), :trainer, :ordered, :tries) RETURNING id"""
# By a trainer that lives: it is about to begin, or at work.
IS_TAKEN = f"""
    SELECT EXISTS (SELECT FROM training_runs WHERE finished_at IS NULL AND NOT ({SILENT}) AND (
        (outcome = 'asked' AND NOT (ordered AND trainer IS NULL)) OR (outcome = 'running' AND EXISTS ({HOLDER}))))"""
TAKE = f"""
    UPDATE training_runs SET trainer = :trainer, seen_at = clock_timestamp()
    WHERE id = (SELECT min(id) FROM training_runs
                WHERE ordered AND outcome = 'asked' AND finished_at IS NULL AND trainer IS NULL)
    RETURNING {", ".join(Run.__slots__)}"""
IS_ORDER_WAITING = f"""
    SELECT EXISTS (SELECT FROM training_runs WHERE ({BROKEN}) OR (
        ordered AND finished_at IS NULL AND ({SILENT} OR (outcome = 'asked' AND trainer IS NULL))))"""
TRIED = f"""
    SELECT kinds, tries, message FROM training_runs
    WHERE id = :id AND ordered AND outcome = 'interrupted' AND tries < {TRIES}"""
SAY_AGAIN = "UPDATE training_runs SET message = :message WHERE id = :id"
SAY_BACKEND = """
    UPDATE training_runs SET backend = :backend WHERE id = :id AND backend IS DISTINCT FROM CAST(:backend AS int)"""
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({LOCK})"
STAY_IDLE = """
    SELECT set_config(name, '0', true) FROM pg_settings
    WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"""
IS_OURS = """
    SELECT EXISTS (SELECT FROM training_runs WHERE id = :id AND outcome = 'running' AND finished_at IS NULL
                   FOR NO KEY UPDATE)"""
# Somebody froze, or is gone, in the middle of a transaction that keeps others from taking over.
END_FROZEN = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity AS activity
    WHERE datname = current_database() AND usename = current_user AND state LIKE 'idle in transaction%'
        AND state_change < clock_timestamp() - make_interval(secs => :silent)
        AND EXISTS (SELECT FROM pg_locks WHERE pg_locks.pid = activity.pid AND granted AND (
            (relation = CAST('training_runs' AS regclass) AND mode IN ('RowShareLock', 'RowExclusiveLock'))
            OR (locktype = 'advisory' AND mode = 'ExclusiveLock' AND CAST(CAST(objid AS bigint) AS bit(32)) IN (
                CAST(hashtext('smartstudy.training.asking') AS bit(32)),
                CAST(hashtext('smartstudy.serving') AS bit(32))))))"""
# A pooler may have lent the same server to a run that lives.
END_SILENT_HOLDER = f"""
    WITH silent AS (
        {INTERRUPT} :message
        WHERE {SILENT} AND id IS DISTINCT FROM CAST(:id AS int) AND backend IN ({HOLDER}) AND backend NOT IN (
            SELECT backend FROM training_runs WHERE finished_at IS NULL AND backend IS NOT NULL AND NOT ({SILENT}))
        RETURNING id, backend)
    SELECT id, pg_terminate_backend(backend) FROM silent"""
# Each fall from where a run ended well doubles how many have to end well before one climbs again, up to 32, until one
# from scratch has ended well at the top: what has killed a run is not tried every second time.
RUNG = """
    WITH ended AS MATERIALIZED (
        SELECT id, rung, overran, overran IS NULL AND rung = 0 AND from_scratch AND kinds IS NULL AS fits,
            lag(overran) OVER (ORDER BY id) IS NULL AND overran IS NOT NULL AS fell
        FROM (SELECT * FROM training_runs WHERE overran IS NOT NULL OR outcome IN ('published', 'rejected')
              ORDER BY id DESC LIMIT 1000) AS lately),
    last AS (SELECT * FROM ended ORDER BY id DESC LIMIT 1),
    falls AS (SELECT count(*) AS n FROM ended
              WHERE fell AND id > (SELECT coalesce(max(id), 0) FROM ended WHERE fits)),
    well AS (SELECT count(*) AS n FROM ended
             WHERE id > (SELECT coalesce(max(ended.id), 0) FROM ended, last
                         WHERE ended.overran IS NOT NULL OR ended.rung <> last.rung))
    SELECT CASE WHEN last.overran IS NOT NULL THEN least(rung + 1, 20)
            WHEN well.n >= power(2, least(falls.n - 1, 5)) THEN greatest(rung - 1, 0) ELSE rung END AS rung,
        (SELECT overran FROM ended WHERE overran IS NOT NULL ORDER BY id DESC LIMIT 1) AS overran
    FROM last, falls, well"""
START = f"""
    UPDATE training_runs SET outcome = 'running', started_at = now(), finished_at = NULL, message = NULL,
        seen_at = clock_timestamp(), rung = coalesce((SELECT rung FROM ({RUNG}) AS next), 0)
    WHERE id = :id AND (finished_at IS NULL OR NOT ordered)"""  # given up by others, it lives all the same
LEFT_BEHIND = """
    SELECT DISTINCT folder, EXISTS (SELECT FROM model_versions AS version
                                    WHERE version.folder = written.folder AND pruned_at IS NULL) AS is_kept
    FROM training_runs, unnest(folders) AS written (folder) WHERE finished_at IS NOT NULL"""
LEAVE_BEHIND = """
    UPDATE training_runs SET folders = coalesce(folders, '{}') || CAST(:folders AS text[])
    WHERE id = (SELECT max(id) FROM training_runs WHERE finished_at IS NOT NULL)"""
TIDIED = """
    UPDATE training_runs SET folders = NULL
    WHERE finished_at IS NOT NULL AND folders <@ CAST(:folders AS text[])"""
LAST_FROM_SCRATCH = f"""{SELECT}
    WHERE from_scratch AND kinds IS NULL AND outcome IN ('published', 'rejected') ORDER BY id DESC LIMIT 1"""
FINISH = """
    UPDATE training_runs SET outcome = :outcome, message = :message, finished_at = now(), n_tasks = :n_tasks,
        n_taken = :taken, overran = :overran
    WHERE id = :id AND (finished_at IS NULL OR (
        :outcome = 'failed' AND outcome = 'interrupted' AND message = :broken_off AND NOT ordered)) RETURNING id"""
AT_WORK = f"{SELECT} WHERE outcome = 'running' AND finished_at IS NULL ORDER BY id DESC LIMIT 1"
LATEST = f"""{SELECT}
    WHERE finished_at IS NOT NULL AND outcome <> 'merged' ORDER BY finished_at DESC, id DESC LIMIT :limit"""
PACE = """
    SELECT this.id AS run_id, coalesce(this.finished_at IS NULL, false) AS at_work,
        coalesce(CAST(extract(epoch FROM coalesce(this.finished_at, clock_timestamp()) - this.started_at) AS float8), 0)
            AS seconds,
        CAST(extract(epoch FROM before.finished_at - before.started_at) AS float8) AS usual_seconds,
        coalesce((SELECT CAST(extract(epoch FROM clock_timestamp() - min(asked_at)) AS float8) FROM training_runs
                  WHERE outcome = 'asked' AND finished_at IS NULL), 0) AS waited_seconds
    FROM (SELECT CAST(:id AS int) AS id) AS asked
    LEFT JOIN training_runs AS this ON this.id = asked.id
    LEFT JOIN LATERAL (
        SELECT started_at, finished_at FROM training_runs
        WHERE id < this.id AND from_scratch = this.from_scratch AND outcome IN ('published', 'rejected')
        ORDER BY id DESC LIMIT 1) AS before ON true"""
NEWEST = f"{SELECT} WHERE CAST(:before AS int) IS NULL OR id < :before ORDER BY id DESC LIMIT :limit"


def ask(db: Session, kinds: Sequence[str] | None = None, trainer: str | None = None) -> int:
    """A new run of these kinds, of all without any, that this trainer is going to do."""
    return number(db, ASK, kinds=_given(kinds), trainer=trainer, ordered=False, tries=1)


def order(db: Session, kinds: Sequence[str] | None, silent_seconds: float) -> int:
    """A new run that any trainer may take, unless one is at work and one is waiting already, in whatever process.

    Raises:
        TrainingBusy: there is no place to wait.
    """
    _take_turn_asking(db, silent_seconds)
    if waiting(db) + (at_work(db) is not None) > 1:
        raise TrainingBusy
    return _order(db, kinds)


def take(db: Session, trainer: str, silent_seconds: float) -> Run | None:
    """The order that has waited longest, for this trainer; none while another one begins or is at work, or where there
    is none."""
    _take_turn_asking(db, silent_seconds)
    if execute(db, IS_TAKEN, silent=silent_seconds).scalar_one():
        return None
    return first_as(Run, db, TAKE, trainer=trainer)


def ask_if_idle(db: Session, trainer: str, silent_seconds: float) -> int | None:
    """A new run of all kinds for this trainer, unless one is at work or waiting; whoever does that one looks again when
    it ends."""
    _take_turn_asking(db, silent_seconds)
    idle = not waiting(db) and not execute(db, IS_TAKEN, silent=silent_seconds).scalar_one()
    return ask(db, trainer=trainer) if idle else None


def is_order_waiting(db: Session, silent_seconds: float) -> bool:
    """Whether a trainer that has nothing to do could take an order, or do one again whose trainer died."""
    return bool(execute(db, IS_ORDER_WAITING, silent=silent_seconds).scalar_one())


def do_again(db: Session | Connection, run_id: int) -> None:
    """What a person ordered waits for the next trainer; the one that had begun, ended in the middle."""
    tried = execute(db, TRIED, id=run_id).first()
    if tried is not None:
        again = _order(db, tried.kinds, tried.tries + 1)
        execute(db, SAY_AGAIN, id=run_id, message=AGAIN.format(tried.message, again))


def _order(db: Session | Connection, kinds: Sequence[str] | None, tries: int = 1) -> int:
    return number(db, ASK, kinds=_given(kinds), trainer=None, ordered=True, tries=tries)


def _given(kinds: Sequence[str] | None) -> list[str] | None:
    return None if kinds is None else list(kinds)


def _take_turn_asking(db: Session, silent_seconds: float) -> None:
    """Nobody else asks or takes until the transaction ends; what the dead left is given back to those who live."""
    execute(db, END_FROZEN, silent=silent_seconds)
    rows.take_turn(db, "training.asking")  # who asks at the same moment, counts this one
    _end_silent_holder(db, silent_seconds)
    for which, message in ((DID_NOT_BEGIN, NEVER_BEGAN), (BROKEN, BROKEN_OFF)):
        sql = f"{INTERRUPT} :message WHERE {which} RETURNING id"
        for row in execute(db, sql, silent=silent_seconds, message=message).all():
            do_again(db, row.id)


def none_seen_later(db: Session | Connection) -> None:
    """A sign of life in the future, from before the database's clock was set back, counts as one of now, and ages."""
    execute(db, SEEN_BY_NOW)


def seen(db: Session, run_id: int) -> None:
    """The process that does this run, or is going to, lives."""
    sql = "UPDATE training_runs SET seen_at = clock_timestamp() WHERE id = :id AND finished_at IS NULL"
    execute(db, sql, id=run_id)


def take_turn(turn: Connection, run_id: int, silent_seconds: float) -> bool:
    """Hold the single writer's lock, for as long as the transaction of `turn` lasts; False where another one holds it.

    A holder that has not been seen for so long loses its connection, and with it the lock: should it wake up, it has
    nothing left to publish with.
    """
    backend = number(turn, "SELECT pg_backend_pid()")  # the transaction's, whatever pooler is between us
    with turn.engine.begin() as writer:  # before the lock: who holds it is never unknown
        execute(writer, SAY_BACKEND, id=run_id, backend=backend)
    if execute(turn, TRY_LOCK).scalar_one():
        execute(turn, STAY_IDLE)
        return True
    turn.rollback()
    with turn.engine.begin() as writer:
        execute(writer, END_FROZEN, silent=silent_seconds)
        _end_silent_holder(writer, silent_seconds, run_id)
    return False


def _end_silent_holder(db: Session | Connection, silent_seconds: float, run_id: int | None = None) -> None:
    none_seen_later(db)
    message = NOT_SEEN.format(silent_seconds)
    ended = execute(db, END_SILENT_HOLDER, id=run_id, silent=silent_seconds, message=message).all()
    for row in ended:
        do_again(db, row.id)


def is_ours(db: Session, run_id: int) -> bool:
    """Whether the run still has its place, which nobody takes until this transaction ends."""
    return bool(execute(db, IS_OURS, id=run_id).scalar_one())


def begins(db: Session, run_id: int) -> None:
    """The process that is going to do this run lives; once it has begun, it says so itself."""
    sql = "UPDATE training_runs SET seen_at = clock_timestamp() WHERE id = :id AND outcome = 'asked'"
    execute(db, sql, id=run_id)


def find(db: Session, run_id: int) -> Run | None:
    return first_as(Run, db, f"{SELECT} WHERE id = :id", id=run_id)


def start(db: Session | Connection, run_id: int) -> None:
    """This run is at work, on its rung of the ladder; whoever else claims to be, is dead, for we hold the lock.

    What was ordered and given up, stays so: another run does it.
    """
    others = "finished_at IS NULL AND outcome = 'running' AND id <> :id"
    execute(db, f"{INTERRUPT} coalesce(message, :message) WHERE {others}", id=run_id, message=BROKEN_OFF)
    execute(db, START, id=run_id)


def writes(db: Session | Connection, run_id: int, folders: Sequence[str]) -> None:
    """The folders below MODEL_DIR that the run is going to write; said before, so that a killed one leaves none."""
    sql = "UPDATE training_runs SET folders = CAST(:folders AS text[]) WHERE id = :id"
    execute(db, sql, id=run_id, folders=list(folders))


def left_behind(db: Session) -> dict[str, bool]:
    """Folders that runs which have ended wrote, or let go of; and whether a version that is kept lies there."""
    return {row.folder: row.is_kept for row in execute(db, LEFT_BEHIND)}


def leave_behind(db: Session, folders: Sequence[str]) -> None:
    """The next run deletes these, should whoever is about to do it not get to it."""
    execute(db, LEAVE_BEHIND, folders=list(folders))


def tidied(db: Session, folders: Sequence[str]) -> None:
    """None of these is left behind any more."""
    execute(db, TIDIED, folders=list(folders))


def plan(db: Session | Connection, run_id: int, from_scratch: bool, n_read: int) -> None:
    """Whether the run trains from scratch or goes on from the models there are, and with how many tasks."""
    sql = "UPDATE training_runs SET from_scratch = :from_scratch, n_read = :n_read WHERE id = :id"
    execute(db, sql, id=run_id, from_scratch=from_scratch, n_read=n_read)


def took(db: Session | Connection, run_id: int, seconds: float, peak_bytes: int) -> None:
    """What the run took."""
    sql = "UPDATE training_runs SET seconds = :seconds, peak_bytes = nullif(:peak, 0) WHERE id = :id"
    execute(db, sql, id=run_id, seconds=round(seconds, 3), peak=peak_bytes)


def rung(db: Session | Connection) -> tuple[int, str | None]:
    """How far down the ladder the next run stands, 0 at the top: one further after each that overran, one less after
    one or some that came to models; and what was too little last."""
    row = execute(db, RUNG).first()
    return (row.rung, row.overran) if row else (0, None)


def last_from_scratch(db: Session) -> Run | None:
    """The last run that came to all kinds of models from all finished tasks."""
    return first_as(Run, db, LAST_FROM_SCRATCH)


def progress(db: Session | Connection, run_id: int, step: Mapping[str, Any]) -> None:
    sql = "UPDATE training_runs SET progress = CAST(:step AS jsonb) WHERE id = :id"
    execute(db, sql, id=run_id, step=to_json(step))


def finish(
    db: Session | Connection,
    run_id: int,
    outcome: str,
    message: str,
    *,
    n_tasks: int | None = None,
    taken: int | None = None,
    overran: str | None = None,
) -> bool:
    """Close the run, once: the first word about how it ended stays, unless another run only guessed it from a lock that
    had fallen. True if this was it."""
    said = {"outcome": outcome, "message": message, "n_tasks": n_tasks, "taken": taken, "overran": overran}
    closed = execute(db, FINISH, id=run_id, broken_off=BROKEN_OFF, **said)
    return closed.first() is not None


def at_work(db: Session) -> Run | None:
    """The run at work. The lock is what counts: a row alone may belong to a process that died."""
    if execute(db, HOLDER).first() is None:
        return None
    return first_as(Run, db, AT_WORK)


def waiting(db: Session) -> int:
    return number(db, "SELECT count(*) FROM training_runs WHERE outcome = 'asked' AND finished_at IS NULL")


def latest(db: Session, limit: int = 1) -> list[Run]:
    """The last runs that ended with something to say, newest first."""
    return all_as(Run, db, LATEST, limit=limit)


def pace(db: Session, run: Run | None) -> Pace:
    """How long this run has taken, and whether another one waits."""
    return all_as(Pace, db, PACE, id=run and run.id)[0]


def newest(db: Session, limit: int = 50, before: int | None = None) -> list[Run]:
    """Every run, asked for last first; `before` is the id that the page before ended with."""
    return all_as(Run, db, NEWEST, limit=limit, before=before)


def close_all(db: Session, message: str) -> None:
    """None of the runs that are asked for or at work will go on."""
    execute(db, f"{INTERRUPT} :message WHERE finished_at IS NULL", message=message)


def folders(db: Session) -> list[str]:
    """Below MODEL_DIR, that some run may have begun to write."""
    return list(execute(db, "SELECT unnest(folders) FROM training_runs").scalars())

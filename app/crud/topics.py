"""What admins decide about topics: renamed, merged, approved or hidden. Whoever asks, it stands in the audit.

The totals follow by the triggers of `practice_tasks`, and students' states are made anew from the tasks as they are
then; the next training learns them from scratch (app/ml/training/run.py). Who goes on to write the old name is led to
the new one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.crud import audit, spellings
from app.crud.rows import all_as, execute, number, take_turn
from app.domain.actors import Actor
from app.domain.characters import folded
from app.domain.errors import NotAccepted, TopicNotFound, TopicTaken

State = Literal["approved", "hidden"]
RENAMED, MERGED = "topic renamed", "topic merged"
TASKS_PER_STATEMENT = 5_000  # tasks in a statement: none may take long (app/core/db/timeouts.py)

LIST = """
    WITH finished AS (
        SELECT key AS name, count(*) FILTER (WHERE made.user_id IS NULL) AS students, count(made.user_id) AS made_up,
            count(*) FILTER (WHERE account.id IS NULL AND made.user_id IS NULL) AS without_account,
            sum(total.n) FILTER (WHERE made.user_id IS NULL) AS n
        FROM student_totals AS total LEFT JOIN users AS account ON account.id = total.user_id
        LEFT JOIN demonstration_students AS made ON made.user_id = total.user_id
        WHERE scope = 'topic' GROUP BY key
    ), unfinished AS (
        SELECT topic AS name, count(*) FILTER (WHERE made.user_id IS NULL) AS n
        FROM practice_tasks LEFT JOIN demonstration_students AS made USING (user_id) WHERE NOT completed GROUP BY topic
    )
    SELECT name, coalesce(students, 0) AS students, coalesce(without_account, 0) AS without_account,
        coalesce(finished.n, 0)::bigint AS finished, coalesce(unfinished.n, 0) AS open, topics.state,
        coalesce(made_up, 0) AS made_up
    FROM finished FULL JOIN unfinished USING (name) FULL JOIN topics USING (name)
    WHERE (strpos(lower(name), lower(:search)) > 0
            OR name IN (SELECT spelt.name FROM spellings AS spelt WHERE kind = 'topic' AND strpos(folded, :folded) > 0))
        AND CAST(:state AS text) IN ('any', coalesce(topics.state, 'none'))
    ORDER BY students DESC, finished DESC, name LIMIT :limit OFFSET :offset"""
KNOWN = """
    SELECT (EXISTS (SELECT FROM practice_tasks WHERE topic = :name) OR EXISTS (SELECT FROM topics WHERE name = :name)
        OR EXISTS (SELECT FROM exam_plans WHERE :name = ANY (topics)))::int"""
APPROVED = "SELECT name FROM topics WHERE state = 'approved' ORDER BY name LIMIT 200"
DECIDE = """
    INSERT INTO topics (name, state) VALUES (:name, :state)
    ON CONFLICT (name) DO UPDATE SET state = excluded.state, decided_at = now()"""
# The locks as everybody takes them (docs/decisions/0001): tasks by id; then the totals by student, chunk after chunk.
LOCK = "SELECT user_id, id FROM practice_tasks WHERE topic = :name ORDER BY id FOR UPDATE"
MOVE = "UPDATE practice_tasks SET topic = :into WHERE id = ANY (CAST(:ids AS uuid[]))"
MOVE_IN_PLANS = """
    UPDATE exam_plans SET
        topics = CASE WHEN :into = ANY (topics) THEN array_remove(topics, :name)
            ELSE array_replace(topics, :name, :into) END,
        chances_at_start = CASE WHEN chances_at_start -> :name IS NULL THEN chances_at_start
            ELSE jsonb_build_object(CAST(:into AS text), chances_at_start -> :name) || (chances_at_start - :name) END
    WHERE :name = ANY (topics)"""
MOVED_SINCE = "SELECT EXISTS (SELECT FROM audit_log WHERE at >= :moment AND act IN (:renamed, :merged))::int"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as admins see it."""

    name: str
    students: int  # real ones who have finished a task of it
    without_account: int  # of them: whose tasks came by a service key or an import
    finished: int  # tasks
    open: int
    state: State | None  # what was decided
    made_up: int = 0  # students of the demonstration, who have finished a task of it and count for nothing else


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a topic."""

    topic: str  # as it is called now
    message: str
    tasks: int = 0  # that are of another topic now
    plans: int = 0


def listed(db: Session, *, search: str = "", state: str = "any", limit: int = 50, offset: int = 0) -> list[Topic]:
    """Topics whose names hold this, or did before a rename, those with most students first.

    `state` is approved, hidden, none or any.
    """
    return all_as(Topic, db, LIST, search=search, folded=folded(search), state=state, limit=limit, offset=offset)


def approved(db: Session) -> list[str]:
    """Names of topics that an admin or a service key vouches for."""
    return list(execute(db, APPROVED).scalars())


def rename(db: Session, name: str, to: str, actor: Actor) -> Change:
    """Call the topic something else, for everybody; it may be another spelling of the same.

    Raises:
        TopicNotFound: nobody has written it.
        TopicTaken: there is a topic of that name; `merge` joins them.
    """
    name, other = _checked(db, name, to)
    _refuse_same(name, to)
    if other != name and folded(other) == folded(to) and _known(db, other):
        raise TopicTaken
    tasks, plans = _move(db, name, to)
    spellings.rename(db, "topic", name, to)
    execute(db, "UPDATE topics SET name = :to WHERE name = :name", name=name, to=to)
    audit.record(db, actor, RENAMED, name, to=to, tasks=tasks, plans=plans)
    return Change(to, f"{name!r} is called {to!r} now, in {_count(tasks, plans)}.", tasks, plans)


def merge(db: Session, name: str, into: str, actor: Actor) -> Change:
    """Make all tasks of one topic tasks of another; what was decided about that one holds for them.

    Raises:
        TopicNotFound: nobody has written one of the two.
    """
    name, into = _checked(db, name, into)
    _refuse_same(name, into)
    if not _known(db, into):
        raise TopicNotFound
    tasks, plans = _move(db, name, into)
    spellings.rename(db, "topic", name, into)
    execute(db, "DELETE FROM topics WHERE name = :name", name=name)
    audit.record(db, actor, MERGED, name, into=into, tasks=tasks, plans=plans)
    return Change(into, f"{name!r} has become part of {into!r}, with {_count(tasks, plans)}.", tasks, plans)


def approve(db: Session, name: str, actor: Actor) -> Change:
    """Suggest the topic to everybody as soon as one student practises it. Raises TopicNotFound."""
    name = _decide(db, name, "approved", actor)
    return Change(name, f"{name!r} is approved: it may be suggested to everybody.")


def hide(db: Session, name: str, actor: Actor) -> Change:
    """Suggest the topic to nobody who does not practise it themselves. Raises TopicNotFound."""
    name = _decide(db, name, "hidden", actor)
    return Change(name, f"{name!r} is hidden: it is suggested to nobody who does not practise it.")


def show(db: Session, name: str, actor: Actor) -> Change:
    """Forget what was decided: who practises it decides whether it is suggested. Raises TopicNotFound."""
    name = _decide(db, name, None, actor)
    return Change(name, f"{name!r} is neither hidden nor approved: it is suggested if enough students practise it.")


def moved_since(db: Session, moment: datetime) -> bool:
    """Tell whether tasks have got another topic since then."""
    return bool(number(db, MOVED_SINCE, moment=moment, renamed=RENAMED, merged=MERGED))


def _checked(db: Session, *names: str) -> list[str]:
    """Return what they are called, but a name that tasks bear just so is meant so; the first must be known."""
    take_turn(db, "topics")
    called = run_sync(spellings.called("topic", names), db)
    found = [name if _known(db, name) else called[name] for name in names]
    if not _known(db, found[0]):
        raise TopicNotFound
    return found


def _refuse_same(name: str, other: str) -> None:
    if name == other:
        raise NotAccepted(f"The topic is called {name!r} already.")


def _known(db: Session, name: str) -> bool:
    return bool(number(db, KNOWN, name=name))


def _move(db: Session, name: str, into: str) -> tuple[int, int]:
    """Return of how many tasks and plans it was."""
    moved = 0
    while found := execute(db, LOCK, name=name).all():  # again: an import may have ended for which this had to wait
        ids = [str(row.id) for row in sorted(found, key=lambda row: (row.user_id, row.id))]
        for start in range(0, len(ids), TASKS_PER_STATEMENT):
            execute(db, MOVE, into=into, ids=ids[start : start + TASKS_PER_STATEMENT])
        moved += len(ids)
    return moved, execute(db, MOVE_IN_PLANS, name=name, into=into).rowcount


def _decide(db: Session, name: str, state: State | None, actor: Actor) -> str:
    """Return what the topic is called."""
    name = _checked(db, name)[0]
    if state is None:
        execute(db, "DELETE FROM topics WHERE name = :name", name=name)
    else:
        execute(db, DECIDE, name=name, state=state)
    audit.record(db, actor, f"topic {state or 'shown'}", name)
    return name


def _count(tasks: int, plans: int) -> str:
    return f"{tasks:,} {'task' if tasks == 1 else 'tasks'} and {plans:,} {'exam plan' if plans == 1 else 'exam plans'}"

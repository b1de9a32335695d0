"""Practice tasks: asked, completed, listed. Queries only; the edge commits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from app.core.db.statements import BatchedColumns, BatchedStatement, Statement, run_sync
from app.crud import accounts, spellings
from app.crud.rows import all_as, execute
from app.domain.characters import tidy
from app.domain.errors import OtherResult, TaskNotFound
from app.domain.tasks import Prediction, Task, TaskRequest

COLUMNS = """id, user_id, topic, difficulty, item_id, created_at, completed, is_correct, actual_time_seconds,
    completed_at, correctness_prob, estimated_time_seconds, lnirt_model_version AS model_version, model_version_id,
    correctness_prob_low, correctness_prob_high, time_low_seconds, time_high_seconds, fallback_reason, contributions"""

COLUMNS_OF_TASK = ", ".join(f"(task).{column.strip()}" for column in COLUMNS.split(","))

STORED = """id, user_id, topic, difficulty, item_id, created_at, correctness_prob, estimated_time_seconds,
    lnirt_model_version, model_version_id, correctness_prob_low, correctness_prob_high, time_low_seconds,
    time_high_seconds, fallback_reason, contributions, features, school_id"""

# Who was let in may have been erased since: nothing is stored for an account that is gone or going. The lock is the one
# that a foreign key would take; an erasure waits for it, and nobody waits for an erasure. The id is the request's: what
# is sent again, because its answer was lost, is stored once.
INSERT = BatchedStatement(
    f"""
    WITH added AS (
    INSERT INTO practice_tasks ({STORED})
    SELECT :id, :user_id, :topic, :difficulty, :item_id, :created_at,
           :correctness_prob, :estimated_time_seconds, :model_version, :model_version_id,
           :correctness_prob_low, :correctness_prob_high, :time_low_seconds, :time_high_seconds, :fallback_reason,
           CAST(CAST(:contributions AS text) AS jsonb), CAST(:features AS double precision[]),
           {accounts.school_of_row()}
    WHERE CAST(:student AS uuid) IS NULL
        OR EXISTS (SELECT FROM users WHERE id = CAST(:student AS uuid) FOR KEY SHARE SKIP LOCKED)
    ON CONFLICT (id) DO NOTHING
    RETURNING id)
    SELECT EXISTS (SELECT FROM added) OR EXISTS (SELECT FROM practice_tasks WHERE id = :id) AS stored""",
    at_once=2,
)

# Nothing is stored of a task that was erased meanwhile.
INSERT_SHADOW = Statement("""
    INSERT INTO shadow_predictions (task_id, model_version_id, correctness_prob, estimated_time_seconds,
                                    time_low_seconds, time_high_seconds)
    SELECT id, :model_version_id, :correctness_prob, :estimated_time_seconds, :time_low_seconds, :time_high_seconds
    FROM practice_tasks WHERE id = :task_id FOR KEY SHARE
    ON CONFLICT DO NOTHING""")

# Who sends a token that was ended is nobody.
STUDENTS = """ARRAY(
    SELECT CASE WHEN token IS NULL OR EXISTS (SELECT FROM api_tokens WHERE id = token AND user_id = student)
                THEN student ELSE gen_random_uuid() END
    FROM unnest(CAST(:student AS uuid[]), CAST(:token AS uuid[])) WITH ORDINALITY AS caller (student, token, place)
    ORDER BY place)"""

# `app/sql/complete_tasks.sql` has the function. Of two results for one task the second must see the first.
COMPLETE = BatchedColumns(
    f"""SELECT admitted, since_training, {COLUMNS_OF_TASK}
        FROM complete_tasks(CAST(:id AS uuid[]), CAST(:is_correct AS boolean[]), CAST(:seconds AS float8[]),
                            {STUDENTS}, CAST(:key_hash AS bytea[]))""",
    about="id",
)

# The task or plan of this id, where the caller sees it: `Caller.sight`.
SEEN = """id = :id AND (CAST(:owner AS uuid) IS NULL OR user_id = :owner)
    AND (CAST(:school AS uuid) IS NULL OR school_id = :school) AND """
SEEN_TASK = SEEN + accounts.seen_by_key("practice_tasks")
GET = Statement(f"SELECT {COLUMNS} FROM practice_tasks WHERE {SEEN_TASK}")


def get(
    db: Session, task_id: UUID, owner: UUID | None = None, school: UUID | None = None, key: UUID | None = None
) -> Task:
    """Raises TaskNotFound for what is not the owner's, or not seen by the school or key; without any it may be
    anybody's."""
    return task_of(GET.first_sync(db, id=task_id, owner=owner, school=school, key=key))


def task_of(row: Mapping[str, Any] | None) -> Task:
    """Raises TaskNotFound where there is no row, or an empty one."""
    if row is None or row["id"] is None:
        raise TaskNotFound
    made_of = row["contributions"]  # text through asyncpg
    known = dict(row) | {"contributions": json.loads(made_of) if isinstance(made_of, str) else made_of}
    return Task(*(known[name] for name in Task.__slots__))


def stored(row: dict[str, Any]) -> Task:
    """The task that INSERT stores of a `new_row`."""
    return task_of(row | dict.fromkeys(("is_correct", "actual_time_seconds", "completed_at")) | {"completed": False})


def new_row(asked: TaskRequest, at: datetime, prediction: Prediction, features: Sequence[float]) -> dict[str, Any]:
    """What INSERT stores for a task created `at` that moment, with its prediction and what it was made from."""
    made_of = prediction.contributions and json.dumps(prediction.contributions)
    known = values_of(asked) | values_of(prediction) | {"contributions": made_of}
    return {"id": uuid4(), "created_at": at, "features": features} | known


def shares_in(row: Mapping[str, Any]) -> Any:
    """The contributions in a `new_row`, as JSON holds them."""
    return row["contributions"] and json.loads(row["contributions"])


def values_of(of: TaskRequest | Prediction) -> dict[str, object]:
    """By column."""
    return {name: getattr(of, name) for name in of.__slots__}


def features_of(db: Session, task_id: UUID) -> Sequence[float] | None:
    """What its prediction was made from, as app/ml/features/inputs.py has it; None where it was not kept."""
    sql = "SELECT features FROM practice_tasks WHERE id = :id"
    features: Sequence[float] | None = execute(db, sql, id=task_id).scalar()
    return features


def settled(task: Task, is_correct: bool, seconds: float) -> Task:
    """The answer to a result for a task that was not open: the same again is fine, another is refused."""
    if (task.is_correct, task.actual_time_seconds) != (is_correct, seconds):
        result = "right" if task.is_correct else "wrong"
        raise OtherResult(
            f"The task was completed before: {result} in {task.actual_time_seconds:g} s. That result counts until "
            f"PUT /practice-tasks/{task.id}/result changes it."
        )
    return task


# Of what `newest` looks for; all else equals its column.
FITS = {
    "search": "strpos(lower(topic || chr(10) || coalesce(item_id, '')), lower(:search)) > 0",
    "since": "created_at >= :since",
    "until": "created_at < :until",
    "before": "(created_at, id) < (:before, :before_id)",
    "key": accounts.seen_by_key("practice_tasks"),
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page, newest first, and where the next begins."""

    items: list[Task]
    next: tuple[datetime, UUID] | None


def newest(
    db: Session,
    *,
    user_id: UUID | None = None,
    school: UUID | None = None,
    key: UUID | None = None,
    topic: str | None = None,
    completed: bool | None = None,
    is_correct: bool | None = None,
    search: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> Page:
    """The newest tasks that fit, strictly older than `before`; `topic` in any of its spellings, `search` a part of
    topic or exercise, asked for at `since` or later and before `until`."""
    if topic is not None:
        topic = run_sync(spellings.called("topic", [topic]), db)[topic]
    wanted: dict[str, object] = {"user_id": user_id, "school_id": school, "key": key, "topic": topic}
    wanted |= {
        "completed": completed,
        "is_correct": is_correct,
        "search": tidy(search) or None,
        "since": since,
        "until": until,
    }
    wanted["before"] = before and before[0]
    values = {name: value for name, value in wanted.items() if value is not None}
    fits = [FITS.get(name, f"{name} = :{name}") for name in values]
    if before is not None:
        values["before_id"] = before[1]
    where = f"WHERE {' AND '.join(fits)}" if fits else ""
    sql = f"SELECT {COLUMNS} FROM practice_tasks {where} ORDER BY created_at DESC, id DESC LIMIT :limit"
    found = all_as(Task, db, sql, **values, limit=limit + 1)
    items = found[:limit]
    return Page(items, (items[-1].created_at, items[-1].id) if len(found) > limit else None)

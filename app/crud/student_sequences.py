"""What a student has finished lately, task by task: for a model that reads them in order."""

from datetime import datetime

from app.core.db.statements import QueryFlow, Row, Rows, Statement
from app.crud.student_totals import until_last
from app.domain.tasks import TaskRequest

# Ordered like the training rows; an index on (user_id, completed_at DESC, id DESC) gives them without a sort.
LATEST = Statement(f"""
    SELECT topic, difficulty, item_id, is_correct, actual_time_seconds, completed_at
    FROM practice_tasks
    WHERE user_id = :user_id AND completed AND completed_at <= :through AND {until_last(":user_id")}
    ORDER BY completed_at DESC, id DESC
    LIMIT :most""")

# The same, and beside each task how many on its topic and on its exercise had been finished through :through.
PRACTISED = Statement(f"""
    WITH newest AS (
        SELECT topic, difficulty, item_id, is_correct, actual_time_seconds, completed_at, id
        FROM practice_tasks
        WHERE user_id = :user_id AND completed AND completed_at <= :through AND {until_last(":user_id")}
        ORDER BY completed_at DESC, id DESC
        LIMIT :most
    ), later AS (
        SELECT topic, item_id, count(*) AS n
        FROM practice_tasks
        WHERE user_id = :user_id AND completed AND completed_at > :through
        GROUP BY topic, item_id
    )
    SELECT newest.topic, difficulty, newest.item_id, is_correct, actual_time_seconds, completed_at,
        CAST(coalesce(topics.n, 0)
            - coalesce((SELECT sum(n) FROM later WHERE later.topic = newest.topic), 0) AS int) AS on_topic,
        CAST(coalesce(items.n, 0)
            - coalesce((SELECT sum(n) FROM later WHERE later.item_id = newest.item_id), 0) AS int) AS on_item
    FROM newest
    LEFT JOIN student_totals AS topics
        ON topics.user_id = :user_id AND topics.scope = 'topic' AND topics.key = newest.topic
    LEFT JOIN student_totals AS items
        ON items.user_id = :user_id AND items.scope = 'item' AND items.key = newest.item_id
    ORDER BY completed_at DESC, id DESC""")


def latest(
    asked: TaskRequest, at: datetime, most: int, *, practised: bool = False
) -> QueryFlow[tuple[Rows, Row | None]]:
    """Find the student's last tasks, in order, and the one before them; `practised` adds `on_topic` and `on_item`."""
    if most == 0:
        return [], None
    rows = yield PRACTISED if practised else LATEST, {"user_id": asked.user_id, "through": at, "most": most + 1}
    return list(rows[:most])[::-1], rows[most] if len(rows) > most else None

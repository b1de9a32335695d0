"""The tasks that were finished last, of anybody: what is known before there is a model."""

from app.core.db.statements import Statement

NEWEST = Statement("""
    SELECT CAST(user_id AS text) AS user_id, topic, difficulty, item_id, created_at, completed_at, is_correct,
           actual_time_seconds
    FROM practice_tasks WHERE completed AND completed_at <= :through AND actual_time_seconds > 0
    ORDER BY completed_at DESC LIMIT :most""")

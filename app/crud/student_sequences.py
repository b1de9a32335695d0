"""What a student has finished lately, task by task: for a model that reads them in order."""

from app.core.statements import Statement

# Ordered like the training rows; an index on (user_id, completed_at DESC, id DESC) gives them without a sort.
LATEST = Statement("""
    SELECT topic, difficulty, item_id, is_correct, actual_time_seconds, completed_at
    FROM practice_tasks
    WHERE user_id = :user_id AND completed AND completed_at <= :through
    ORDER BY completed_at DESC, id DESC
    LIMIT :most""")

"""What another version would have said of a task; nobody is shown it."""

from uuid import UUID

from app.core.db.statements import Statement
from app.domain.tasks import Prediction

# Nothing is stored of a task that was erased meanwhile.
INSERT = Statement("""
    INSERT INTO shadow_predictions (task_id, model_version_id, correctness_prob, estimated_time_seconds,
                                    time_low_seconds, time_high_seconds)
    SELECT id, :model_version_id, :correctness_prob, :estimated_time_seconds, :time_low_seconds, :time_high_seconds
    FROM practice_tasks WHERE id = :task_id FOR KEY SHARE
    ON CONFLICT DO NOTHING""")


def new_row(task_id: UUID, said: Prediction) -> dict[str, object]:
    return {
        "task_id": task_id,
        "model_version_id": said.model_version_id,
        "correctness_prob": said.correctness_prob,
        "estimated_time_seconds": said.estimated_time_seconds,
        "time_low_seconds": said.time_low_seconds,
        "time_high_seconds": said.time_high_seconds,
    }

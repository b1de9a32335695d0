"""What the first version's documents tell people to type works as written."""

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.ml.evaluation.simulated import school, simulate
from tests.school import imported

CONSOLE = """
from app.ml import EmbeddingModelService
from app.core.database import get_db
db = next(get_db())
service = EmbeddingModelService(db)
service.force_train(verbose=True)

import sys
assert "tensorflow" not in sys.modules
task = service.predict_and_save("537b7b10-0000-4000-8000-000000000000", "Calculus", "medium")
print(task.model_version)
print(service.on_task_completed(task.id, True, 39.0).actual_time_seconds)
"""


def test_the_console_snippet_trains(db: Session, environment: Path) -> None:
    imported(db, simulate(school(4, seed=1), 15, seed=1).attempts)
    done = subprocess.run([sys.executable, "-c", CONSOLE], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 1 of" in done.stdout
    assert "Trained on 60 tasks and in service: version" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["v1.0", "39.0"]
    stored = "SELECT completed, is_correct, lnirt_model_version FROM practice_tasks WHERE topic = 'Calculus'"
    assert tuple(db.execute(text(stored)).one()) == (True, True, "v1.0")


def test_the_sql_commands_run(db: Session) -> None:
    """As in the documents, by an engine on DATABASE_URL."""
    imported(db, simulate(school(1, seed=1), 12, seed=1).attempts)
    db.execute(
        text("""INSERT INTO practice_tasks (user_id, topic, difficulty, correctness_prob, estimated_time_seconds,
                lnirt_model_version) VALUES (gen_random_uuid(), 'Calculus', 'easy', 0.5, 60, 'prior')""")
    )
    db.commit()
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as conn:
        counts = conn.execute(
            text("""
            SELECT lnirt_model_version, COUNT(*)
            FROM practice_tasks
            WHERE created_at > NOW() - INTERVAL '1 hour'
            GROUP BY lnirt_model_version
        """)
        )
        assert [tuple(row) for row in counts] == [("prior", 1)]
        names = "id last_trained_at n_samples_last_training n_samples_since_training model_version metadata"
        row = conn.execute(text("SELECT * FROM embedding_model_tracker")).one()
        assert list(row._fields) == [*names.split(), "created_at", "updated_at"]
        assert row.n_samples_since_training == 12
        conn.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 4;"))
        assert conn.scalar(text("SELECT n_samples_since_training FROM embedding_model_tracker;")) == 4
    engine.dispose()


def test_ops_may_write_the_counter_and_the_next_completion_acts_on_it(service, student, db) -> None:  # type: ignore[no-untyped-def]
    from tests.school import until

    imported(db, simulate(school(2, seed=1), 10, seed=1).attempts)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 4"))
    db.commit()
    ada = student()
    ada.do()
    assert until(lambda: ada.status()["serving"]["trained_on_tasks"]) == 21
    assert ada.status()["counter"]["since_training"] == 0

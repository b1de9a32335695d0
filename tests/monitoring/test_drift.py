"""Drift is said of the newest predictions, or why nothing can be said."""

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import model_versions
from app.crud.model_tracker import to_json
from app.domain.attempts import Attempts
from app.ml.features.drift import Asked, summary
from app.ml.features.inputs import INPUTS
from app.monitoring.drift import drift
from tests.ml.features.test_drift import asked, world
from tests.versions import version


@pytest.fixture(scope="module")
def learned() -> Attempts:
    return world(seed=1)


def store(db: Session, asked: Asked, topic: str) -> None:
    """Predicted tasks, each of another student, committed."""
    told = np.column_stack([asked.inputs, np.zeros((len(asked.inputs), 2))])  # and what LNIRT said of each
    for row in told:
        db.execute(
            text("""INSERT INTO practice_tasks (user_id, topic, difficulty, correctness_prob, estimated_time_seconds,
                                                lnirt_model_version, features)
                    VALUES (gen_random_uuid(), :topic, 'easy', 0.5, 60, 'embedding_v2', :row)"""),
            {"topic": topic, "row": row.tolist()},
        )
    db.commit()


def trained(db: Session, learned: Attempts) -> model_versions.Version:
    """A version that learned from these."""
    made = version(db)
    db.execute(
        text("UPDATE model_versions SET report = report || CAST(:inputs AS jsonb) WHERE id = :id"),
        {"id": made, "inputs": to_json({"inputs": summary(learned)})},
    )
    return model_versions.get(db, made)


def test_it_is_silent_without_a_model_without_a_summary_and_with_few_tasks(db: Session, learned: Attempts) -> None:
    assert drift(db, None).verdict is None
    old = drift(db, model_versions.get(db, version(db)))
    assert old.verdict is None
    assert "before it was kept" in old.text
    store(db, asked(learned, 99), learned.topics[0])
    few = drift(db, trained(db, learned))
    assert (few.verdict, few.text) == (None, "Drift speaks from 100 tasks on; there are 99.")


def test_it_is_steady_on_the_same_and_loud_on_other_topics(db: Session, learned: Attempts) -> None:
    now = trained(db, learned)
    some = asked(world(2), 300)
    store(db, some, learned.topics[0])
    steady = drift(db, now)
    assert (steady.verdict, steady.n, len(steady.inputs)) == ("steady", 300, len(INPUTS))
    store(db, some, "a topic that nobody knew")
    other = drift(db, now)
    assert (other.verdict, other.unseen_topics) == ("strongly shifted", 0.5)
    assert "50% of the tasks are on topics that it never saw" in other.text

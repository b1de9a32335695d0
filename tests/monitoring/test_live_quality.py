"""Live quality says what came of the newest predictions, and speaks up when they are worth nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.monitoring.live_quality import live_quality
from app.schemas.live import LiveQuality
from tests.versions import version

SAID = np.tile([0.2, 0.4, 0.6, 0.8], 200)
Store = Callable[..., int]


@pytest.fixture
def store(db: Session) -> Store:
    """Store tasks that one version predicted and that were completed, committed; the version."""

    def stored(said: np.ndarray[Any, Any], right: np.ndarray[Any, Any], days_ago: float = 0) -> int:
        made = version(db)
        db.execute(
            text("""INSERT INTO practice_tasks (user_id, topic, difficulty, created_at, completed, is_correct,
                        actual_time_seconds, completed_at, correctness_prob, estimated_time_seconds,
                        lnirt_model_version, model_version_id, time_low_seconds, time_high_seconds)
                    SELECT gen_random_uuid(), 'Algebra', 'easy', at, true, is_right, 30, at, p, 33, 'embedding_v2',
                           :version, 20, 40
                    FROM unnest(CAST(:said AS float8[]), CAST(:right AS bool[])) AS row (p, is_right),
                         (SELECT now() - make_interval(secs => 86400 * :days_ago) AS at) AS moment"""),
            {"version": made, "said": said.tolist(), "right": right.tolist(), "days_ago": days_ago},
        )
        db.commit()
        return made

    return stored


def happened(said: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Right as often as said."""
    return np.random.default_rng(1).random(len(said)) < said


def only(db: Session) -> LiveQuality:
    found = live_quality(db).kinds
    assert len(found) == 1
    return found[0]


def test_it_is_silent_while_there_are_few_tasks(db: Session, store: Store) -> None:
    store(SAID[:49], happened(SAID[:49]))
    found = live_quality(db)
    assert (found.n, found.kinds) == (49, [])
    assert found.text == "Live quality is known from 50 completed tasks on; so far there are 49."


def test_honest_predictions_are_near_what_training_promised(db: Session, store: Store) -> None:
    made = store(SAID, happened(SAID))
    found = only(db)
    assert (found.kind, found.model_version_id, found.n) == ("embedding_v2", made, len(SAID))
    assert found.log_loss < found.log_loss_of_base_rate
    assert found.mean_predicted == pytest.approx(0.5)
    assert found.observed == pytest.approx(0.5, abs=0.05)
    assert found.calibration_error < 0.05
    assert found.rmse_log_time == pytest.approx(np.log(33 / 30))
    assert found.time_interval_coverage == 1
    assert found.log_loss_at_training == 0.6
    assert "clearly worse" not in found.text
    assert "base rate" not in found.text


def test_it_speaks_up_when_answers_are_flipped(db: Session, store: Store) -> None:
    store(SAID, ~happened(SAID))
    found = only(db)
    assert found.log_loss > found.log_loss_of_base_rate
    assert "clearly worse than 0.600 at training" in found.text
    assert "its predictions are worth less than the base rate" in found.text


def test_only_the_newest_tasks_of_the_last_days_count(db: Session, store: Store) -> None:
    store(SAID, ~happened(SAID), days_ago=31)
    assert live_quality(db).n == 0
    store(SAID[:200], ~happened(SAID[:200]), days_ago=2)
    newer = np.tile(SAID, 2)[:1000]
    store(newer, happened(newer), days_ago=1)
    assert only(db).n == 1000
    assert only(db).log_loss < 0.65

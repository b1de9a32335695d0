"""The live quality is what the scores say of the very tasks, and the sentence names who is ahead."""

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.ml import metrics
from app.monitoring.comparison import comparison
from app.schemas.comparison import VersionQuality
from tests.versions import version

NOW = datetime.now(UTC)
RIGHT = [True, False, True, True]
SHOWN = [0.9, 0.2, 0.6, 0.7]
SHADOW = [0.6, 0.5, 0.5, 0.4]
SECONDS = [10.0, 20.0, 30.0, 40.0]
GUESSED = [12.0, 18.0, 33.0, 30.0]


def done(
    db: Session, p: float, right: bool, version_id: int | None, *, seconds: float = 30, guess: float = 30,
    days_ago: int = 0, model: str = "embedding_v2", low: float | None = 5, completed: bool = True,
) -> UUID:  # fmt: skip
    """A task that was predicted and completed."""
    at = NOW - timedelta(days=days_ago)
    task_id = uuid4()
    db.execute(
        text("""INSERT INTO practice_tasks (id, user_id, topic, difficulty, created_at, completed, is_correct,
                    actual_time_seconds, completed_at, correctness_prob, estimated_time_seconds, lnirt_model_version,
                    model_version_id, time_low_seconds, time_high_seconds)
                VALUES (:id, gen_random_uuid(), 'Calculus', 'easy', :at, :completed, :right, :seconds, :at, :p, :guess,
                        :model, :version, CAST(:low AS float8), CAST(:low AS float8) + 30)"""),
        {
            "id": task_id,
            "at": at,
            "completed": completed,
            "right": right,
            "seconds": seconds,
            "p": p,
            "guess": guess,
            "model": model,
            "version": version_id,
            "low": low,
        },
    )
    return task_id


def shadowed(db: Session, task_id: UUID, p: float, version_id: int, guess: float = 30) -> None:
    db.execute(
        text("""INSERT INTO shadow_predictions (task_id, model_version_id, correctness_prob, estimated_time_seconds)
                VALUES (:task, :version, :p, :guess)"""),
        {"task": task_id, "version": version_id, "p": p, "guess": guess},
    )


@pytest.fixture
def two(db: Session) -> tuple[int, int]:
    """Version of LNIRT in the shadow of one of V2, on four tasks of two days."""
    lnirt, v2 = version(db, "lnirt"), version(db)
    for place, right in enumerate(RIGHT):
        task = done(db, SHOWN[place], right, v2, seconds=SECONDS[place], guess=GUESSED[place], days_ago=place // 2)
        shadowed(db, task, SHADOW[place], lnirt)
    return lnirt, v2


def of(db: Session, version_id: int | None) -> VersionQuality:
    (found,) = (each for each in comparison(db, 30).versions if each.id == version_id)
    return found


def test_the_scores_are_those_of_the_tasks(db: Session, two: tuple[int, int]) -> None:
    found = of(db, two[1])
    correct, p, seconds, guessed = map(np.array, (RIGHT, SHOWN, SECONDS, GUESSED))
    assert (found.n, found.role, found.kind) == (4, "served", "embedding_v2")
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.7]).mean())
    assert found.auc == 1
    assert found.brier == pytest.approx(np.square(p - correct).mean())
    assert found.calibration_error == pytest.approx(metrics.calibration_error(correct, p))
    assert found.rmse_log_time == pytest.approx(math.sqrt(np.square(np.log(guessed / seconds)).mean()))
    assert found.mae_seconds == pytest.approx((2 + 2 + 3 + 10) / 4)
    assert found.time_interval_coverage == 3 / 4  # 40 s is not within 5 and 35


def test_by_day_of_completion(db: Session, two: tuple[int, int]) -> None:
    older, newer = of(db, two[1]).by_day
    assert (older.day, newer.day) == ((NOW - timedelta(days=1)).date(), NOW.date())
    assert (older.n, newer.n) == (2, 2)
    assert newer.log_loss == pytest.approx(-np.log([0.9, 0.8]).mean())
    assert (older.auc, newer.auc) == (None, 1)  # all of the older were right


def test_a_shadow_is_compared_on_the_same_tasks(db: Session, two: tuple[int, int]) -> None:
    lnirt, v2 = two
    found = of(db, lnirt)
    assert (found.role, found.n, found.time_interval_coverage) == ("shadow", 4, None)
    assert found.log_loss == pytest.approx(-np.log([0.6, 0.5, 0.5, 0.4]).mean())
    text = comparison(db, 30).text
    assert text == (
        f"Version {v2} of embedding_v2 is ahead of version {lnirt} of lnirt on 4 tasks: log-loss 0.30 against 0.70."
    )


def test_a_lead_that_may_be_chance_is_called_so(db: Session) -> None:
    lnirt, v2 = version(db, "lnirt"), version(db)
    for right, shown, shadow in ((True, 0.6, 0.55), (False, 0.6, 0.55), (True, 0.7, 0.6)):
        shadowed(db, done(db, shown, right, v2), shadow, lnirt)
    assert comparison(db, 30).text.endswith(", which may well be chance.")


def test_versions_of_different_tasks_are_not_said_to_be_ahead(db: Session) -> None:
    lnirt, v2 = version(db, "lnirt"), version(db)
    for _ in range(3):
        done(db, 0.5, True, v2)
    done(db, 0.25, True, lnirt, model="v1.0")
    assert comparison(db, 30).text == (
        f"Version {v2} of embedding_v2 has a log-loss of 0.69 on 3 tasks, version {lnirt} of lnirt 1.39 on 1 other "
        "task."
    )


def test_all_versions_of_a_kind_are_taken_together_too(db: Session) -> None:
    lnirt = version(db, "lnirt")
    for p in (0.8, 0.9):
        shadowed(db, done(db, p, True, version(db)), 0.5, lnirt)
    found = comparison(db, 30)
    assert [(each.kind, each.role, each.n) for each in found.kinds] == [
        ("embedding_v2", "served", 2),
        ("lnirt", "shadow", 2),
    ]
    assert "All versions of a kind taken together: embedding_v2 is ahead of lnirt on 2 tasks" in found.text


def test_the_prior_counts_as_a_version_without_id(db: Session) -> None:
    done(db, 0.5, True, None, model="prior")
    done(db, 0.5, True, None, model="v1.0")  # from before there were versions
    found = comparison(db, 30)
    assert [(each.id, each.kind, each.n) for each in found.versions] == [(None, "prior", 1)]
    assert found.text == "The prior has a log-loss of 0.69 on 1 task; there is no other to compare it with."


def test_only_completed_tasks_of_these_days_count(db: Session) -> None:
    v2 = version(db)
    done(db, 0.5, True, v2, completed=False)
    done(db, 0.5, True, v2, days_ago=7)
    found = comparison(db, 7)
    assert (found.versions, found.kinds) == ([], [])
    assert found.text == "Nothing to compare yet: no predicted task has been completed in the last 7 days."
    assert comparison(db, 9).versions[0].n == 1


def test_the_newest_versions_come_first_and_no_more_than_asked_for(db: Session) -> None:
    ids = [version(db) for _ in range(3)]
    for each in ids:
        done(db, 0.5, True, each)
    found = comparison(db, 30, limit=2)
    assert [each.id for each in found.versions] == ids[:0:-1]
    assert found.kinds[0].n == 3


def test_of_many_tasks_the_last_of_each_day_are_looked_at(db: Session, two: tuple[int, int]) -> None:
    assert comparison(db, 30, most_a_day=100) == comparison(db, 30)
    some = comparison(db, 30, most_a_day=1)
    assert {(each.role, each.n, len(each.by_day)) for each in some.kinds} == {("served", 2, 2), ("shadow", 2, 2)}


def test_a_day_full_of_imported_tasks_does_not_hide_what_was_predicted_last(db: Session) -> None:
    made = version(db)
    for _ in range(4):
        done(db, 0.7, True, made)
    db.execute(text("UPDATE practice_tasks SET completed_at = completed_at + interval '1 second'"))
    for _ in range(30):
        imported_task = done(db, 0.7, True, None)
        db.execute(text("UPDATE practice_tasks SET correctness_prob = NULL WHERE id = :id"), {"id": imported_task})
    assert comparison(db, 30, most_a_day=2).kinds[0].n == 2

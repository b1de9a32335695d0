"""A student's practice by the API is what the page shows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.lnirt.model import fit_lnirt
from tests.finished import account_of, class_of, finish
from tests.routers.test_explanation import answered_by
from tests.school import SOMEBODY, Student

Students = Callable[..., Student]
DAY = timedelta(days=1)


@pytest.fixture
def now() -> datetime:
    """Noon of today, or of yesterday where that is to come."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return noon if noon < datetime.now(UTC) else noon - DAY


def told(caller: Student, **query: Any) -> dict[str, Any]:
    answer = caller.get("/users/me/analytics", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_newcomer_is_told_what_is_missing(student: Students) -> None:
    seen = told(student())
    assert (seen["total"], seen["window"], seen["days"], seen["streak_days"]) == (None, None, [], 0)
    assert seen["calibration"]["missing_tasks"] == 30
    assert seen["calibration"]["predicted"] is None
    assert (seen["mastered"], seen["shaky"]) == ([], [])


def test_days_topics_levels_and_streak(student: Students, db: Session, now: datetime) -> None:
    ada = student()
    who = account_of(db)
    for day in range(3):
        finish(db, who, now - day * DAY, right=day == 0, chance=0.8, expected=50, seconds=20)
    finish(db, who, now - 10 * DAY, topic="Waves", difficulty="hard", seconds=100)
    seen = told(ada)
    assert seen["time_zone"] == "UTC"
    assert seen["streak_days"] == 3
    assert len(seen["last_days"]) == 14
    assert {"date": f"{now.date()}", "tasks": 1, "correct": 1} in seen["last_days"]
    assert sum(day["tasks"] for day in seen["last_days"]) == 4
    assert (seen["lately"]["tasks"], seen["lately"]["predicted_success_rate"]) == (3, pytest.approx(0.8))
    assert seen["total"] == {"tasks": 4, "correct": 2, "success_rate": 0.5, "mean_seconds": 40}
    assert seen["days"][0] == {
        "date": f"{(now - 10 * DAY).date()}",
        "tasks": 1,
        "success_rate": 1,
        "predicted_success_rate": None,
        "median_seconds": 100,
        "predicted_seconds": None,
    }
    assert [day["predicted_success_rate"] for day in seen["days"]] == [None, 0.8, 0.8, 0.8]
    assert [(each["topic"], each["tasks"]) for each in seen["topics"]] == [("Calculus", 3), ("Waves", 1)]
    assert [each["difficulty"] for each in seen["levels"]] == ["medium", "hard"]


def test_mastered_shaky_and_calibration(student: Students, db: Session, now: datetime) -> None:
    ada = student()
    for number in range(20):
        at = now - timedelta(minutes=number)
        finish(db, account_of(db), at, chance=0.9, within=(20, 40), topic="Waves")
        finish(db, account_of(db), at, chance=0.9, within=(1, 2), topic="Optics", right=False)
    seen = told(ada)
    assert seen["mastered"] == [{"topic": "Waves", "tasks": 20, "lately": 8, "lately_correct": 8}]
    assert [each["topic"] for each in seen["shaky"]] == ["Optics"]
    judged = seen["calibration"]
    assert (judged["tasks"], judged["missing_tasks"], judged["verdict"]) == (40, 0, "too high")
    assert (judged["predicted"], judged["observed"]) == (pytest.approx(0.9), 0.5)
    assert (judged["timed_tasks"], judged["within_interval"]) == (40, 20)
    assert judged["groups"] == [{"tasks": 40, "predicted": pytest.approx(0.9), "observed": 0.5}]


def test_ability_and_speed_over_time_with_their_bounds(student: Students, db: Session, now: datetime) -> None:
    model = fit_lnirt(simulate(simulated_school(12, seed=5), 30, seed=5).attempts).served()
    ada = student()
    for _ in range(4):
        ada.do(topic="algebra", difficulty="hard", is_correct=False, seconds=60)
    assert told(ada)["lnirt"]["missing_tasks"] == 1
    assert told(ada)["lnirt"]["average_task"] is None
    for _ in range(8):
        ada.do(topic="algebra", difficulty="hard", seconds=8)
    class_of(db, 19, now)
    answered_by(db, model, "lnirt")
    found = told(ada)["lnirt"]
    assert (found["missing_tasks"], found["students"]) == (0, 20)
    path = found["over_time"]
    assert [each["tasks"] for each in path] == list(range(13))
    assert path[4]["ability"]["middle"] < path[0]["ability"]["middle"] < path[12]["ability"]["middle"]
    assert path[-1]["ability"] == found["ability"]
    for each in path:
        for place in (each["ability"], each["speed"]):
            assert 0 <= place["low"] < place["middle"] < place["high"] <= 1
    expected = found["average_task"]
    assert expected["correctness_prob_low"] < expected["correctness_prob"] < expected["correctness_prob_high"]


def test_a_school_asks_about_its_students_and_students_about_themselves(
    school: Student, student: Students, db: Session, now: datetime
) -> None:
    finish(db, UUID(SOMEBODY), now)
    assert told(school, user_id=SOMEBODY)["total"]["tasks"] == 1
    assert school.get("/users/me/analytics").status_code == 422
    assert student().get("/users/me/analytics", user_id=SOMEBODY).status_code == 422

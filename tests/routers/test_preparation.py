"""What to practise next and plans for exams, as callers meet them."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.crud import exam_plans
from app.crud.exam_plans import NewExam
from app.domain.errors import NotSignedIn
from app.ml.training.scheduler import Trainer
from app.schemas.planning import PlanOut, RecommendationsOut
from tests.school import SOMEBODY, Student, nobody_trains

pytestmark = pytest.mark.usefixtures("untrained")
Students = Callable[..., Student]
PLANS = "/preparation/plans"


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings are done by nobody."""
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)


def in_days(days: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=days)).isoformat()


def exam(**more: Any) -> dict[str, Any]:
    return {"exam_date": in_days(10), "topics": ["Calculus", "Waves"], "minutes_per_day": 30, **more}


def post(caller: Student, **more: Any) -> httpx.Response:
    answer: httpx.Response = caller.client.post(PLANS, json=exam(**more), headers=caller.headers)
    return answer


def planned(caller: Student, **more: Any) -> dict[str, Any]:
    answer = post(caller, **more)
    assert answer.status_code == 201, answer.text
    PlanOut.model_validate(answer.json())
    found: dict[str, Any] = answer.json()
    return found


def delete(caller: Student, plan_id: str) -> httpx.Response:
    answer: httpx.Response = caller.client.delete(f"{PLANS}/{plan_id}", headers=caller.headers)
    return answer


def recommended(caller: Student, **query: Any) -> dict[str, Any]:
    answer = caller.get("/recommendations", **query)
    assert answer.status_code == 200, answer.text
    RecommendationsOut.model_validate(answer.json())
    found: dict[str, Any] = answer.json()
    return found


def topics(of: dict[str, Any]) -> list[str]:
    return [each["topic"] for each in of["items"]]


# Plans


def test_a_plan_goes_from_today_to_the_day_before_the_exam(student: Students) -> None:
    ada = student()
    for _ in range(5):
        ada.do(topic="Waves")
    plan = planned(ada, name=" Finals ")
    assert [day["date"] for day in plan["days"]] == [in_days(n) for n in range(10)]
    assert (plan["days_left"], plan["name"], plan["later"]) == (len(plan["days"]), "Finals", None)
    for day in plan["days"]:
        assert 0 < day["minutes"] <= 30
        assert day["tasks"] == sum(item["tasks"] for item in day["items"]) > 0
        for item in day["items"]:
            assert item["chance_before"] < item["chance_after"]
    assert [each["topic"] for each in plan["outlook"]] == ["Calculus", "Waves"]
    assert plan["summary"]["text"].startswith("10 days to practise")


def test_what_a_plan_brings_is_told_from_five_tasks_on_each_topic_on(student: Students) -> None:
    ada = student()
    for _ in range(5):
        ada.do(topic="Waves")
    plan = planned(ada)
    assert [each["chance_at_exam"] is None for each in plan["outlook"]] == [True, False]
    assert plan["chance_at_exam"] is None
    assert "; 5 to go" in plan["summary"]["text"]
    for _ in range(5):
        ada.do(topic="Calculus", is_correct=False)
    plan = ada.get(f"{PLANS}/{plan['id']}").json()
    assert plan["chance_now"] < plan["chance_at_exam"]
    assert "expected to raise" in plan["summary"]["text"]


def test_it_is_planned_anew_after_what_has_been_done(student: Students) -> None:
    ada = student()
    plan = planned(ada)
    for _ in range(3):
        ada.do(False, topic="Waves", difficulty="medium", seconds=100)
    after = ada.get(f"{PLANS}/{plan['id']}").json()
    today = after["days"][0]
    assert (today["tasks_done"], today["minutes_done"]) == (3, pytest.approx((300 + 45) / 60))
    assert today["minutes"] <= 30 - today["minutes_done"] + 1e-6

    def waves(of: dict[str, Any], day: int) -> float:
        return sum((item["minutes"] for item in of["days"][day]["items"] if item["topic"] == "Waves"), 0.0)

    assert waves(after, 1) > waves(plan, 1)  # it comes back the more on the next day
    reasons = [r["code"] for item in today["items"] if item["topic"] == "Waves" for r in item["reasons"]]
    assert "went_wrong_lately" in reasons
    assert [each["tasks_done"] for each in after["outlook"]] == [0, 3]


def test_topics_are_trimmed_and_each_counts_once(student: Students) -> None:
    plan = planned(student(), topics=[" Calculus", "Waves ", "Calculus", "\tWaves\n"])
    assert plan["topics"] == ["Calculus", "Waves"]


def test_chances_at_the_start_stay_what_they_were(student: Students) -> None:
    ada = student()
    plan = planned(ada)
    ada.do(topic="Waves")
    again = ada.get(f"{PLANS}/{plan['id']}").json()
    assert [each["chance_at_start"] for each in again["outlook"]] == [0.5, 0.5]
    exported = ada.get("/users/me/export").json()
    assert exported["exams"][0]["chances_at_start"] == {"Calculus": 0.5, "Waves": 0.5}


ODD: dict[str, list[Any]] = {
    "exam_date": [
        *("", "soon", "2026-13-01", "20270115", "2027-01-15T00:00:00", 1_800_000_000, "२०२७-०१-१५", None, True),
        *("9999-12-31", "0001-01-01", in_days(0), in_days(-400), in_days(400)),
    ],
    "topics": [[], [""], ["a\x00b"], ["x" * 201], ["x"] * 21, "Calculus", None, [None], [[]]],
    "minutes_per_day": [4, 481, 0, -30, 7.5, "30", None, True, 10**400],
    "target_success_rate": [0.69, 0.86, 0, 1, -1, "0.8", True, None],
    "name": ["", "x" * 201, "a\x00b", 7],
    "user_id": [SOMEBODY],
    "days": [[]],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in ODD.items() for value in values])
def test_what_can_not_be_planned_is_refused_by_name(student: Students, db: Session, field: str, value: Any) -> None:
    answer = post(student(), **{field: value})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in answer.json()["detail"]
    assert db.scalar(text("SELECT count(*) FROM exam_plans")) == 0


def test_a_missing_field_is_named(student: Students) -> None:
    ada = student()
    for field in ("exam_date", "topics", "minutes_per_day"):
        body = {name: value for name, value in exam().items() if name != field}
        answer = ada.client.post(PLANS, json=body, headers=ada.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(("target", "minutes"), [(0.7, 5), (0.85, 480)])
def test_what_is_just_within_the_limits_can_be_planned(student: Students, target: float, minutes: int) -> None:
    plan = planned(student(), target_success_rate=target, minutes_per_day=minutes, topics=["x" * 200] * 20)
    assert (plan["target_success_rate"], plan["minutes_per_day"], len(plan["topics"])) == (target, minutes, 1)


@pytest.mark.parametrize("days", [1, 61, 366])
def test_tomorrow_and_a_year_ahead_can_be_planned(student: Students, days: int) -> None:
    plan = planned(student(), exam_date=in_days(days))
    assert len(plan["days"]) == min(days, 60)
    assert (plan["later"] or {"days": 0})["days"] == max(days - 60, 0)


def test_the_next_exam_is_listed_first_and_those_that_are_over_last(student: Students, db: Session) -> None:
    ada = student()
    days = {"far": 90, "near": 3, "over": 5}
    ids = {name: planned(ada, name=name, exam_date=in_days(n))["id"] for name, n in days.items()}
    db.execute(text("UPDATE exam_plans SET exam_date = current_date - 2 WHERE name = 'over'"))
    db.commit()
    listed = ada.get(PLANS).json()["items"]
    assert [each["name"] for each in listed] == ["near", "far", "over"]
    assert [each["days_left"] for each in listed] == [3, 90, 0]
    assert "days" not in listed[0]
    over = ada.get(f"{PLANS}/{ids['over']}").json()
    assert (over["days"], over["summary"]["code"]) == ([], "exam_over")


def test_a_plan_that_is_removed_is_gone(student: Students) -> None:
    ada = student()
    plan = planned(ada)
    assert delete(ada, plan["id"]).status_code == 204
    assert delete(ada, plan["id"]).status_code == 404
    assert ada.get(f"{PLANS}/{plan['id']}").status_code == 404
    assert ada.get(PLANS).json() == {"items": []}


def test_what_belongs_to_others_looks_like_nothing(student: Students) -> None:
    ada, bob = student("ada"), student("bob")
    plan = planned(ada)
    for answer in (bob.get(f"{PLANS}/{plan['id']}"), delete(bob, plan["id"])):
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such plan among yours.")
    assert bob.get(f"{PLANS}/{uuid4()}").json()["detail"] == "There is no such plan among yours."
    assert bob.get(PLANS).json() == {"items": []}
    assert ada.get(f"{PLANS}/{plan['id']}").status_code == 200


def test_a_student_has_room_for_twenty_plans_however_many_come_at_once(student: Students, db: Session) -> None:
    ada = student()
    for _ in range(17):
        planned(ada)
    with ThreadPoolExecutor(6) as pool:
        codes = sorted(answer.status_code for answer in pool.map(lambda _: post(ada), range(6)))
    assert codes == [201] * 3 + [409] * 3
    assert "DELETE /preparation/plans" in post(ada).json()["detail"]
    assert delete(ada, ada.get(PLANS).json()["items"][0]["id"]).status_code == 204
    planned(ada)
    planned(student("bob"))


def test_a_service_key_names_the_student(school: Student) -> None:
    plan = planned(school, user_id=SOMEBODY)
    assert plan["user_id"] == SOMEBODY
    assert [each["id"] for each in school.get(PLANS, user_id=SOMEBODY).json()["items"]] == [plan["id"]]
    assert school.get(PLANS, user_id=str(uuid4())).json() == {"items": []}
    assert recommended(school, user_id=SOMEBODY)["exam"]["id"] == plan["id"]
    for answer in (post(school), school.get(PLANS), school.get("/recommendations")):
        assert answer.status_code == 422
        assert "a service key has to name the student" in answer.json()["detail"]
    assert delete(school, plan["id"]).status_code == 204


def test_a_student_names_nobody(student: Students) -> None:
    ada = student()
    for answer in (ada.get(PLANS, user_id=SOMEBODY), ada.get("/recommendations", user_id=SOMEBODY)):
        assert answer.status_code == 422
        assert "only a service key may name a student" in answer.json()["detail"]


def test_nothing_is_stored_for_an_account_that_is_being_erased(student: Students, db: Session) -> None:
    me = UUID(student().get("/users/me").json()["id"])
    new = NewExam(me, None, datetime.now(UTC).date() + timedelta(days=3), ("Waves",), 30, 0.8, {})
    with new_session()() as other:
        other.execute(text("DELETE FROM users WHERE id = :me"), {"me": me})  # not committed yet
        with pytest.raises(NotSignedIn):
            exam_plans.add(db, new, me)
        db.rollback()
        other.commit()
    with pytest.raises(NotSignedIn):
        exam_plans.add(db, new, me)
    db.rollback()
    assert db.scalar(text("SELECT count(*) FROM exam_plans")) == 0


def test_an_erased_student_leaves_no_plan(student: Students, db: Session) -> None:
    ada = student()
    planned(ada)
    assert ada.client.delete("/users/me", headers=ada.headers).status_code == 204
    assert db.scalar(text("SELECT count(*) FROM exam_plans")) == 0


# What to practise next


def test_the_next_exams_topics_come_first_then_what_is_practised(student: Students) -> None:
    ada = student()
    ada.do(topic="Gardening")
    far, near = planned(ada, exam_date=in_days(30), topics=["Optics"]), planned(ada, topics=["Waves"])
    found = recommended(ada, limit=2)
    assert topics(found) == ["Waves", "Gardening"]
    assert found["exam"]["id"] == near["id"]
    delete(ada, near["id"])
    assert recommended(ada)["exam"]["id"] == far["id"]


def test_topics_can_be_named(student: Students) -> None:
    ada = student()
    planned(ada)
    answer = ada.client.get("/recommendations?topic=Optics&topic=%20Heat&topic=Optics&limit=2", headers=ada.headers)
    assert set(topics(answer.json())) == {"Optics", "Heat"}
    assert answer.json()["exam"] is None


def test_every_suggestion_says_what_to_expect_and_why(student: Students) -> None:
    ada = student()
    ada.do(topic="Waves")
    for each in recommended(ada)["items"]:
        told = ada.ask(each["topic"], each["difficulty"]).json()
        for name in ("correctness_prob", "estimated_time_seconds", "model_version", "time_low_seconds"):
            assert each[name] == told[name]
        assert each["reasons"]
        assert all(reason["text"].endswith(".") for reason in each["reasons"])


def test_after_wrong_answers_the_list_changes(student: Students) -> None:
    ada = student()
    planned(ada)
    first = recommended(ada)["items"][0]["topic"]
    for _ in range(3):
        ada.do(False, topic=first, difficulty="easy")
    found = recommended(ada)["items"]
    assert found[0]["topic"] != first
    again = next(each for each in found if each["topic"] == first)
    assert "went_wrong_lately" in {reason["code"] for reason in again["reasons"]}


def test_who_has_done_nothing_is_told_how_to_begin(student: Students) -> None:
    found = recommended(student())
    assert found["items"] == []
    assert "do a task on any topic" in found["remark"]["text"]


REFUSED = [
    *({"limit": value} for value in (0, 21, -1, "x", "1.5")),
    *({"target_success_rate": value} for value in (0.69, 0.86, "nan", "inf", "x")),
    *({"topic": value} for value in ("", " ", "x" * 201, "a\x00b", ["x"] * 21)),
    {"user_id": "x"},
]


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: json.dumps(query)[:40])
def test_odd_questions_are_refused_by_name(student: Students, query: dict[str, Any]) -> None:
    answer = student().get("/recommendations", **query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


def test_suggestions_go_to_the_limit_and_the_target_that_were_asked_for(service: TestClient, student: Students) -> None:
    ada = student()
    planned(ada, topics=[f"topic {n}" for n in range(20)])
    for limit in (1, 7, 20):
        found = recommended(ada, limit=limit, target_success_rate=0.75)
        assert len(found["items"]) == limit
        assert found["target_success_rate"] == 0.75

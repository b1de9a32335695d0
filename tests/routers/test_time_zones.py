"""A day is the student's: the same moment is another date in another zone."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import accounts
from app.ml.training.scheduler import Trainer
from tests.finished import finish
from tests.school import PASSWORD, SOMEBODY, Student, nobody_trains

EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"  # 26 hours apart: never the same day
Students = Callable[..., Student]


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)


def today(zone: str) -> date:
    return datetime.now(ZoneInfo(zone)).date()


def plan(caller: Student, exam_date: date, **more: Any) -> httpx.Response:
    body = {"exam_date": exam_date.isoformat(), "topics": ["Waves"], "minutes_per_day": 30, **more}
    answer: httpx.Response = caller.client.post("/preparation/plans", json=body, headers=caller.headers)
    return answer


def living_in(service: TestClient, zone: str | None) -> Student:
    body = {"email": "eve@example.com", "password": PASSWORD, "time_zone": zone}
    assert service.post("/auth/register", json=body).status_code == 201
    given = {"username": "eve@example.com", "password": PASSWORD}
    return Student(service, service.post("/auth/token", data=given).json()["access_token"])


@pytest.mark.parametrize("zone", [EAST, WEST, "Pacific/Auckland", "Pacific/Honolulu"])
def test_an_exam_tomorrow_is_tomorrow_where_the_student_is(service: TestClient, zone: str) -> None:
    eve = living_in(service, zone)
    assert eve.get("/users/me").json()["time_zone"] == zone
    refused = plan(eve, today(zone))
    assert refused.status_code == 422
    assert refused.json()["detail"] == f"exam_date: has to be after today, which is {today(zone)} ({zone})."
    made = plan(eve, today(zone) + timedelta(1)).json()
    assert (made["days_left"], [day["date"] for day in made["days"]]) == (1, [str(today(zone))])
    assert made["time_zone"] == zone
    for seen in (
        eve.get("/preparation/plans").json()["items"][0],
        eve.get(f"/preparation/plans/{made['id']}").json(),
        eve.get("/recommendations").json()["exam"],
    ):
        assert seen["days_left"] == 1


def test_what_was_done_before_ones_own_midnight_was_done_yesterday(student: Students, db: Session) -> None:
    for name, ago, done in (("east", timedelta(minutes=1), 0), ("west", timedelta(minutes=1), 0)):
        who = student(name)
        zone = EAST if name == "east" else WEST
        me = who.get("/users/me").json()["id"]
        accounts.change(db, me, {"time_zone": zone})
        db.commit()
        midnight = datetime.combine(today(zone), datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
        finish(db, me, midnight - ago, topic="Waves")
        assert plan(who, today(zone) + timedelta(2)).json()["days"][0]["tasks_done"] == done
        finish(db, me, midnight, topic="Waves")
        assert plan(who, today(zone) + timedelta(2)).json()["days"][0]["tasks_done"] == done + 1


def test_a_school_names_the_zone_or_the_account_has_it_or_the_server(
    service: TestClient, school: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "time_zone", WEST)
    assert plan(school, today(WEST) + timedelta(1), user_id=SOMEBODY).json()["days_left"] == 1
    made = plan(school, today(EAST) + timedelta(1), user_id=SOMEBODY, time_zone=EAST).json()
    assert (made["days_left"], made["time_zone"]) == (1, EAST)
    assert school.get(f"/preparation/plans/{made['id']}").json()["days_left"] == 1
    eve = living_in(service, EAST)
    me = eve.get("/users/me").json()["id"]
    service.post("/users/me/schools", json={"name": "school"}, headers=eve.headers)
    assert plan(school, today(EAST) + timedelta(1), user_id=me).json()["days_left"] == 1


def test_an_unknown_zone_is_refused_in_a_sentence(service: TestClient, school: Student) -> None:
    sentence = "time_zone: must be the name of a time zone, such as Pacific/Auckland or UTC (IANA)"
    wrong = plan(school, today(EAST) + timedelta(3), user_id=SOMEBODY, time_zone="Mars/Olympus")
    assert (wrong.status_code, wrong.json()["detail"]) == (422, sentence)
    body = {"email": "eve@example.com", "password": PASSWORD, "time_zone": "../UTC"}
    wrong = service.post("/auth/register", json=body)
    assert (wrong.status_code, wrong.json()["detail"]) == (422, sentence)


def test_plans_come_in_the_order_of_ones_own_days(service: TestClient) -> None:
    eve = living_in(service, WEST)
    near, far = (plan(eve, today(WEST) + timedelta(n), name=str(n)).json()["id"] for n in (1, 9))
    assert [each["id"] for each in eve.get("/preparation/plans").json()["items"]] == [near, far]


def test_moving_changes_which_day_it_is(service: TestClient) -> None:
    eve = living_in(service, WEST)
    made = plan(eve, today(EAST) + timedelta(1)).json()
    moved = service.patch("/users/me", json={"time_zone": EAST}, headers=eve.headers)
    assert moved.json()["time_zone"] == EAST
    again = eve.get(f"/preparation/plans/{made['id']}").json()
    assert (again["days_left"], again["days"][0]["date"]) == (1, str(today(EAST)))
    assert made["days"][0]["date"] == str(today(WEST))

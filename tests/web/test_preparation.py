"""Preparing for an exam, as a student without JavaScript sees it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.ml.evaluation import sample
from tests.finished import account_of, finish
from tests.school import Student, until
from tests.web.browsing import Browser, said


def in_days(days: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=days)).isoformat()


@pytest.fixture
def ada(service: TestClient) -> Browser:
    with new_session().begin() as session:
        sample.load(session)
    until(lambda: Student(service, "").status()["serving"]["model_version_id"] is not None)
    return Browser(service).register("ada")


def test_an_exam_is_planned_day_by_day(ada: Browser, db: Session) -> None:
    assert "No exam is planned yet." in said(ada.get("/dashboard/preparation"))
    ada.practise("Waves")
    form = {
        "name": "Finals",
        "exam_date": in_days(20),
        "topics": "Waves",
        "more": "Calculus,  Statistics ,",
        "minutes": "30",
        "target": "0.8",
    }
    plan = ada.send("/dashboard/preparation", **form)
    page = said(plan)
    assert re.search(r"20 days to practise until .*, 3 topics", page)
    assert "What the plan brings is known after 5 finished tasks on each topic; 14 to go." in page
    assert "Done today: 1 task" in page
    assert re.search(r"chance \d+% now", page)
    assert not re.search(r"\d+% after|has risen", page)  # nothing is promised of a topic that was hardly practised
    assert "The 16 days after that" in page
    assert re.search(r"when the plan was made.*now.*on the day of the exam", page)
    for topic in ("Waves", "Calculus", "Statistics"):
        for number in range(5):
            finish(db, account_of(db), datetime(2026, 3, 10, 12, number, tzinfo=UTC), topic=topic)
    practised = said(ada.get(plan.url.path))
    assert "is expected to raise the chance" in practised
    assert len(re.findall(r"chance \d+% before, \d+% after", practised)) >= 20
    assert "Finals" in said(ada.get("/dashboard/preparation"))
    assert "in 20 days" in said(ada.get("/dashboard/preparation"))
    assert "First for Finals" in said(ada.get("/dashboard/tasks"))
    gone = ada.send(f"{plan.url.path}/remove")
    assert "No exam is planned yet." in said(gone)
    assert ada.get(plan.url.path).status_code == 404


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"exam_date": ""}, "Please give the day of the exam."),
        ({"exam_date": "soon"}, "Please give the day of the exam."),
        ({"exam_date": in_days(0)}, "The exam has to be after today"),
        ({"exam_date": in_days(1000)}, "The exam has to be after today"),
        ({"more": " , "}, "Please choose 1 to 20 topics"),
        ({"more": ",".join("abcdefghijklmnopqrstuv")}, "Please choose 1 to 20 topics"),
        ({"more": "x" * 201}, "Please choose 1 to 20 topics"),
        ({"minutes": "4"}, "Please give whole minutes a day, 5 to 480."),
        ({"minutes": "many"}, "Please give whole minutes a day, 5 to 480."),
        ({"minutes": "nan"}, "Please give whole minutes a day, 5 to 480."),
        ({"target": "0.99"}, "Please choose one of the rates."),
        ({"name": "x" * 201}, "A name has at most 200 characters."),
    ],
)
def test_what_can_not_be_planned_is_said_beside_the_field_and_the_rest_is_kept(
    service: TestClient, change: dict[str, Any], sentence: str
) -> None:
    ben = Browser(service).register("ben")
    form: dict[str, Any] = {
        "name": "Finals",
        "exam_date": in_days(9),
        "more": "Waves",
        "minutes": "25",
        "target": "0.8",
    }
    again = ben.send("/dashboard/preparation", **form | change)
    assert again.status_code == 422
    assert sentence in said(again)
    assert "No exam is planned yet." in said(again)
    for name, value in form.items():
        assert name in change or f'value="{value}"' in again.text


def test_no_more_plans_than_anybody_may_have(service: TestClient) -> None:
    ben = Browser(service).register("ben")
    form = {"exam_date": in_days(9), "more": "Waves", "minutes": "25", "target": "0.8"}
    for _ in range(20):
        assert ben.send("/dashboard/preparation", **form).status_code == 200
    refused = ben.send("/dashboard/preparation", **form)
    assert refused.status_code == 409
    assert "You have as many plans as anybody may." in said(refused)


def test_somebody_elses_plan_is_as_one_that_is_not_there(service: TestClient) -> None:
    form = {"exam_date": in_days(9), "more": "Waves", "minutes": "25", "target": "0.8"}
    plan = Browser(service).register("ada").send("/dashboard/preparation", **form).url.path
    ben = Browser(service).register("ben")
    for answer in (ben.get(plan), ben.send(f"{plan}/remove"), ben.get("/dashboard/preparation/none")):
        assert answer.status_code == 404
        assert "There is nothing here" in said(answer)


def test_suggestions_say_why_and_aim_as_chosen(ada: Browser) -> None:
    ada.practise("Waves")
    page = said(ada.get("/dashboard/tasks"))
    assert "Suggested for you" in page
    assert "near the 80% aimed at" in page or "no difficulty comes nearer" in page
    assert "the 70% aimed at" in said(ada.get("/dashboard/tasks", target="0.7"))
    for odd in ("x", "nan", "7", "-1", "1e308"):
        assert "the 80% aimed at" in said(ada.get("/dashboard/tasks", target=odd))

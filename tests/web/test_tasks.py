"""Practising, as a student without JavaScript sees it."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.web import tasks
from tests.finished import account_of, finish
from tests.routers.test_explanation import Plain, answered_by
from tests.school import imported, until
from tests.web.browsing import Browser, said


def results(db: Session) -> list[tuple[bool, float]]:
    found = db.execute(
        text("SELECT is_correct, actual_time_seconds FROM practice_tasks WHERE completed ORDER BY created_at")
    )
    return [(row.is_correct, row.actual_time_seconds) for row in found]


@pytest.fixture
def ada(service: TestClient) -> Browser:
    return Browser(service).register("ada")


def test_the_way_from_the_choice_to_the_result(ada: Browser) -> None:
    assert "What will you do next?" in said(ada.get("/dashboard/tasks"))
    asked = ada.send("/dashboard/tasks", topic="  Calculus ", difficulty="hard")
    assert re.search(r"/dashboard/tasks/[0-9a-f-]{36}$", str(asked.url))
    page = said(asked)
    for sentence in ("Calculus hard", "50%", "60 s", "I got it right", "I got it wrong", "How do you know?"):
        assert sentence in page
    done = ada.send(asked.url.path, result="right", seconds="38,5")
    assert done.url.path == asked.url.path
    assert "Right , in 38 s" in said(done)
    assert "The first training starts after 9 more finished tasks, by anyone." in said(done)
    assert "Go on" in said(done)


def test_known_topics_are_offered_ones_own_first_and_a_new_spelling_is_no_new_topic(ada: Browser, db: Session) -> None:
    imported(db, simulate(simulated_school(4, ("Optics", "Waves"), seed=3), 6, seed=3).attempts)
    db.execute(text("INSERT INTO topics (name, state) VALUES ('Heat', 'approved'), ('Waves', 'hidden')"))
    db.commit()
    for topic in ("Calculus", "calculus", "CALCULUS "):
        asked = ada.send("/dashboard/tasks", topic=topic, difficulty="easy")
        assert "Calculus easy" in said(asked)
        ada.send(asked.url.path, result="right", seconds="20")
    page = ada.get("/dashboard/tasks").text
    assert re.findall('<option value="([^"]*)"></option>', page) == ["Calculus", "Optics", "Heat"]


def test_the_service_measures_the_time_from_start_on_where_no_script_does(
    ada: Browser, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    monkeypatch.setattr(tasks, "time", lambda: 1_800_000_000.0)
    started = ada.get(asked.url.path, start="1")
    assert "Started: Jan 15, 2027, 8:00" in said(started)
    began = re.search(r'name="began" value="(\d+)"', started.text)
    assert began
    monkeypatch.setattr(tasks, "time", lambda: 1_800_000_093.0)
    ada.send(asked.url.path, result="wrong", seconds="", began=began[1])
    assert results(db) == [(False, 93.0)]


def test_what_was_typed_counts_before_the_clock_and_the_clock_before_start(ada: Browser, db: Session) -> None:
    for typed in ("1:30", ""):
        asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
        ada.send(asked.url.path, result="right", seconds=typed, clock="41.5", began="1")
    assert results(db) == [(True, 90.0), (True, 41.5)]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"result": "", "seconds": "3"}, "Was it right or wrong?"),
        ({"result": "perhaps", "seconds": "1:30"}, "Was it right or wrong?"),
        ({"result": "right", "seconds": ""}, "How long did it take?"),
        ({"result": "right", "seconds": "x"}, "“x” can't be read as a time. Write seconds (90), 1:30,"),
        ({"result": "right", "seconds": "1,000"}, "“1,000” can't be read as a time"),
        ({"result": "right", "seconds": "", "clock": "soon"}, "“soon” can't be read as a time"),
        ({"result": "right", "seconds": "0"}, "more than 0 s and at most 24 h"),
        ({"result": "right", "seconds": "24:00:01"}, "more than 0 s and at most 24 h"),
        ({"result": "right", "seconds": "", "clock": "nan"}, "more than 0 s and at most 24 h"),
        ({"result": "right", "seconds": "", "began": "1"}, "more than 0 s and at most 24 h"),
        ({"result": "right", "seconds": "9" * 49}, "more than 0 s and at most 24 h"),
    ],
)
def test_a_result_that_can_not_be_is_said_so_beside_the_form_and_what_was_typed_stays(
    ada: Browser, db: Session, form: dict[str, Any], sentence: str
) -> None:
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    again = ada.send(asked.url.path, **form)
    assert again.status_code == 422
    assert sentence in said(again)
    assert "I got it right" in said(again)
    assert f'value="{form["seconds"]}"' in again.text
    assert results(db) == []


def test_a_time_far_beyond_what_was_predicted_is_asked_about_once(ada: Browser, db: Session) -> None:
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    for took in ({"seconds": "24:00:00"}, {"clock": "86400"}):
        again = ada.send(asked.url.path, result="wrong", **took)
        assert again.status_code == 422
        assert "It took 24 h? Predicted was at most about 10 min." in said(again)
        assert '<button name="result" value="wrong">Yes, it took that long</button>' in again.text
        assert re.search('<input[^>]*name="seconds"[^>]* value="24:00:00"', again.text)
    assert results(db) == []
    ada.send(asked.url.path, result="wrong", seconds="24:00:00", sure="24:00:00")
    assert results(db) == [(False, 86400.0)]


def test_a_time_within_reach_of_the_prediction_is_not_asked_about(ada: Browser, db: Session) -> None:
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    ada.send(asked.url.path, result="right", seconds="30 min")
    assert results(db) == [(True, 1800.0)]


def test_the_button_that_enter_presses_decides_nothing(ada: Browser) -> None:
    page = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy").text
    form = page[page.index("<form", page.index("data-away")) :]
    assert re.findall(r'<button[^>]* name="result" value="([^"]*)"', form) == ["", "right", "wrong"]


@pytest.mark.parametrize("form", [{"topic": "  "}, {"topic": "x" * 201}, {"topic": "a", "difficulty": "extreme"}])
def test_a_task_that_can_not_be_is_said_so_beside_the_form(ada: Browser, form: dict[str, Any]) -> None:
    again = ada.send("/dashboard/tasks", **form)
    assert again.status_code == 422
    assert "Please name a topic" in said(again)


def test_a_result_that_is_sent_twice_counts_once(ada: Browser, db: Session) -> None:
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    ada.send(asked.url.path, result="right", seconds="20")
    for result, seconds in (("right", "20"), ("wrong", "99")):
        assert "Right , in 20 s" in said(ada.send(asked.url.path, result=result, seconds=seconds))
    assert db.scalar(text("SELECT n_samples_since_training FROM embedding_model_tracker")) == 1


def test_what_a_student_writes_is_shown_as_written_and_runs_nowhere(ada: Browser) -> None:
    topic = "<script>alert('1')</script> & \"more\""
    page = ada.send("/dashboard/tasks", topic=topic, difficulty="easy").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp;" in page


def test_a_topic_that_turns_text_around_is_refused_and_the_character_named(ada: Browser) -> None:
    page = ada.send("/dashboard/tasks", topic="Algebra \u202etxt", difficulty="easy")
    assert page.status_code == 422
    assert "U+202E (RIGHT-TO-LEFT OVERRIDE) must not be in it" in said(page)
    exam = ada.send("/dashboard/preparation", more="Al\u200bgebra", exam_date="2027-01-15", minutes="20", target="0.8")
    assert exam.status_code == 422
    assert "U+200B (ZERO WIDTH SPACE) must not be in it" in said(exam)
    name = ada.send("/dashboard/settings/name", name="Ada \u2066")
    assert "U+2066 (LEFT-TO-RIGHT ISOLATE) must not be in it" in said(name)


def test_somebody_elses_task_is_as_one_that_is_not_there(ada: Browser, service: TestClient) -> None:
    theirs = ada.practise().url.path
    ada.send("/sign-out")
    ben = Browser(service).register("ben")
    for path in (theirs, f"{theirs}/why", f"/dashboard/tasks/{uuid4()}", "/dashboard/tasks/none"):
        answer = ben.get(path)
        assert answer.status_code == 404
        assert "There is no such task among yours." in said(answer)
    assert ben.send(theirs, result="wrong", seconds="1").status_code == 404


def test_an_open_task_is_offered_again(ada: Browser) -> None:
    assert "You have a task open" not in said(ada.get("/dashboard/tasks"))
    ada.send("/dashboard/tasks", topic="Waves", difficulty="easy")
    assert "You have a task open: Waves, easy. Continue" in said(ada.get("/dashboard/tasks"))


def test_the_training_is_shown_and_the_next_task_is_predicted_by_its_model(ada: Browser, db: Session) -> None:
    imported(db, simulate(simulated_school(8, seed=2), 12, seed=2).attempts)
    for number in range(5):
        page = ada.practise("algebra", right=number % 2 == 0, seconds=20 + number)
    assert "Predicted by" in said(page) or "this is the first guess" in said(page)
    until(lambda: "Last training" in said(ada.get("/dashboard/training")))
    asked = ada.send("/dashboard/tasks", topic="algebra", difficulty="easy")
    assert re.search(r"Predicted by (the V2 network|the LSTM network|LNIRT), version \d+", said(asked))
    why = said(ada.get(f"{asked.url.path}/why"))
    assert "Right, on this topic" in why or "Your ability and speed" in why


def test_of_a_newcomer_it_is_said_that_nothing_is_known_instead_of_eleven_zeros(ada: Browser, db: Session) -> None:
    answered_by(db, Plain())
    path = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy").url.path
    finish(db, account_of(db), datetime.now(UTC))  # what was predicted before stays as it was
    for page in (f"{path}/why", "/dashboard/analytics"):
        why = said(ada.get(page))
        assert "Nothing was known of you yet: you had not finished a task." in why
        assert "Right, of your last five" not in why
    path = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy").url.path
    assert "Right, of your last five" in said(ada.get(f"{path}/why"))


def test_german_is_spoken_to_those_who_ask_for_it(service: TestClient) -> None:
    page = service.get("/", headers={"Accept": "text/html", "Accept-Language": "de-AT,de;q=0.9,en;q=0.5"})
    assert '<html lang="de"' in page.text

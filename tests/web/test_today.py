import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.core.languages import Translator
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.web import charts, today
from app.web.charts import Axis, Series
from tests.finished import account_of, class_of, finish
from tests.routers.test_explanation import Plain, answered_by
from tests.web.browsing import Browser, said

NOW = datetime(2026, 3, 10, 23, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers stays as the test has it."""
    monkeypatch.setenv("RETRAIN_EVERY", "1000")


@pytest.fixture
def ada(service: TestClient) -> Browser:
    return Browser(service).register()


@pytest.fixture
def at_half_past_eleven(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):  # type: ignore[no-untyped-def]
            return NOW.astimezone(tz)

    monkeypatch.setattr(today, "datetime", Clock)


@pytest.fixture(scope="module")
def lnirt() -> ServedLnirt:
    return fit_lnirt(simulate(school(12, seed=5), 30, seed=5).attempts).served()


def test_a_newcomer_is_told_how_to_begin(ada: Browser) -> None:
    page = ada.get("/dashboard")
    assert "Hello, Ada" in said(page)
    assert "Do the first task" in said(page)
    assert 'href="/dashboard/tasks"' in page.text
    for row_of_zeros in ("Streak", "Tasks today", "<svg class"):
        assert row_of_zeros not in page.text


def test_an_empty_installation_says_what_it_can_know_and_what_it_can_not(ada: Browser) -> None:
    unknown = "Nobody here has finished a task yet, so the first prediction is 50% and 60 s, whatever the task."
    judged = "How good predictions are can't be known before the first training, at 10 finished tasks"
    told = said(ada.get("/dashboard"))
    assert unknown in told
    assert judged in told
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    assert "A first guess, the same for every task: nobody here had finished one." in said(asked)
    assert "the first guess, and nothing moved it" in said(ada.get(f"{asked.url.path}/why"))
    ada.send(asked.url.path, result="right", seconds="20")
    told = said(ada.get("/dashboard"))
    assert unknown not in told
    assert "One task has been finished here so far, by anybody: predictions rest on that alone." in told
    assert judged in told
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
    assert "From the few tasks finished here so far." in said(asked)


def test_after_the_first_training_nothing_is_said_of_the_first_hour(
    ada: Browser, db: Session, lnirt: ServedLnirt
) -> None:
    answered_by(db, lnirt, "lnirt")
    assert "How good predictions are can't be known" not in said(ada.get("/dashboard"))


def test_nobody_sees_it_without_signing_in(service: TestClient) -> None:
    assert service.get("/dashboard", follow_redirects=False).headers["location"] == "/sign-in?next=/dashboard"


def test_what_was_done_today_stands_beside_what_was_predicted(ada: Browser) -> None:
    for right, seconds in ((True, 20), (True, 30), (False, 200)):
        ada.practise(right=right, seconds=seconds)
    told = said(ada.get("/dashboard"))
    assert "Tasks today 3 2 of them right" in told
    assert "Streak one day today counts already" in told
    assert "In all, you have finished 3 tasks; 67% right." in told
    assert re.search(r"Right, of the last 3 67% predicted: [5-6]\d%", told)
    assert re.search(r"Time per task 30 s predicted: \d+ s", told)


@pytest.mark.usefixtures("at_half_past_eleven")
@pytest.mark.parametrize(("zone", "n"), [("UTC", "1"), ("Asia/Tokyo", "0"), ("Factory", "1"), ("no zone", "1")])
def test_today_is_the_visitors_day(ada: Browser, db: Session, zone: str, n: str) -> None:
    finish(db, account_of(db), NOW - 10 * HOUR)  # in Tokyo, it is the morning after by now
    ada.client.cookies.set("zone", zone)
    told = said(ada.get("/dashboard"))
    assert f"Tasks today {n} " in told
    assert "Streak one day" in told
    assert ("a task today keeps it up" in told) == (n == "0")


@pytest.mark.usefixtures("at_half_past_eleven")
def test_the_days_are_drawn_and_written(ada: Browser, db: Session) -> None:
    student = account_of(db)
    for hours, right in ((1, True), (2, True), (3, False), (30, True), (24 * 13, False), (24 * 20, True)):
        finish(db, student, NOW - hours * HOUR, right=right)
    page = ada.get("/dashboard")
    assert "Mar 10 2 1" in said(page)
    assert "Mar 9 1 0" in said(page)
    assert "Feb 25 0 1" in said(page)
    assert "Feb 18" not in said(page)
    assert page.text.count('class="s1 bar"') == page.text.count('class="s2 bar"') == 3


@pytest.mark.usefixtures("at_half_past_eleven")
def test_a_long_pause_is_told_in_words(ada: Browser, db: Session) -> None:
    finish(db, account_of(db), NOW - 24 * 20 * HOUR)
    told = said(ada.get("/dashboard"))
    assert "Streak none a task today begins one" in told
    assert "You have not finished a task in the last two weeks." in told
    assert "As soon as you have finished a predicted task" in told


def test_an_open_task_can_be_gone_on_with(ada: Browser) -> None:
    path = ada.send("/dashboard/tasks", topic="Waves", difficulty="hard").url.path
    page = ada.get("/dashboard")
    assert "You have a task open: Waves, hard." in said(page)
    assert f'href="{path}"' in page.text


def test_another_students_tasks_are_not_counted(service: TestClient) -> None:
    Browser(service).register("ben").practise()
    assert "Do the first task" in said(Browser(service).register("ada").get("/dashboard"))


def test_before_the_first_training_the_page_believes_what_the_answers_do(ada: Browser) -> None:
    for _ in range(4):
        ada.practise(right=True, seconds=20)
    assert "After one more task you will see your ability and speed here." in said(ada.get("/dashboard"))
    ada.practise(right=True, seconds=20)
    told = said(ada.get("/dashboard"))
    believed = re.search(r"An average task right (\d+)% .* Time for an average task ([\d.]+) s", told)
    asked = re.search(r"(\d+)%, about ([\d.]+) s", told)  # the first suggestion: the topic that went right
    assert believed
    assert asked
    assert 55 < int(believed[1]) < int(asked[1])
    assert float(believed[2]) == pytest.approx(20, abs=15)
    assert "One student here has results so far. From 20 on you will also see how you compare with them." in told


def test_a_network_without_lnirt_leaves_ability_unknown(ada: Browser, db: Session) -> None:
    answered_by(db, Plain())
    ada.practise()
    assert "The next training brings it back." in said(ada.get("/dashboard"))


def test_nobody_is_set_among_a_handful_of_students(ada: Browser, db: Session, lnirt: ServedLnirt) -> None:
    answered_by(db, lnirt, "lnirt")
    for _ in range(6):
        ada.practise("algebra", "hard", seconds=10)
    class_of(db, 18, NOW)
    for page in ("/dashboard", "/dashboard/analytics"):
        told = said(ada.get(page))
        assert "19 students here have results so far." in told
        assert re.search(r"An average task right \d+% \d+% to \d+%", told)
        assert not re.search(r"\d+ of 100\b", told)
    finish(db, UUID(int=77), NOW)
    for page in ("/dashboard", "/dashboard/analytics"):
        assert re.search(r"\d+ of 100\b", said(ada.get(page)))


def test_what_the_model_believes_is_a_place_among_students(ada: Browser, db: Session, lnirt: ServedLnirt) -> None:
    answered_by(db, lnirt, "lnirt")
    class_of(db, 19, NOW)
    for _ in range(4):
        ada.practise("algebra", "hard", seconds=10)
    assert "After one more task you will see your ability and speed here." in said(ada.get("/dashboard"))
    for _ in range(8):
        ada.practise("algebra", "hard", seconds=10)
    told = said(ada.get("/dashboard"))
    able = int(told.partition("More able than ")[2].split()[0])
    quick = int(told.partition("Quicker than ")[2].split()[0])
    assert 60 < able < 100  # all right, on hard tasks
    assert 60 < quick < 100  # 10 s each
    assert "In four of five cases it lies between" in told
    assert "Ability is quite sure, speed quite sure" in told or "fairly sure" in told or "rough guess" in told


def test_suggestions_aim_at_the_share_that_the_visitor_chose(ada: Browser) -> None:
    ada.practise()
    for target, shown in (("0.7", "0.7"), ("0.85", "0.85"), ("", "0.8"), ("a lot", "0.8")):
        assert f'<option value="{shown}" selected>' in ada.get("/dashboard", target=target).text


@pytest.mark.parametrize(("most", "high"), [(1, 4), (4, 4), (5, 8), (17, 20), (21, 40), (1768, 2000), (2000, 2000)])
def test_round_numbers_stand_at_the_lines(most: int, high: int) -> None:
    assert (charts.axis_end(most, today.ROUND_TASKS) or most) == high


def test_bars_stand_on_one_another() -> None:
    below, above = Series("right", [3.0, None], kind="bars"), Series("wrong", [2.0, 1.0], kind="bars", base=[3.0, 0.0])
    drawn = charts.over(Translator("en", UTC), "t", "d", ["a", "b"], [below, above], Axis("number", 0, 8))
    bars = [part.split('"') for part in drawn.split("<rect class=")[1:] if " bar" in part.split('"')[1]]
    low, high, alone = ((float(part[5]), float(part[9])) for part in bars)  # y and height
    assert high[0] + high[1] == pytest.approx(low[0], abs=0.11)
    assert alone[0] + alone[1] == pytest.approx(low[0] + low[1], abs=0.11)

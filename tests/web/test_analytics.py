import re
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.analytics import overview, statistics
from app.core.languages import Translator
from app.crud.learning_record import FinishedTask, RecentResults
from app.ml.evaluation.simulated import school, simulate
from app.ml.lnirt import untrained
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.web import charts
from tests.finished import account_of, class_of, finish
from tests.routers.test_explanation import Plain, answered_by
from tests.web.browsing import Browser, said

PAGE = "/dashboard/analytics"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers stays as the test has it."""
    monkeypatch.setenv("RETRAIN_EVERY", "1000")


@pytest.fixture
def ada(service: TestClient) -> Browser:
    return Browser(service).register()


@pytest.fixture
def student(ada: Browser, db: Session) -> UUID:
    return account_of(db)


@pytest.fixture(scope="module")
def lnirt() -> ServedLnirt:
    return fit_lnirt(simulate(school(12, seed=5), 30, seed=5).attempts).served()


def done(chance: float | None, *, correct: bool, seconds: float = 30, at: datetime = NOON) -> FinishedTask:
    return FinishedTask("Calculus", "medium", None, correct, seconds, at, chance, 40, 20, 60)


def section(page: str, name: str) -> str:
    """The text of one section."""
    found = re.search(rf'<section class="card" id="{name}".*?</section>', page, re.DOTALL)
    assert found, name
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())


def test_a_newcomer_sees_what_will_be_here_and_when(ada: Browser) -> None:
    told = said(ada.get(PAGE))
    for line in ("after the first task", "after 5 tasks", "after 8 tasks of a topic", "after 30 predicted tasks"):
        assert line in told
    assert "<svg class" not in ada.get(PAGE).text


def test_after_one_task_every_section_says_what_it_has_or_needs(ada: Browser) -> None:
    ada.practise(seconds=42)
    page = ada.get(PAGE).text
    assert "You got 100% of these tasks right. The predictions were 50% on average." in section(page, "days")
    assert "Calculus 1 100% 42 s" in section(page, "topics")
    assert "medium 1 100% 42 s" in section(page, "topics")
    assert "After 4 more tasks you will see your ability and speed here." in section(page, "ability")
    assert "29 more predicted tasks have to be finished" in section(page, "predicted")
    assert "this is the first guess, and nothing moved it" in section(page, "why")
    assert "One topic is in between, or has too few tasks yet." in section(page, "mastered")


def test_each_day_shows_what_was_predicted_and_what_came(ada: Browser, db: Session, student: UUID) -> None:
    for right in (True, True, False, False):
        finish(db, student, NOON, right=right, chance=0.8, expected=50, seconds=20)
    finish(db, student, NOON - 3 * DAY, seconds=100)  # nobody predicted it
    ada.client.cookies.set("zone", "Asia/Tokyo")
    told = section(ada.get(PAGE).text, "days")
    assert "Mar 7 100% – Mar 10 50% 80%" in told
    assert "Mar 7 100 s – Mar 10 20 s 50 s" in told
    assert "Mar 8" not in told
    assert "You got 60% of these tasks right. The predictions were 80% on average." in told
    assert "4 of them were predicted; of those, 50% right." in told


def test_the_window_and_what_it_leaves_out_are_told(
    ada: Browser, db: Session, student: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_TASKS", 3)
    for day in range(5):
        finish(db, student, NOON - day * DAY)
    page = ada.get(PAGE).text
    assert "This page looks at your last 3 finished tasks" in said(ada.get(PAGE))
    assert "Those are 3 tasks, from Mar 8, 2026 to Mar 10, 2026." in said(ada.get(PAGE))
    assert "Calculus 5 100%" in section(page, "topics")  # all that there are


@pytest.mark.parametrize(
    ("chance", "right", "verdict"), [(0.9, 20, "too high"), (0.3, 30, "too low"), (0.5, 21, "about right")]
)
def test_predictions_are_judged_in_one_sentence(
    ada: Browser, db: Session, student: UUID, chance: float, right: int, verdict: str
) -> None:
    for number in range(40):
        within = (20.0, 40.0) if number < 25 else (1.0, 2.0)
        at = NOON + timedelta(minutes=number)
        finish(db, student, at, right=number < right, chance=chance, within=within, seconds=30)
    told = section(ada.get(PAGE).text, "predicted")
    assert f"On the whole, the predictions were {verdict} : they were {chance:.0%} on average" in told
    assert f"{right * 100 // 40}% right." in told.replace("53%", "52%")
    assert "25 of 40 tasks (62%) took as long as the interval said that came" in told


def test_a_difference_that_may_be_luck_is_no_verdict() -> None:
    few = statistics.judged([done(0.6, correct=number < 16) for number in range(32)])  # half of 32
    many = statistics.judged([done(0.6, correct=number < 200) for number in range(400)])
    assert (few.off, few.missing) == (0, 0)
    assert many.off == pytest.approx(0.1)
    assert statistics.judged([done(0.5, correct=True)]).missing == 29
    assert statistics.judged([]).n == 0


def test_groups_hold_what_was_predicted_alike() -> None:
    tasks = [*(done(0.72, correct=True) for _ in range(5)), *(done(0.78, correct=False) for _ in range(5))]
    tasks += [
        *(done(1.0, correct=True) for _ in range(6)),
        *(done(0.1, correct=True) for _ in range(4)),
        done(None, correct=True),
    ]
    judged = statistics.judged(tasks)
    assert judged.groups == [(pytest.approx(0.75), 0.5, 10), (1.0, 1.0, 6)]  # four are too few
    assert judged.gap == pytest.approx(0.25 * 10 / 16)
    assert (judged.n, judged.timed, judged.within) == (20, 21, 21)


def test_a_day_ends_at_midnight_where_the_visitor_is() -> None:
    tasks = [done(0.5, correct=True, at=NOON + timedelta(hours=hours), seconds=hours + 1) for hours in (0, 1, 4)]
    tokyo = statistics.by_day(tasks, ZoneInfo("Asia/Tokyo"))
    assert [(day.day, each.n, each.seconds) for day, each in tokyo.items()] == [(10, 2, 1.5), (11, 1, 5)]
    assert [each.n for each in statistics.by_day(tasks, UTC).values()] == [3]


def test_a_path_has_a_point_for_each_day_but_not_too_many() -> None:
    days = statistics.by_day([done(None, correct=True, at=NOON + day * DAY) for day in range(7) for _ in range(2)], UTC)
    two = dict(list(days.items())[:2])
    each = statistics.steps(days, 60, 5)
    assert [n for n, _ in each] == [2, 4, 6, 8, 10, 12, 14]
    assert [n for n, _ in statistics.steps(days, 3, 2)] == [2, 8, 14]  # always with the last
    assert statistics.steps(two, 60, 5) == [(1, None), (2, None), (3, None), (4, None)]
    assert [n for n, _ in statistics.steps(two, 2, 5)] == [2, 4]
    assert statistics.steps({}, 60, 5) == []


def test_ability_and_speed_are_drawn_with_their_bands(ada: Browser, db: Session, lnirt: ServedLnirt) -> None:
    for number in range(12):
        ada.practise("algebra", "hard", right=number > 4, seconds=60 if number < 5 else 8)
    class_of(db, 19, NOON)
    answered_by(db, lnirt, "lnirt")
    page = ada.get(PAGE).text
    told = section(page, "ability")
    assert page.count('<polygon class="s1 band"') == 2
    rows = re.findall(r"(before|task \d+) (\d+) \((\d+) … (\d+)\)", told)
    assert [row[0] for row in rows[:13]] == ["before", *(f"task {n}" for n in range(1, 13))]
    assert rows[0][1:] == ("50", "10", "90")
    ability = [int(row[1]) for row in rows[:13]]
    assert ability[5] < ability[0] < 60  # five wrong
    assert ability[12] > ability[5]
    now = re.search(r"More able than (\d+) of 100", told)
    assert now
    assert int(now[1]) == ability[12]


def test_before_the_first_training_the_path_is_that_of_the_newest_tasks(
    ada: Browser, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrained, "MOST", 8)  # older ones, the answers know nothing of
    class_of(db, 19, NOON)
    for number in range(10):
        ada.practise(right=number < 5, seconds=20)
    told = section(ada.get(PAGE).text, "ability")
    rows = re.findall(r"(before|task \d+) (\d+) \((\d+) … (\d+)\)", told)[:11]
    ability = [int(row[1]) for row in rows]
    assert [row[0] for row in rows[:2]] == ["before", "task 1"]
    assert ability[:3] == [50, 50, 50]
    assert ability[5] > 50
    assert ability[10] < ability[5]


def test_the_last_prediction_is_explained_by_what_moved_it(ada: Browser, db: Session) -> None:
    answered_by(db, Plain())
    ada.practise("Waves", right=True, seconds=70)
    ada.send("/dashboard/tasks", topic="Waves", difficulty="easy")
    page = ada.get(PAGE).text
    told = section(page, "why")
    assert "Your last prediction Waves, easy : a chance of" in told
    assert re.search(r"Right, on this topic 100% \d+% \+\d+", told)  # you, the average, what it did
    assert page.count('class="s3 bar"') + page.count('class="s2 bar"') >= 11


def test_a_prediction_by_lnirt_is_explained_by_its_parts(ada: Browser, db: Session, lnirt: ServedLnirt) -> None:
    answered_by(db, lnirt, "lnirt")
    for _ in range(6):
        ada.practise("algebra", "hard", seconds=8)
    page = ada.get(PAGE).text
    told = section(page, "why")
    average = re.search(r"on an average task LNIRT would say (\d+)% in about ([\d.]+) s", told)
    you = re.search(r"a chance of (\d+)% and ([\d.]+) s", told)
    assert average
    assert you
    parts = re.findall(
        r"(Your ability and speed|The topic: algebra|The difficulty: hard) ([+−]?\d+) ([+−]?\d+) s", told
    )
    assert len(parts) == 3, told
    chance, seconds = (sum(int(part[place].replace("−", "-")) for part in parts) for place in (1, 2))
    assert int(average[1]) + chance == pytest.approx(int(you[1]), abs=2)
    assert float(average[2]) + seconds == pytest.approx(float(you[2]), abs=2)
    assert page.count('class="s3 bar"') + page.count('class="s2 bar"') >= 3


def test_imported_tasks_alone_have_nothing_to_explain(ada: Browser, db: Session, student: UUID) -> None:
    finish(db, student, NOON)
    page = ada.get(PAGE).text
    assert "None of your newest tasks was predicted." in section(page, "why")
    assert "redicted" not in section(page, "days")
    assert "30 more predicted tasks" in section(page, "predicted")


def test_mastered_and_shaky_topics_lead_to_practising(ada: Browser, db: Session, student: UUID) -> None:
    for number in range(8):
        finish(db, student, NOON + timedelta(minutes=number), topic="Waves", right=number != 3)
        finish(db, student, NOON + timedelta(minutes=number), topic='Q&A "1/2" <b>', right=number > 3)
    page = ada.get(PAGE)
    told = section(page.text, "mastered")
    assert "Mastered: Waves 7 of the last 8 right Shaky: Q&amp;A &#34;1/2&#34; &lt;b&gt; 4 of the last 8 right" in told
    assert "<b>" not in page.text
    link = re.search(r'<a href="(/dashboard/tasks\?topic=Q[^"]*)"', page.text)
    assert link
    assert 'value="Q&amp;A &#34;1/2&#34; &lt;b&gt;"' in ada.get(link[1]).text


@pytest.mark.parametrize(
    ("n", "right", "mastered", "shaky"),
    [(8, 8, True, False), (8, 7, True, False), (8, 6, False, False), (7, 7, False, False), (8, 5, False, False),
     (8, 4, False, True), (5, 2, False, True), (5, 3, False, False), (4, 0, False, False)],
)  # fmt: skip
def test_where_mastered_and_shaky_begin(n: int, right: int, mastered: bool, shaky: bool) -> None:
    topic = RecentResults("Waves", n, n, right)
    assert (statistics.is_mastered(topic), statistics.is_shaky(topic)) == (mastered, shaky)


def test_many_topics_are_shown_in_two_parts(ada: Browser, db: Session, student: UUID) -> None:
    for number in range(33):
        finish(db, student, NOON, topic=f"Topic {number:02}")
    told = section(ada.get(PAGE).text, "topics")
    assert "25 more topics" in told
    assert "These are the 30 topics that you practised most." in told
    assert "Topic 29" in told
    assert "Topic 30" not in told


def test_bars_go_up_and_down_from_the_middle() -> None:
    bars = [("up <&>", 0.2, "+20"), ("down", -0.1, "−10"), ("nothing", 0.0, "0")]
    drawn = charts.up_and_down(Translator("en", UTC), "t", "d", bars, ["what", "how far"], [["up <&>", "+20"]])
    places = re.findall(r'<rect class="(\w+) bar" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    assert places == [("s3", "200.0", "200.0"), ("s2", "100.0", "100.0"), ("s3", "200.0", "0.0")]
    assert "up &lt;&amp;&gt;" in drawn
    assert "<td>+20</td>" in drawn
    assert "<svg" in charts.up_and_down(Translator("en", UTC), "t", "d", [], [], [])

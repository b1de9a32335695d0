from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

from app.crud import learning_record
from app.domain.days import starts
from tests.finished import finish

ADA, BEN = UUID(int=1), UUID(int=2)
BERLIN, HONOLULU = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Honolulu")
TODAY = date(2026, 3, 30)  # the day after the clocks went forward in Berlin
NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def days_before(db: Session, *days: int) -> None:
    for day in days:
        finish(db, ADA, NOON - day * DAY)


@pytest.mark.parametrize(
    ("days", "streak"),
    [((), 0), ((0,), 1), ((1,), 1), ((2,), 0), ((0, 1, 2, 4), 3), ((1, 2), 2), ((0, 0, 0), 1), ((0, 2), 1)],
)
def test_a_streak_is_days_in_a_row_and_waits_for_today(db: Session, days: tuple[int, ...], streak: int) -> None:
    days_before(db, *days)
    assert learning_record.streak(db, ADA, BERLIN, TODAY) == streak


def test_a_streak_may_be_long(db: Session) -> None:
    days_before(db, *range(40), *range(41, 44))
    assert learning_record.streak(db, ADA, BERLIN, TODAY) == 40


def test_only_the_students_own_tasks_make_a_streak(db: Session) -> None:
    finish(db, BEN, NOON)
    finish(db, ADA, NOON, done=False)
    assert learning_record.streak(db, ADA, BERLIN, TODAY) == 0


def test_a_day_begins_at_midnight_where_the_visitor_is(db: Session) -> None:
    finish(db, ADA, datetime(2026, 3, 29, 21, 59, tzinfo=UTC), right=False)  # 23:59 in Berlin
    finish(db, ADA, datetime(2026, 3, 29, 22, 0, tzinfo=UTC))  # midnight
    finish(db, ADA, datetime(2026, 3, 30, 21, 59, tzinfo=UTC))
    finish(db, ADA, datetime(2026, 3, 30, 22, 0, tzinfo=UTC))  # tomorrow there
    berlin = learning_record.last_days(db, ADA, BERLIN, TODAY, 3)
    assert [(day.day.day, day.n, day.n_correct) for day in berlin] == [(28, 0, 0), (29, 1, 0), (30, 2, 2)]
    honolulu = learning_record.last_days(db, ADA, HONOLULU, TODAY, 2)
    assert [day.n for day in honolulu] == [2, 2]
    assert learning_record.streak(db, ADA, BERLIN, TODAY) == 2


def test_a_day_of_23_hours_is_a_day(db: Session) -> None:
    begin = starts(BERLIN, TODAY, 3)
    assert [later - earlier for later, earlier in pairwise(begin)] == [
        timedelta(hours=23),  # 29 March
        timedelta(hours=24),
    ]


def test_a_day_with_very_many_tasks_is_counted_up_to_a_limit(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_record, "DAY_TASKS", 3)
    for hour in range(4):
        finish(db, ADA, NOON - timedelta(hours=hour))
    finish(db, ADA, NOON - DAY)
    before, today = learning_record.last_days(db, ADA, UTC, TODAY, 2)
    assert (today.n, today.is_more) == (3, True)
    assert (before.n, before.is_more) == (1, False)


def test_what_was_imported_is_not_among_the_predicted(db: Session) -> None:
    finish(db, ADA, NOON, chance=0.7)
    finish(db, ADA, NOON + DAY)
    finish(db, ADA, NOON + 2 * DAY, chance=0.6)
    finish(db, ADA, NOON + 3 * DAY, chance=0.5, done=False)
    assert [task.correctness_prob for task in learning_record.predicted_lately(db, ADA, 20)] == [0.6, 0.7]
    assert [task.correctness_prob for task in learning_record.predicted_lately(db, ADA, 1)] == [0.6]
    last = learning_record.last_predicted(db, ADA)
    assert last
    assert (last.correctness_prob, last.completed) == (0.5, False)
    assert learning_record.last_predicted(db, BEN) is None


def test_the_window_ends_with_the_newest_and_is_bounded_both_ways(db: Session) -> None:
    for day in (0, 1, 5, 89, 91):
        finish(db, ADA, NOON - day * DAY, seconds=10 + day)
    finish(db, ADA, NOON + DAY)  # after the moment that is looked at
    finish(db, BEN, NOON)

    def ages(most: int) -> list[int]:
        return [int(done.seconds) - 10 for done in learning_record.window(db, ADA, NOON, most, 90)]

    assert ages(10) == [89, 5, 1, 0]
    assert ages(2) == [1, 0]
    assert learning_record.window(db, UUID(int=3), NOON, 10, 90) == []


def test_a_long_pause_does_not_empty_the_window(db: Session) -> None:
    days_before(db, 400, 401)
    assert len(learning_record.window(db, ADA, NOON, 10, 90)) == 2


def test_a_topic_is_judged_by_its_last_tasks(db: Session) -> None:
    for day, right in enumerate([True, True, False, False, False]):  # the newest first
        finish(db, ADA, NOON - day * DAY, right=right)
    finish(db, ADA, NOON - 9 * DAY, topic="Waves")
    finish(db, BEN, NOON, topic="Waves", right=False)
    calculus, waves = learning_record.lately(db, ADA, 3)
    assert (calculus.topic, calculus.n, calculus.lately, calculus.lately_correct) == ("Calculus", 5, 3, 2)
    assert (waves.topic, waves.n, waves.lately, waves.rate) == ("Waves", 1, 1, 1.0)
    assert len(learning_record.lately(db, ADA, 3, most=1)) == 1

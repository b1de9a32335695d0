from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.languages import IN_ENGLISH
from app.domain.attempts import DIFFICULTIES
from app.domain.planning import DAYS_SHOWN, Exam, Plan, PlanItem, PracticeEffect, TopicState
from app.ml.features.learning_curve import PRIOR_EFFECT
from app.planning.difficulty import wrong_lately
from app.planning.exam_planner import StudySchedule, planned
from app.planning.reasons import sentence
from benchmarks import learners
from benchmarks import planning as preparing
from tests.planning.test_recommender import chance, histories
from tests.topics import NOW, done, exam, topic, unknown

EFFECT = PracticeEffect(0.3, 0.05, 1_000)
FOUR = ("a", "b", "c", "d")


def plan(aim: Exam, topics: Sequence[TopicState] | None = None, effect: PracticeEffect = EFFECT) -> Plan:
    return planned(aim, topics or [topic(name) for name in aim.topics], NOW, effect)


def items(of: Plan, name: str) -> list[PlanItem]:
    return [item for day in of.days for item in day.items if item.topic == name]


def codes(item: PlanItem) -> set[str]:
    return {reason.code for reason in item.reasons}


def minutes(of: Plan, name: str, day: int) -> float:
    return sum(item.minutes for item in of.days[day].items if item.topic == name)


# Days and minutes


def test_it_goes_from_today_to_the_day_before_the_exam() -> None:
    found = plan(exam(*FOUR, days=3))
    assert [day.date for day in found.days] == [NOW.date() + timedelta(days=n) for n in range(3)]
    assert found.days_left == 3


def test_an_exam_tomorrow_leaves_today() -> None:
    assert [day.date for day in plan(exam("a", days=1)).days] == [NOW.date()]


@pytest.mark.parametrize(("days", "code"), [(0, "exam_today"), (-3, "exam_over")])
def test_an_exam_that_is_today_or_over_needs_no_days_and_says_so(days: int, code: str) -> None:
    found = plan(exam("a", days=days))
    assert (found.days, found.later, found.days_left) == ((), None, 0)
    assert found.summary.code == code
    assert found.chance_now == found.chance_at_exam


def test_no_topics_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="at least one topic"):
        planned(exam("a"), [], NOW, EFFECT)


def test_the_minutes_are_filled_but_never_exceeded() -> None:
    for each in plan(exam(*FOUR, minutes_per_day=30)).days:
        assert 28 < each.minutes <= 30


def test_a_task_longer_than_the_day_is_begun_and_said_to_be_long() -> None:
    found = plan(exam("a", minutes_per_day=5), [topic("a", seconds=(600.0, 600.0, 600.0))])
    for each in found.days:
        assert [(item.tasks, item.minutes) for item in each.items] == [(1, 5.0)]
        assert "takes_longer" in codes(each.items[0])


def test_what_was_done_today_is_taken_off_todays_minutes_only() -> None:
    recent = done("rrrrrrrrrr")
    some = topic("a", recent=recent, n=10, tasks_today=10, seconds_today=750.0)
    found = plan(exam("a", minutes_per_day=30), [some])
    assert (found.days[0].tasks_done, found.days[0].minutes_done) == (10, 15.0)
    assert found.days[0].minutes <= 15
    assert found.days[1].minutes > 28


def test_who_has_done_todays_minutes_is_done_for_today() -> None:
    much = topic("a", recent=done("r"), n=99, tasks_today=60, seconds_today=3_000.0)
    found = plan(exam("a", minutes_per_day=30), [much])
    assert found.days[0].items == ()
    assert found.days[1].items


def test_days_far_ahead_are_told_in_sum() -> None:
    found = plan(exam(*FOUR, days=300))
    assert len(found.days) == DAYS_SHOWN
    assert found.later
    assert found.later.days == 240
    assert found.later.minutes / 240 == pytest.approx(29, abs=1)
    shown = sum(day.tasks for day in found.days)
    assert sum(each.tasks_planned for each in found.topics) == pytest.approx(shown + found.later.tasks, abs=4)


# Topics


def test_a_weak_topic_gets_more_time_than_a_strong_one() -> None:
    found = plan(exam("weak", "strong"), [topic("weak", (0.6, 0.3, 0.1)), topic("strong", (0.97, 0.95, 0.85))])
    times = {name: sum(item.minutes for item in items(found, name)) for name in ("weak", "strong")}
    assert times["weak"] > 1.5 * times["strong"] > 0


def test_every_topic_comes_back_on_several_days() -> None:
    names = [f"topic {n}" for n in range(12)]
    found = plan(exam(*names, days=14, minutes_per_day=20))
    for name in names:
        on = [day for day in found.days if any(item.topic == name for item in day.items)]
        assert len(on) >= 3
        assert len(on) < 14  # not every day: they are spread


def test_a_topic_that_goes_well_is_due_later_and_later() -> None:
    names = [f"topic {n}" for n in range(12)]
    fresh, known = topic("topic 0"), topic("topic 0", n=40, recent=done("rrrrr") + done("rrrrr", ago=timedelta(days=1)))
    first = []
    for state in (fresh, known):
        found = plan(exam(*names, days=14, minutes_per_day=20), [state, *(topic(name) for name in names[1:])])
        first.append(next(n for n, day in enumerate(found.days) if any(i.topic == "topic 0" for i in day.items)))
    assert first[0] < first[1]


def test_topics_are_mixed_within_a_day() -> None:
    for day in plan(exam(*FOUR, minutes_per_day=10)).days:
        assert len({item.topic for item in day.items}) >= 2


def test_the_last_day_reviews_every_topic() -> None:
    names = [f"topic {n}" for n in range(15)]
    last = plan(exam(*names, minutes_per_day=30)).days[-1]
    assert {item.topic for item in last.items} == set(names)
    assert all("review_before_exam" in codes(item) for item in last.items)


def test_where_a_day_is_too_short_for_all_topics_the_last_days_review_them() -> None:
    names = [f"topic {n}" for n in range(20)]
    found = plan(exam(*names, minutes_per_day=10))
    reviewed = {item.topic for day in found.days for item in day.items if "review_before_exam" in codes(item)}
    assert reviewed == set(names)
    assert not any("review_before_exam" in codes(item) for item in found.days[0].items)


# Difficulty and chances


def test_difficulty_rises_with_the_chance() -> None:
    found = items(plan(exam("a"), [topic("a", (0.8, 0.55, 0.3))], PracticeEffect(0.6, 0.1, 100)), "a")
    levels = [DIFFICULTIES.index(item.difficulty) for item in found]
    assert levels == sorted(levels)
    assert levels[0] == 0 < levels[-1]
    assert any("harder_by_now" in codes(item) for item in found)


def test_chances_rise_from_day_to_day_as_practice_helps_here() -> None:
    found = plan(exam("a", days=5), [topic("a", n=3)])
    medium = [item for item in items(found, "a") if item.difficulty == "medium"]
    assert all(item.chance_after > item.chance_before for item in medium)
    first = medium[0]
    expected = log(0.8 / 0.2) + EFFECT.gain * (log(4 + first.tasks) - log(4))
    assert first.chance_before == pytest.approx(0.8)
    assert first.chance_after == pytest.approx(1 / (1 + np.exp(-expected)))


def test_where_practice_does_not_help_the_plan_does_not_promise_it() -> None:
    found = plan(exam(*FOUR), effect=PracticeEffect(0.0, 0.05, 10_000))
    assert found.chance_at_exam == pytest.approx(found.chance_now)


def test_before_there_is_a_model_it_plans_and_promises_nothing_in_words() -> None:
    found = plan(exam("a", "b"), [unknown("a"), unknown("b")], PRIOR_EFFECT)
    assert all(item.difficulty == "easy" for item in found.days[0].items)
    assert found.summary.code == "plan_without_model"
    assert "%" not in sentence(IN_ENGLISH, found.summary)


def test_from_a_handful_of_tasks_nothing_is_promised() -> None:
    found = plan(exam("a", "b", days=3), [topic("a", n=4), topic("b", n=9)])
    assert found.summary.code == "plan_too_early"
    assert sentence(IN_ENGLISH, found.summary).endswith("5 finished tasks on each topic; 1 to go.")
    assert [each.missing for each in found.topics] == [1, 0]


def test_the_summary_says_where_it_leads() -> None:
    found = plan(exam("a", "b", days=3), [topic("a", n=5), topic("b", n=9)])
    said = sentence(IN_ENGLISH, found.summary)
    assert said.startswith("3 days to practise until Mar 5, 2026, 2 topics:")
    assert "from 80% to" in said


# When it goes wrong


def test_a_topic_that_goes_wrong_gets_easier_and_comes_again_on_later_days() -> None:
    before = [topic(name, recent=done("rrrr", ago=timedelta(days=1)), n=4) for name in FOUR]
    wrong = replace(before[0], recent=(*done("www"), *before[0].recent), n=7, tasks_today=3, seconds_today=90.0)
    earlier, later = plan(exam(*FOUR), before), plan(exam(*FOUR), [wrong, *before[1:]])
    assert items(earlier, "a")[0].difficulty == "medium"
    assert items(later, "a")[0].difficulty == "easy"
    assert "went_wrong_lately" in codes(items(later, "a")[0])
    assert minutes(later, "a", 1) > minutes(earlier, "a", 1)
    assert minutes(later, "a", 0) < minutes(earlier, "a", 0)  # not five times in a row


# Anything

topics_of_exams = st.lists(
    st.tuples(chance, chance, chance, st.floats(5, 600), histories, st.integers(0, 30), st.floats(0, 4_000)),
    min_size=1,
    max_size=20,
).map(
    lambda rows: [
        topic(
            f"topic {place}",
            tuple(row[:3]),
            seconds=(row[3], row[3] + 10, row[3] + 20),
            recent=row[4],
            tasks_today=row[5] if row[4] else 0,
            seconds_today=row[6] if row[4] and row[5] else 0.0,
        )
        for place, row in enumerate(rows)
    ]
)


@given(
    topics_of_exams,
    st.integers(1, 366),
    st.integers(5, 480),
    st.floats(0.7, 0.85),
    st.builds(PracticeEffect, st.floats(0, 3), st.just(0.1)),
)
def test_whatever_is_prepared_for_the_plan_is_sound(
    topics: list[TopicState], days: int, per_day: int, target: float, effect: PracticeEffect
) -> None:
    names = [each.topic for each in topics]
    aim = exam(*names, days=days, minutes_per_day=per_day, target=target)
    found = plan(aim, topics, effect)
    assert found == plan(aim, topics, effect)
    assert StudySchedule.of(aim, topics, NOW, effect).day(0) == found.days[0]
    assert [each.topic for each in found.topics] == names
    for place, day in enumerate(found.days):
        assert day.minutes <= per_day + 1e-6
        assert day.items or (place == 0 and day.tasks_done)
        assert len({item.topic for item in day.items}) == len(day.items)
        for item in day.items:
            assert item.tasks >= 1
            assert item.minutes >= 0
            assert 0 < item.chance_before <= item.chance_after < 1
            assert all(sentence(IN_ENGLISH, reason) for reason in item.reasons)
    for each, state in zip(found.topics, topics, strict=True):
        assert 0 < each.chance_now <= each.chance_at_exam + 1e-12 < 1 + 1e-12
        first = next(iter(items(found, each.topic)), None)
        if first and not wrong_lately(state, NOW):
            best = min(abs(said.correctness_prob - target) for said in state.chances.values())
            assert abs(first.chance_before - target) <= best + 1e-2


# Does it help?


@pytest.mark.parametrize(
    ("world", "seeds"),
    [(learners.Factors, 2), (learners.Tracing, 6), (learners.Forgetting, 2), (learners.Saturating, 2)],
)
def test_following_the_plan_raises_what_students_can_do_more_than_random_practice_of_the_same_minutes(
    world: type[learners.World], seeds: int
) -> None:
    """Worlds that know nothing of how a plan is made; what counts is the truth on the exam day. `python -m
    benchmarks.planning` has more students, and other ways to practise."""
    wanted = preparing.Preparation(preparing.FIRST.date() + timedelta(days=10), minutes_per_day=20)
    found = preparing.compared(world, ["plan", "random"], wanted, students=10, seeds=range(seeds))
    better, error = preparing.difference(found["plan"], found["random"])
    assert better > error
    assert found["random"].mean() > preparing.nothing_done(world, wanted, 10, range(seeds))


# Days of the student's own


@pytest.mark.parametrize(
    ("zone", "today"),
    [("Pacific/Auckland", "2026-11-29"), ("Pacific/Honolulu", "2026-11-28"), (None, "2026-11-28")],
)
def test_a_plan_begins_today_where_the_student_is(zone: str | None, today: str) -> None:
    now = datetime(2026, 11, 28, 20, 24, tzinfo=UTC)  # 09:24 on the 29th in Auckland
    aim = replace(exam("a"), exam_date=date(2026, 11, 30), time_zone=zone)
    found = planned(aim, [topic("a")], now, EFFECT)
    assert str(found.days[0].date) == str(found.today) == today
    assert found.days_left == (1 if zone == "Pacific/Auckland" else 2)
    on_the_day = planned(replace(aim, exam_date=found.today), [topic("a")], now, EFFECT)
    assert (on_the_day.days, on_the_day.summary.code) == ((), "exam_today")


def test_a_plan_over_a_change_of_the_clocks_misses_no_day() -> None:
    now = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # half past midnight on the 25th in Berlin, when clocks go back
    aim = replace(exam("a"), exam_date=date(2026, 10, 28), time_zone="Europe/Berlin")
    assert [day.date.day for day in planned(aim, [topic("a")], now, EFFECT).days] == [25, 26, 27]

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import AsyncDatabase, database_url
from app.core.db.statements import QueryFlow, run_sync
from app.core.languages import IN_ENGLISH
from app.core.settings import settings
from app.crud import student_sequences, student_states, student_totals, topic_history, topics, training_runs
from app.crud.student_totals import StudentHistory
from app.domain.actors import COMMAND_LINE
from app.domain.attempts import DIFFICULTIES
from app.domain.planning import PractisedTask, Suggestion, TopicState, Wishes
from app.domain.reasons import Reason, ReasonKind
from app.domain.tasks import TaskRequest
from app.ml.batches import Answered, asked_once
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.serving.model_order import ServingModels, serving_models
from app.ml.training.run import Order, train
from app.planning import difficulty as choosing
from app.planning import spacing
from app.planning.reasons import sentence
from app.planning.recommender import Moment, recommend, recommend_now, suggestions
from app.planning.topic_states import Last
from tests.school import Student, imported
from tests.topics import NOW, done, exam, topic, unknown

DAY = timedelta(days=1)


def suggested(*topics: TopicState, n: int = 5, target: float = 0.8, **more: Any) -> tuple[Suggestion, ...]:
    return suggestions(topics, Moment(NOW, target, **more), n)


def cells(found: Sequence[Suggestion]) -> list[tuple[str, str]]:
    return [(each.topic, each.difficulty) for each in found]


def codes(of: Suggestion) -> set[str]:
    return {reason.code for reason in of.reasons}


# Which difficulty


@pytest.mark.parametrize(("target", "difficulty"), [(0.7, "medium"), (0.75, "medium"), (0.8, "easy"), (0.85, "easy")])
def test_it_is_the_difficulty_nearest_to_the_success_rate_aimed_at(target: float, difficulty: str) -> None:
    found = suggested(topic(chances=(0.84, 0.72, 0.5)), n=1, target=target)
    assert cells(found) == [("algebra", difficulty)]
    assert "aims_at_target" in codes(found[0])


def test_where_all_is_too_hard_it_is_easy_and_says_so() -> None:
    found = suggested(topic(chances=(0.5, 0.3, 0.1)), n=1)
    assert cells(found) == [("algebra", "easy")]
    assert "stretch" in codes(found[0])


def test_where_all_is_easy_by_now_it_is_hard_and_says_so() -> None:
    found = suggested(topic(chances=(0.99, 0.97, 0.95)), n=1)
    assert cells(found) == [("algebra", "hard")]
    assert "above_target" in codes(found[0])


RESULTS = {"": "medium", "w": "medium", "wr": "medium", "ww": "easy", "rwww": "easy", "rrrww": "medium"}


@pytest.mark.parametrize(("results", "difficulty"), RESULTS.items())
def test_after_more_wrong_answers_than_bad_luck_it_is_easier_until_it_goes_right_again(
    results: str, difficulty: str
) -> None:
    found = suggested(topic(recent=done(results)), n=1)[0]
    assert found.difficulty == difficulty
    assert ("easier_for_now" in codes(found)) == ("went_wrong_lately" in codes(found)) == (difficulty == "easy")


def test_what_went_wrong_long_ago_is_forgiven() -> None:
    assert cells(suggested(topic(recent=done("www", ago=20 * DAY)), n=1)) == [("algebra", "medium")]


def test_a_hard_task_that_went_wrong_leads_to_medium_ones() -> None:
    strong = topic(chances=(0.97, 0.9, 0.8), recent=done("ww", "hard"))
    assert cells(suggested(strong, n=1)) == [("algebra", "medium")]


# Which topic


def test_the_weakest_topic_comes_first() -> None:
    weak, fair, strong = (topic(name, (p, p, p)) for name, p in (("weak", 0.3), ("fair", 0.6), ("strong", 0.9)))
    assert [each.topic for each in suggested(strong, weak, fair, n=3)] == ["weak", "fair", "strong"]


def test_an_exam_comes_before_everything_else() -> None:
    found = suggested(topic("a", (0.4, 0.3, 0.2)), topic("b", n=5), topic("c"), n=3, exam=exam("b"))
    assert found[0].topic == "b"
    assert {"for_exam"} <= codes(found[0])
    assert not {"for_exam", "weak_for_exam"} & codes(found[1])


def test_four_tasks_are_too_few_to_say_that_it_goes_well() -> None:
    found = suggested(topic("b", recent=done("rrrr")), exam=exam("b"))
    assert "belongs_to_exam" in codes(found[0])
    assert "for_exam" not in codes(found[0])


def test_a_weak_topic_of_the_exam_says_so() -> None:
    found = suggested(topic("b", (0.8, 0.5, 0.2)), exam=exam("b"))
    assert {"exam": "Finals", "chance": 0.5} in [reason.values for reason in found[0].reasons]


def test_what_was_not_practised_for_long_comes_before_what_was_practised_yesterday() -> None:
    old, new = topic("old", recent=done("rrr", ago=9 * DAY)), topic("new", recent=done("rrr", ago=DAY))
    found = suggested(new, old, n=2)
    assert [each.topic for each in found] == ["old", "new"]
    assert Reason(ReasonKind.NOT_PRACTISED_FOR_DAYS, {"days": 9}) in found[0].reasons


def test_a_topic_that_the_models_take_for_easy_but_that_goes_wrong_comes_first() -> None:
    """LNIRT knows one ability for all topics."""
    yesterday = DAY + timedelta(hours=1)
    wrong, right = (
        topic("wrong", recent=done("wwww", ago=yesterday)),
        topic("right", recent=done("rrrr", ago=yesterday)),
    )
    assert [each.topic for each in suggested(right, wrong, n=2)] == ["wrong", "right"]


def test_a_topic_that_goes_wrong_is_not_hammered_but_comes_first_tomorrow() -> None:
    now = done("wwwww", ago=timedelta(minutes=1))
    failing = topic("a", recent=now, tasks_today=5)
    others = [topic(name, recent=done("rrrr", ago=DAY)) for name in "bcd"]
    today = suggestions([failing, *others], Moment(NOW, 0.8, last=Last("a", now[0])), 4)
    assert today[0].topic != "a"
    assert "a" in {each.topic for each in today}
    tomorrow = suggestions([replace(failing, tasks_today=0), *others], Moment(NOW + DAY, 0.8), 4)
    assert tomorrow[0].topic == "a"
    assert tomorrow[0].difficulty == "easy"


def test_the_task_just_done_is_not_suggested_again_at_once() -> None:
    just = done("r", "medium", timedelta(seconds=5))
    for several in ([topic("a", recent=just)], [topic("a", recent=just), topic("b")]):
        found = suggestions(several, Moment(NOW, 0.8, last=Last("a", just[0])), 5)
        assert ("a", "medium") not in cells(found)
        assert found
    assert found[0].topic == "b"
    assert Reason(ReasonKind.SPREADS_OVER_TOPICS, {"topic": "a"}) in found[0].reasons


def test_the_next_day_it_may_be_the_same_again() -> None:
    yesterday = done("r", "medium", DAY)
    moment = Moment(NOW, 0.8, last=Last("algebra", yesterday[0]))
    assert cells(suggestions([topic(recent=yesterday)], moment, 1)) == [("algebra", "medium")]


def test_every_topic_comes_once_before_any_comes_twice() -> None:
    found = suggested(topic("a", (0.85, 0.75, 0.65)), topic("b", (0.85, 0.75, 0.65)), n=4)
    assert {each.topic for each in found[:2]} == {each.topic for each in found[2:]} == {"a", "b"}
    assert len(set(cells(found))) == 4
    assert "another_difficulty" in codes(found[2])


def test_a_second_suggestion_for_a_topic_is_no_hopeless_one() -> None:
    assert cells(suggested(topic(chances=(0.8, 0.3, 0.05)), n=5)) == [("algebra", "easy")]


def test_before_there_is_a_model_it_starts_easy_and_says_that_it_knows_nothing() -> None:
    found = suggested(unknown("a"), unknown("b"), n=2, exam=exam("a"))
    assert cells(found) == [("a", "easy"), ("b", "easy")]
    assert codes(found[0]) == {"belongs_to_exam", "new_topic", "no_model_yet"}


def test_before_there_is_a_model_wrong_answers_still_count() -> None:
    recent = done("www", ago=DAY)
    found = suggested(unknown("a", n=3, recent=done("rrr", ago=DAY)), unknown("b", n=3, recent=recent), n=2)
    assert cells(found)[0] == ("b", "easy")
    assert "went_wrong_lately" in codes(found[0])


def test_without_topics_there_are_no_suggestions() -> None:
    assert suggested() == ()


# Anything


chance = st.floats(0.01, 0.99)
histories = st.lists(
    st.builds(
        lambda difficulty, right, hours: PractisedTask(difficulty, right, NOW - timedelta(hours=hours)),
        st.sampled_from(DIFFICULTIES),
        st.booleans(),
        st.floats(0, 2_000),
    ),
    max_size=10,
).map(lambda found: tuple(sorted(found, key=lambda each: each.at, reverse=True)))
many_topics = st.lists(st.tuples(chance, chance, chance, histories, st.integers(0, 500)), max_size=8).map(
    lambda rows: [
        topic(f"topic {place}", tuple(row[:3]), recent=row[3], tasks_today=row[4] if row[3] else 0)
        for place, row in enumerate(rows)
    ]
)


@given(many_topics, st.floats(0.7, 0.85), st.integers(1, 20), st.booleans())
def test_whatever_was_practised_suggestions_are_sound(
    topics: list[TopicState], target: float, n: int, with_exam: bool
) -> None:
    with_history = [each for each in topics if each.recent]
    last = Last(with_history[0].topic, with_history[0].recent[0]) if with_history else None
    moment = Moment(NOW, target, exam("topic 0", "topic 3") if with_exam else None, last)
    found = suggestions(topics, moment, n)
    assert found == suggestions(topics[::-1], moment, n)  # the order of what is known doesn't matter
    assert min(n, len(topics)) <= len(found) <= n
    assert len(set(cells(found))) == len(found)
    assert len({each.topic for each in found[: len(topics)]}) == min(len(topics), len(found))
    for each in found:
        assert each.reasons
        assert all(sentence(IN_ENGLISH, reason) for reason in each.reasons)
    for each in found[: len(topics)]:
        state = next(one for one in topics if one.topic == each.topic)
        if choosing.wrong_lately(state, NOW) or (moment.just_done and moment.just_done.topic == each.topic):
            continue
        best = min(abs(said.correctness_prob - target) for said in state.chances.values())
        assert abs(each.prediction.correctness_prob - target) <= best + 1e-6


def test_names_are_quoted_as_they_were_typed() -> None:
    said = sentence(IN_ENGLISH, Reason(ReasonKind.SPREADS_OVER_TOPICS, {"topic": "{0} {topic} %s %(topic)s"}))
    assert said.startswith("A change after {0} {topic} %s %(topic)s:")


# When a topic is due again


def good_days(n: int) -> tuple[PractisedTask, ...]:
    return tuple(each for day in range(n) for each in done("rrr", ago=day * DAY))


def test_every_good_day_makes_a_topic_due_later() -> None:
    strengths = [spacing.strength(good_days(n)) for n in (1, 2, 3, 4)]
    halves = [next(day for day in range(99) if spacing.due(day, strength) >= 0.5) for strength in strengths]
    assert halves == [2, 4, 8, 16]


def test_many_tasks_in_one_day_count_as_one_good_day() -> None:
    assert spacing.strength(done("rrrrrrrrrr", ago=timedelta(hours=3))) == 1


def test_what_goes_wrong_is_due_sooner() -> None:
    assert spacing.due(1, spacing.strength(done("www"))) > spacing.due(1, spacing.strength(done("rrr")))


@given(histories, st.floats(0, 1e5))
def test_due_is_a_share(recent: tuple[PractisedTask, ...], days: float) -> None:
    assert 0 <= spacing.due(days, spacing.strength(recent)) <= 1


# Through the database


@pytest.fixture
def serving(service: TestClient, db: Session, tmp_path: Path) -> ServingModels:
    """LNIRT, trained on a simulated school."""
    imported(db, simulate(simulated_school(6, seed=1), 30, seed=1).attempts)
    run = training_runs.ask(db)
    db.commit()
    order = Order(run, database_url(), str(tmp_path / "models"), 5, 10, 10, forced=True, kinds=["lnirt"])
    assert train(order, lambda step: None)["outcome"] == "published"
    serving_models().refresh()
    return serving_models()


def asked_async(serving: ServingModels, student: UUID, wishes: Wishes, n: int) -> Any:
    async def ask() -> Any:
        database = AsyncDatabase()
        try:
            return await recommend(serving, database, student, wishes, n)
        finally:
            await database.close()

    return asyncio.run(ask())


def whose(student: Student) -> UUID:
    return UUID(student.get("/users/me").json()["id"])


def test_both_doors_suggest_the_same_and_what_a_task_would_be_told(
    serving: ServingModels, student: Callable[..., Student], db: Session
) -> None:
    ada = student()
    for name in ("algebra", "geometry", "algebra", "statistics"):
        ada.do(name != "geometry", topic=name)
    found = recommend_now(serving, db, whose(ada), Wishes(), 6)
    db.commit()
    assert asked_async(serving, whose(ada), Wishes(), 6) == found
    assert {each.topic for each in found.suggestions[:3]} == {"algebra", "geometry", "statistics"}
    for each in found.suggestions:
        told = ada.ask(each.topic, each.difficulty).json()
        assert each.prediction.correctness_prob == pytest.approx(told["correctness_prob"], abs=1e-9)
        assert each.prediction.time_high_seconds == pytest.approx(told["time_high_seconds"], rel=1e-9)
        assert each.prediction.model_version == told["model_version"] == "v1.0"


def test_who_practises_one_topic_gets_five_tasks_all_the_same_their_own_first(
    serving: ServingModels, student: Callable[..., Student], db: Session
) -> None:
    ada = student()
    ada.do(topic="algebra")
    found = recommend_now(serving, db, whose(ada), Wishes(), 5)
    topics = [each.topic for each in found.suggestions]
    assert len(topics) == 5
    assert topics[0] == "algebra"
    assert topics == sorted(topics, key=lambda topic: topic != "algebra")
    for each in found.suggestions:
        told = [reason.code for reason in each.reasons]
        assert ("others_practise" in told) == (each.topic != "algebra")
    assert found.remark is None


def test_what_is_known_before_a_task_is_what_it_would_be_created_with(db: Session) -> None:
    attempts = simulate(simulated_school(1, seed=2), 40, seed=2).attempts
    imported(db, attempts)
    who = db.scalar(text("SELECT user_id FROM practice_tasks LIMIT 1"))
    asked = [TaskRequest(who, name, each) for name in (*attempts.topics, "never seen") for each in DIFFICULTIES]
    thought_of = run_sync(topic_history.histories(who, asked), db)
    for each, past in zip(asked, thought_of, strict=True):
        values = student_totals.question(each, None)
        alone = student_totals.past_of(student_totals.PAST.rows_sync(db, **values)[0])
        assert np.array_equal(past.groups, alone.groups)
        assert np.array_equal(past.session_tasks, alone.session_tasks)
        assert past.since == pytest.approx(alone.since, abs=60)
        assert past.serving == alone.serving


def test_suggesting_stores_no_task_and_counts_no_prediction(
    serving: ServingModels, student: Callable[..., Student], db: Session
) -> None:
    ada = student()
    ada.do(topic="algebra")

    def stored() -> list[Any]:
        counted = [line for line in ada.client.get("/metrics").text.splitlines() if "predictions_total{" in line]
        names = ("practice_tasks", "student_totals", "shadow_predictions", "exam_plans", "training_runs")
        return [*counted, *(db.scalar(text(f"SELECT count(*) FROM {name}")) for name in names)]

    before = stored()
    assert ada.get("/recommendations").json()["items"]
    recommend_now(serving, db, whose(ada), Wishes(), 5)
    assert stored() == before


def test_a_students_answers_are_caught_up_with_once_not_for_every_prediction() -> None:
    past = StudentHistory(NOW, (), np.zeros((3, 1, 8)) + 4, np.zeros(1), np.zeros((1, 3)))
    asked: list[object] = []

    def prediction() -> QueryFlow[object]:
        mine = {"user_id": 1, "kind": "lnirt", "version_id": 2, "changed_at": NOW}
        kept = yield student_states.KEPT, mine
        if kept and kept[0]["n"] == past.n:
            return kept[0]["state"]
        yield student_sequences.PRACTISED, {"user_id": 1, "after": 0, "through": 1}
        yield student_states.KEEP, {**mine, "n": 3, "through": 1, "state": b"caught up"}
        return b"caught up"

    def answered(flow: QueryFlow[object]) -> object:
        try:
            statement, _ = next(flow)
            while True:
                asked.append(statement)
                statement, _ = flow.send([])
        except StopIteration as end:
            return end.value

    known: Answered = {}
    assert [answered(asked_once(prediction(), past, known)) for _ in range(5)] == [b"caught up"] * 5
    assert asked == [student_states.KEPT, student_sequences.PRACTISED, student_states.KEEP]


def test_topics_named_are_the_only_ones(serving: ServingModels, student: Callable[..., Student], db: Session) -> None:
    ada = student()
    ada.do(topic="algebra")
    found = recommend_now(serving, db, whose(ada), Wishes(0.75, ("geometry", "never heard of")), 5)
    assert {each.topic for each in found.suggestions} == {"geometry", "never heard of"}
    assert (found.target, found.exam) == (0.75, None)


def finished(db: Session, name: str, *students: UUID) -> None:
    """A task of each, on this topic."""
    db.execute(
        text("""INSERT INTO practice_tasks (user_id, topic, difficulty, created_at, completed, is_correct,
                                            actual_time_seconds, completed_at)
                SELECT unnest(CAST(:students AS uuid[])), :topic, 'easy', now(), true, true, 20, now()"""),
        {"students": [str(each) for each in students], "topic": name},
    )
    db.commit()


def some(n: int) -> list[UUID]:
    return [uuid4() for _ in range(n)]


def test_whoever_has_done_nothing_gets_what_several_others_practise_but_nothing_that_two_have_typed(
    db: Session,
) -> None:
    for people, name in ((4, "Waves"), (3, "Optics"), (2, "my divorce")):
        finished(db, name, *some(people))
    finished(db, "one who does a lot", *[UUID(int=9)] * 5)
    found = recommend_now(serving_models(), db, uuid4(), Wishes(), 5)
    assert {each.topic for each in found.suggestions} == {"Waves", "Optics"}
    assert found.remark == Reason(ReasonKind.NEWCOMER)
    waves = next(each for each in found.suggestions if each.topic == "Waves")
    assert Reason(ReasonKind.OTHERS_PRACTISE, {"students": 4}) in waves.reasons


def test_oneself_does_not_count_among_the_others(db: Session) -> None:
    me = uuid4()
    finished(db, "Waves", me, *some(2))
    assert run_sync(topic_history.popular_topics(me), db) == {}
    assert run_sync(topic_history.popular_topics(uuid4()), db) == {"Waves": 3}


def accounts_of(db: Session, n: int, name: str, *, age: str, tasks: int, days: int) -> None:
    """Students with accounts so old, who have each finished so many tasks of the topic on so many days."""
    db.execute(
        text("""
        WITH made AS (
            INSERT INTO users (email, password_hash, created_at)
            SELECT gen_random_uuid() || '@example.com', '', now() - CAST(:age AS interval)
            FROM generate_series(1, :n) RETURNING id)
        INSERT INTO practice_tasks (user_id, topic, difficulty, created_at, completed, is_correct,
                                    actual_time_seconds, completed_at)
        SELECT id, :name, 'easy', at, true, true, 20, at + interval '20 seconds'
        FROM made CROSS JOIN generate_series(0, :tasks - 1) AS task
        CROSS JOIN LATERAL (SELECT now() - interval '1 day' * (task % :days) - interval '1 minute' AS at) AS moment"""),
        {"n": n, "name": name, "age": age, "tasks": tasks, "days": days},
    )
    db.commit()


def others(db: Session) -> set[str]:
    db.rollback()
    return set(run_sync(topic_history.popular_topics(uuid4()), db))


def test_new_accounts_put_nothing_on_anybodys_page_however_many_they_are(
    student: Callable[..., Student], db: Session
) -> None:
    for name in ("eve", "mallory", "trudy", "oscar", "sybil", "craig"):
        student(name).do(topic="Visit evil.example")
    accounts_of(db, 30, "Visit evil.example", age="6 days", tasks=60, days=5)
    accounts_of(db, 30, "Visit evil.example", age="30 days", tasks=19, days=5)
    accounts_of(db, 30, "Visit evil.example", age="30 days", tasks=60, days=2)
    assert "Visit evil.example" not in student().get("/recommendations").text


def test_what_enough_established_students_practise_is_suggested_to_others(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts_of(db, 4, "Waves", age="8 days", tasks=20, days=3)
    assert others(db) == set()
    accounts_of(db, 1, "Waves", age="8 days", tasks=20, days=3)
    assert others(db) == {"Waves"}
    monkeypatch.setenv("ESTABLISHED_STUDENTS", "0")
    settings.cache_clear()
    assert others(db) == set()


def test_a_topic_that_a_service_key_or_an_import_brought_is_suggested(
    school: Student, student: Callable[..., Student], db: Session
) -> None:
    for pupil in some(3):
        school.do(topic="Optics", user_id=str(pupil))
    assert others(db) == {"Optics"}
    assert "Optics" in student().get("/recommendations").text


def test_an_admins_word_comes_first(db: Session, student: Callable[..., Student]) -> None:
    finished(db, "Waves", *some(9))
    student("ben").do(topic="Optics")
    assert others(db) == {"Waves"}
    topics.approve(db, "Optics", COMMAND_LINE)
    topics.hide(db, "Waves", COMMAND_LINE)
    db.commit()
    assert others(db) == {"Optics"}
    topics.show(db, "Optics", COMMAND_LINE)
    topics.show(db, "Waves", COMMAND_LINE)
    db.commit()
    assert others(db) == {"Waves"}


def test_ones_own_topics_are_ones_own_though_they_are_hidden(student: Callable[..., Student], db: Session) -> None:
    ada = student()
    ada.do(topic="Waves")
    topics.hide(db, "Waves", COMMAND_LINE)
    db.commit()
    assert {each["topic"] for each in ada.get("/recommendations").json()["items"]} == {"Waves"}


def test_where_nobody_practises_anything_it_says_what_to_do(db: Session) -> None:
    found = recommend_now(serving_models(), db, uuid4(), Wishes(), 5)
    assert found.suggestions == ()
    assert found.remark == Reason(ReasonKind.NOTHING_PRACTISED)


def test_who_practises_hundreds_of_topics_gets_a_few_of_them(db: Session) -> None:
    me = uuid4()
    db.execute(
        text("""INSERT INTO practice_tasks (user_id, topic, difficulty, created_at, completed, is_correct,
                                            actual_time_seconds, completed_at)
                SELECT :me, 'topic ' || n % 400, 'easy', now() - n * interval '1 minute', true, n % 3 = 0, 20,
                       now() - n * interval '1 minute' + interval '20 seconds'
                FROM generate_series(1, 4000) AS n"""),
        {"me": me},
    )
    db.commit()
    found = recommend_now(serving_models(), db, me, Wishes(), 20)
    assert len({each.topic for each in found.suggestions}) == 20

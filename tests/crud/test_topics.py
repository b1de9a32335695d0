"""An admin renames, merges, approves and hides topics: nothing is lost or counted twice, and it stands in the audit."""

import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.crud import audit, imports, topics, training_runs
from app.domain.actors import COMMAND_LINE
from app.domain.errors import NotAccepted, TopicNotFound, TopicTaken
from app.domain.interactions import Interaction
from app.ml.evaluation.simulated import school, simulate
from app.ml.training.run import Order, train
from tests.school import Student, imported

TOTALS = "SELECT user_id, scope, key, n, n_correct, microseconds FROM student_totals ORDER BY 1, 2, 3"
MADE_ANEW = """
    SELECT user_id, scope, key, count(*), count(*) FILTER (WHERE is_correct),
        sum(round(actual_time_seconds * 1e6))::bigint
    FROM practice_tasks CROSS JOIN LATERAL
        (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id)) AS of (scope, key)
    WHERE completed AND key IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""


@pytest.fixture(autouse=True)
def small_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few tasks take several."""
    monkeypatch.setattr(topics, "TASKS_PER_STATEMENT", 7)


@pytest.fixture
def tasks(db: Session) -> int:
    return imported(db, simulate(school(5, ("Algebra", "algebar", "Waves"), seed=1), 20, seed=1).attempts)


def rows(db: Session, sql: str, **values: Any) -> list[Any]:
    return [tuple(row) for row in db.execute(text(sql), values)]


def names(db: Session) -> dict[str, int]:
    return {each.name: each.finished for each in topics.listed(db)}


def test_merged_topics_are_one_for_tasks_and_totals(db: Session, tasks: int) -> None:
    before = names(db)
    db.execute(text("INSERT INTO student_states VALUES (gen_random_uuid(), 'lnirt', 1, 1, now(), '')"))
    db.execute(
        text("""INSERT INTO student_states SELECT DISTINCT user_id, 'lnirt', 1, 1, now(), CAST('' AS bytea)
                FROM practice_tasks WHERE topic = 'algebar'""")
    )
    change = topics.merge(db, "algebar", "Algebra", COMMAND_LINE)
    assert change.tasks == before["algebar"]
    assert names(db) == {"Algebra": before["Algebra"] + before["algebar"], "Waves": before["Waves"]}
    assert rows(db, TOTALS) == rows(db, MADE_ANEW)
    assert rows(db, "SELECT count(*) FROM student_states") == [(1,)]  # of nobody who has done a task of it
    assert sum(names(db).values()) == tasks


def test_open_tasks_exam_plans_and_decisions_go_along(db: Session, student: Callable[..., Student]) -> None:
    ada = student()
    task = ada.ask("algebar").json()["id"]
    for asked in (["algebar", "Algebra"], ["Waves", "algebar"]):
        day = (date.today() + timedelta(days=9)).isoformat()
        body = {"exam_date": day, "topics": asked, "minutes_per_day": 30}
        ada.client.post("/preparation/plans", json=body, headers=ada.headers).raise_for_status()
    topics.approve(db, "algebar", COMMAND_LINE)
    change = topics.merge(db, "algebar", "Algebra", COMMAND_LINE)
    db.commit()
    assert (change.tasks, change.plans) == (1, 2)
    assert ada.get(f"/practice-tasks/{task}").json()["topic"] == "Algebra"
    plans = ada.get("/preparation/plans").json()["items"]
    assert [plan["topics"] for plan in plans] == [["Algebra"], ["Waves", "Algebra"]]
    for plan in plans:
        outlook = ada.get(f"/preparation/plans/{plan['id']}").json()["outlook"]
        assert all(each["chance_at_start"] is not None for each in outlook)
    topics.approve(db, "Algebra", COMMAND_LINE)
    topics.rename(db, "Algebra", "Linear algebra", COMMAND_LINE)
    assert [(each.name, each.state) for each in topics.listed(db)] == [("Linear algebra", "approved")]
    db.commit()
    assert ada.complete(task).json()["topic"] == "Linear algebra"


def test_a_name_that_is_taken_or_that_nobody_has_written_is_refused(db: Session, tasks: int) -> None:
    with pytest.raises(TopicTaken):
        topics.rename(db, "algebar", "Algebra", COMMAND_LINE)
    with pytest.raises(TopicNotFound):
        topics.merge(db, "algebar", "Algebr", COMMAND_LINE)
    with pytest.raises(NotAccepted):
        topics.merge(db, "algebar", "algebar", COMMAND_LINE)
    for act in (topics.approve, topics.hide, topics.show):
        with pytest.raises(TopicNotFound):
            act(db, "nobody wrote this", COMMAND_LINE)
    assert audit.newest(db, 9) == []
    assert sum(names(db).values()) == tasks


def test_every_act_stands_in_the_audit_once(db: Session, tasks: int) -> None:
    n = names(db)["algebar"]
    topics.rename(db, "algebar", "ALGEBAR", COMMAND_LINE)
    topics.merge(db, "ALGEBAR", "Algebra", COMMAND_LINE)
    for act in (topics.approve, topics.hide, topics.show):
        act(db, "Algebra", COMMAND_LINE)
    acts = [(each.act, each.subject, each.details) for each in reversed(audit.newest(db, 9))]
    assert acts == [
        ("topic renamed", "algebar", {"to": "ALGEBAR", "tasks": n, "plans": 0}),
        ("topic merged", "ALGEBAR", {"into": "Algebra", "tasks": n, "plans": 0}),
        *((f"topic {act}", "Algebra", {}) for act in ("approved", "hidden", "shown")),
    ]


def test_what_was_stored_before_there_were_rules_can_be_renamed(db: Session) -> None:
    db.execute(text("INSERT INTO practice_tasks (user_id, topic, difficulty) VALUES (:u, :t, 'easy')"),
               {"u": uuid4(), "t": "Al\u200bgebra"})  # fmt: skip
    topics.rename(db, "Al\u200bgebra", "Algebra", COMMAND_LINE)
    assert [(each.name, each.open) for each in topics.listed(db)] == [("Algebra", 1)]


def test_results_that_come_while_topics_are_merged_count_once(db: Session, school_students: list[Student]) -> None:
    open_tasks = [(each, each.ask("algebar").json()["id"]) for each in school_students for _ in range(6)]
    school_students[0].do(topic="Algebra")
    answers: list[int] = []

    def finish(part: int) -> None:
        answers.extend(each.complete(task).status_code for each, task in open_tasks[part::3])

    threads = [threading.Thread(target=finish, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    with new_session().begin() as session:
        topics.merge(session, "algebar", "Algebra", COMMAND_LINE)
    for thread in threads:
        thread.join()
    assert answers == [200] * len(open_tasks)
    assert names(db) == {"Algebra": len(open_tasks) + 1}
    assert rows(db, TOTALS) == rows(db, MADE_ANEW)


def test_tasks_whose_import_ends_while_topics_are_merged_are_merged_too(db: Session) -> None:
    def rows_of(first: int) -> list[Interaction]:
        return [
            Interaction(k.to_bytes(16), bytes(16), None, "algebar", "easy", True, 2.0, 1.7e9 + k)
            for k in range(first, first + 20)
        ]

    def merge() -> None:
        with new_session().begin() as session:
            topics.merge(session, "algebar", "Algebra", COMMAND_LINE)

    imports.add(db, [*rows_of(1), Interaction(bytes(16), bytes(16), None, "Algebra", "easy", True, 2.0, 1.7e9)])
    db.commit()
    imports.add(db, rows_of(100))
    merging = threading.Thread(target=merge)
    merging.start()
    with new_session()() as looking:
        while not looking.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")) and merging.is_alive():
            time.sleep(0.01)
    db.commit()
    merging.join()
    assert names(db) == {"Algebra": 41}
    assert rows(db, TOTALS) == rows(db, MADE_ANEW)


@pytest.fixture
def school_students(student: Callable[..., Student]) -> list[Student]:
    return [student(name) for name in ("ada", "ben", "cy")]


def test_the_next_training_learns_the_merged_topic_from_scratch(
    db: Session, environment: Path, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ml.training.dataset.ALWAYS", 10)  # else a training of so few tasks is from scratch anyway
    assert trained(db, environment) == (9, True)
    assert trained(db, environment) == (9, False)
    topics.merge(db, "algebar", "Algebra", COMMAND_LINE)
    db.commit()
    assert trained(db, environment) == (6, True)
    assert trained(db, environment) == (6, False)


def trained(db: Session, folder: Path) -> tuple[int, bool]:
    """How many pairs of topic and difficulty a training learnt, and whether it was from scratch."""
    run = training_runs.ask(db)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 99"))
    db.commit()
    order = Order(run, database_url(), str(folder / "models"), 5, 10, 10, forced=False, kinds=["embedding_v2", "lnirt"])
    train(order, lambda step: None)
    db.execute(text("UPDATE training_runs SET kinds = NULL WHERE id = :id"), {"id": run})  # as if of all there are
    from_scratch, report = db.execute(
        text("""SELECT from_scratch, report FROM training_runs JOIN model_versions ON run_id = training_runs.id
                WHERE run_id = :id AND kind = 'lnirt'"""), {"id": run}
    ).one()  # fmt: skip
    db.commit()
    return report["items"], from_scratch


def test_the_list_is_in_pages_and_can_be_searched(db: Session, tasks: int) -> None:
    topics.hide(db, "Waves", COMMAND_LINE)
    assert {each.name for each in topics.listed(db, search="ALGE")} == {"Algebra", "algebar"}
    assert [each.name for each in topics.listed(db, state="hidden")] == ["Waves"]
    assert {each.name for each in topics.listed(db, search="E\u0301")} == set()
    topics.rename(db, "algebar", "Größe", COMMAND_LINE)
    assert {each.name for each in topics.listed(db, search="GRÖSSE")} == {"Größe"}
    assert {each.name for each in topics.listed(db, search="Algeba")} == {"Größe"}  # as it was called
    topics.rename(db, "Größe", "algebar", COMMAND_LINE)
    assert {each.name for each in topics.listed(db, state="none")} == {"Algebra", "algebar"}
    pages = [topics.listed(db, limit=1, offset=offset) for offset in range(4)]
    assert [len(page) for page in pages] == [1, 1, 1, 0]
    assert all(each.without_account == each.students for page in pages for each in page)

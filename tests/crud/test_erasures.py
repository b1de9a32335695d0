"""A student is erased: nothing stays behind, whatever happens in the same moment, and the counter stays right."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.core.db.statements import Statement, run_sync
from app.crud import accounts, erasures, model_tracker, model_versions, practice_tasks, serving_changes
from app.domain.actors import Actor
from app.domain.errors import NotSignedIn, TaskNotFound
from app.domain.tasks import Claim, TaskRequest
from app.ml.embedding_service import complete, predict_and_save
from app.ml.evaluation.simulated import school, simulate
from app.ml.serving.model_order import serving_models
from tests.school import imported
from tests.versions import serving, version

TABLES = ("practice_tasks", "student_totals", "student_states")
LEAST = 10


@pytest.fixture
def ada(db: Session) -> UUID:
    made = accounts.register(db, "ada@example.com", "Ada", "a hash").id
    db.commit()
    return made


@pytest.fixture
def other() -> Iterator[Session]:
    with new_session()() as session:
        yield session


def ask(db: Session, student: UUID, claim: Claim | None = None) -> UUID:
    task = run_sync(predict_and_save(serving_models(), TaskRequest(student, "Calculus", "easy"), claim), db)
    db.commit()
    return task.id


def do(db: Session, student: UUID, n: int = 1) -> None:
    for _ in range(n):
        run_sync(complete(ask(db, student), None, True, 30.0), db)
        db.commit()


def erase(db: Session, student: UUID) -> erasures.Erased:
    erased = erasures.erase(db, student, LEAST)
    db.commit()
    return erased


def left(db: Session, student: UUID) -> int:
    db.rollback()
    of_tables = [f"(SELECT count(*) FROM {table} WHERE user_id = :student)" for table in TABLES]
    of_tables += [
        "(SELECT count(*) FROM users WHERE id = :student)",
        "(SELECT count(*) FROM shadow_predictions WHERE task_id NOT IN (SELECT id FROM practice_tasks))",
    ]
    n: int = db.scalar(text(f"SELECT {' + '.join(of_tables)}"), {"student": student})
    db.rollback()
    return n


def counted(db: Session) -> tuple[int, int, int]:
    """The last training's tasks, those since, and all that are completed."""
    row = db.execute(
        text("""SELECT n_samples_last_training, n_samples_since_training,
                       (SELECT count(*) FROM practice_tasks WHERE completed) FROM embedding_model_tracker""")
    ).one()
    db.rollback()
    return tuple(row)


def keep_state(db: Session, student: UUID) -> dict[str, Any]:
    """What a model does between the two round trips of a request."""
    from app.crud import student_states

    values = {"kind": "lnirt", "version_id": 1, "n": 1, "state": b"", "user_id": student}
    at = db.scalar(text("SELECT now()"))
    of = db.scalar(text("SELECT changed_at FROM student_totals WHERE user_id = :me AND scope = 'all'"), {"me": student})
    values["changed_at"] = of
    student_states.KEEP.rows_sync(db, through=at, **values)
    return values


def test_everything_goes_and_nothing_of_others(db: Session, ada: UUID) -> None:
    bob = uuid4()
    do(db, ada, 3)
    do(db, bob, 2)
    ask(db, ada)
    for student in (ada, bob):
        keep_state(db, student)
    made = version(db)
    db.execute(
        text("""INSERT INTO shadow_predictions (task_id, model_version_id, correctness_prob, estimated_time_seconds)
                SELECT id, :version, 0.5, 60 FROM practice_tasks"""),
        {"version": made},
    )
    db.commit()
    before = left(db, bob)
    assert (before, left(db, ada)) == (2 + 3 + 1, 4 + 3 + 1 + 1)
    erased = erase(db, ada)
    assert (erased.tasks, erased.completed, erased.account) == (4, 3, True)
    assert (left(db, ada), left(db, bob)) == (0, before)
    assert db.scalar(text("SELECT count(*) FROM shadow_predictions")) == 2
    assert db.scalar(text("SELECT count(*) FROM erasures")) == 1
    again = erase(db, ada)
    assert (again.tasks, again.account) == (0, False)


def test_somebody_who_never_finished_a_task_is_known_to_no_version(db: Session, ada: UUID) -> None:
    ask(db, ada)
    assert erase(db, ada).account
    assert left(db, ada) == 0
    assert model_versions.last_erasure(db) == 0


@pytest.mark.parametrize(("last", "since", "wanted"), [(12, 3, (7, 3)), (3, 12, (0, 10)), (0, 15, (0, 10))])
def test_the_counter_adds_up_and_still_triggers(
    db: Session, ada: UUID, last: int, since: int, wanted: tuple[int, int]
) -> None:
    do(db, ada, 5)
    do(db, uuid4(), 10)
    db.execute(
        text("UPDATE embedding_model_tracker SET n_samples_last_training = :last, n_samples_since_training = :since"),
        {"last": last, "since": since},
    )
    db.commit()
    erase(db, ada)
    assert counted(db) == (*wanted, 10)


def test_the_counter_survives_where_ops_have_emptied_it(db: Session, ada: UUID) -> None:
    do(db, ada, 2)
    do(db, uuid4())
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = NULL"))
    db.commit()
    erase(db, ada)
    assert counted(db) == (1, 0, 1)


def test_a_task_asked_before_and_stored_after_is_not_stored(db: Session, other: Session, ada: UUID) -> None:
    flow = predict_and_save(serving_models(), TaskRequest(ada, "Calculus", "easy"), Claim(student=ada))
    insert, row = next(flow)
    while insert is not practice_tasks.INSERT:
        insert, row = flow.send(insert.rows_sync(db, **row))
    db.commit()
    erase(other, ada)
    with pytest.raises(NotSignedIn, match="is gone"):
        flow.send(insert.rows_sync(db, **row))
    db.commit()
    assert left(db, ada) == 0


def test_while_the_erasure_is_under_way_nothing_is_stored_and_nobody_waits(
    db: Session, other: Session, ada: UUID
) -> None:
    do(db, ada)
    erasures.erase(other, ada, LEAST)
    with pytest.raises(NotSignedIn):
        ask(db, ada, Claim(student=ada))
    db.rollback()
    keep_state(db, ada)
    db.commit()
    other.commit()
    assert left(db, ada) == 0


def test_a_task_that_is_being_stored_is_waited_for(db: Session, other: Session, ada: UUID) -> None:
    run_sync(predict_and_save(serving_models(), TaskRequest(ada, "Calculus", "easy"), Claim(student=ada)), db)
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(erase, other, ada)
        waiting = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                     AND wait_event_type = 'Lock'"""
        with new_session()() as watching:
            while not watching.scalar(text(waiting)):
                watching.rollback()
        db.commit()
        assert erasing.result(30).tasks == 1
    assert left(db, ada) == 0


def test_a_state_or_shadow_that_comes_late_is_not_kept(db: Session, ada: UUID) -> None:
    do(db, ada)
    task, made = ask(db, ada), version(db)
    erase(db, ada)
    keep_state(db, ada)
    said = {"correctness_prob": 0.5, "estimated_time_seconds": 60.0, "time_low_seconds": None}
    late = {"task_id": task, "model_version_id": made, "time_high_seconds": None, **said}
    practice_tasks.INSERT_SHADOW.rows_sync(db, **late)
    db.commit()
    assert left(db, ada) == 0


def test_students_of_a_service_key_have_no_account_and_go_on(db: Session) -> None:
    key = Claim(key_hash=accounts.key_hash(accounts.create_key(db, "school")))
    student = uuid4()
    ask(db, student, key)
    assert not erase(db, student).account
    ask(db, student, key)
    assert left(db, student) == 1


def test_completions_in_the_same_moment_end_well(db: Session, ada: UUID) -> None:
    """Batches of her tasks and others', as the service completes them, against the erasure."""
    bob = uuid4()
    tasks = [ask(db, student) for _ in range(30) for student in (ada, bob)]
    go = threading.Barrier(5)

    def complete_some(part: int) -> None:
        with new_session()() as session:
            go.wait()
            for place in range(part, len(tasks), 4):
                try:
                    run_sync(complete(tasks[place], None, True, 30.0), session)
                except TaskNotFound:
                    assert place % 2 == 0, "a task of bob's"
                session.commit()

    def erase_ada() -> None:
        with new_session()() as session:
            go.wait()
            erase(session, ada)

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(complete_some, part) for part in range(4)] + [pool.submit(erase_ada)]
        for each in work:
            each.result(60)
    assert left(db, ada) == 0
    assert sum(counted(db)[:2]) == counted(db)[2] == 30


def test_where_too_few_tasks_remain_all_who_knew_them_leave_at_once(db: Session, ada: UUID) -> None:
    do(db, ada, 5)
    do(db, uuid4(), 9)
    first, second = version(db), version(db, "lnirt")
    serving(db, first, second)
    erased = erase(db, ada)
    assert len(erased.folders) == 2
    assert model_versions.serving(db) == {}
    assert model_tracker.read(db).model_version == "prior"
    assert serving_changes.latest(db, 1)[0].reason == erasures.WITHDRAWN
    assert not erasures.pending(db)


def test_where_enough_remain_they_serve_until_the_next_training(db: Session, ada: UUID) -> None:
    do(db, ada)
    imported(db, simulate(school(2, seed=1), 10, seed=1).attempts)
    serving(db, version(db))
    assert not erasures.pending(db)
    erase(db, ada)
    assert list(model_versions.serving(db)) == ["embedding_v2"]
    assert erasures.pending(db)


def test_an_admins_address_stands_nowhere_any_more(db: Session, ada: UUID) -> None:
    first, second = version(db), version(db)
    serving(db, first)
    accounts.make_admin(db, "ada@example.com")
    serving_changes.promote(db, second, Actor("ada@example.com"))
    serving_changes.roll_back(db, Actor("ada@example.com"))
    serving_changes.promote(db, second, Actor("not-ada@example.com"))
    db.commit()
    erase(db, ada)
    changes = serving_changes.latest(db, 3)
    assert [change.made_by for change in changes] == ["not-ada@example.com", "a former admin", "a former admin"]
    assert changes[0].reason.endswith("was promoted by not-ada@example.com.")
    assert changes[2].reason == f"Version {second} of embedding_v2 was promoted by a former admin."
    assert model_versions.get(db, first).reason == f"Rolled back to version {first} of embedding_v2 by a former admin."


def test_the_insert_gives_one_row_whatever_happens(db: Session, ada: UUID) -> None:
    """Requests share a batch, and each must get its own answer."""
    assert isinstance(practice_tasks.INSERT, Statement)
    task = ask(db, ada, Claim(student=ada))
    values = dict(db.execute(text("SELECT * FROM practice_tasks WHERE id = :id"), {"id": task}).mappings().one())
    row = values | {"id": uuid4(), "model_version": values["lnirt_model_version"], "school": None, "key_hash": None}
    assert practice_tasks.INSERT.rows_sync(db, **row | {"student": uuid4()}) == [{"stored": False}]
    assert practice_tasks.INSERT.rows_sync(db, **row | {"student": ada}) == [{"stored": True}]

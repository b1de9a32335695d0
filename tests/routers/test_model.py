"""Admins see the versions, choose among them, compare them and train."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import accounts, training_runs
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.registry import BY_NAME
from app.ml.training.scheduler import Trainer, trainer
from app.schemas.model_versions import KindName
from tests.finished import finish
from tests.school import Student, imported
from tests.versions import pruned, serving, version

Students = Callable[..., Student]
ROUTES = [
    ("GET", "/model/versions"),
    ("GET", "/model/versions/1"),
    ("POST", "/model/versions/1/promote"),
    ("POST", "/model/rollback"),
    ("GET", "/model/changes"),
    ("GET", "/model/comparison"),
    ("GET", "/model/runs"),
    ("POST", "/model/train"),
    ("POST", "/model/pause"),
    ("POST", "/model/resume"),
]


@pytest.fixture
def admin(student: Students, db: Session) -> Student:
    who = student("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    return who


def post(caller: Student, path: str, body: Any = None) -> Any:
    return caller.client.post(path, json=body, headers=caller.headers)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_admins_get_in(service: TestClient, student: Students, school: Student, method: str, path: str) -> None:
    assert service.request(method, path).status_code == 401
    for caller in (student(), school):
        refused = service.request(method, path, headers=caller.headers)
        assert (refused.status_code, refused.json()["detail"]) == (403, "Only an admin may do this.")
        assert refused.headers["content-type"] == "application/problem+json"


def test_an_admin_who_is_none_any_more_is_out_at_once(admin: Student, db: Session) -> None:
    assert admin.get("/model/versions").status_code == 200
    db.execute(text("UPDATE users SET is_admin = false"))
    db.commit()
    assert admin.get("/model/versions").status_code == 403


def test_before_anything_was_trained_there_is_a_sentence_for_everything(admin: Student) -> None:
    assert admin.get("/model/versions").json() == {"items": [], "next": None}
    assert admin.get("/model/changes").json() == {"items": []}
    assert admin.get("/model/runs").json() == {"items": [], "next": None}
    assert "Nothing to compare yet" in admin.get("/model/comparison").json()["text"]
    assert post(admin, "/model/rollback").status_code == 409
    assert admin.get("/model/versions/7").json()["detail"] == "There is no version 7."
    assert post(admin, "/model/versions/7/promote").status_code == 404
    assert admin.get(f"/model/versions/{2**40}").status_code == 422


@pytest.mark.parametrize(
    ("waiting", "learnt", "told"),
    [
        (0, 20, "0 of 5"),
        (5, 20, "5 of 5"),
        (12, 20, "12, 7 more than a training waits for; the next takes them all"),
        (3, 0, "3 of 10; the first training starts at 10 finished tasks"),
        (7, 0, "7 of 10; the first training starts at 10 finished tasks"),
        (10, 0, "10 of 10"),
        (12, 0, "12, 2 more than a training waits for; the next takes them all"),
    ],
)
def test_the_counter_never_counts_more_than_there_are_to_count(
    admin: Student, db: Session, waiting: int, learnt: int, told: str
) -> None:
    for _ in range(waiting + learnt):
        finish(db, UUID(int=1), datetime.now(UTC))
    db.execute(
        text("UPDATE embedding_model_tracker SET n_samples_since_training = :n, n_samples_last_training = :learnt"),
        {"n": waiting, "learnt": learnt},
    )
    db.commit()
    status = admin.status()
    assert status["counter"]["text"] == told
    assert f"Finished tasks that no training has taken: {told}." in status["text"]


def test_versions_come_newest_first_in_pages_with_their_scores(admin: Student, db: Session) -> None:
    ids = [version(db, kind) for kind in ("lnirt", "embedding_v2", "embedding_v2")]
    serving(db, ids[1], ids[0])
    page = admin.get("/model/versions", limit=2).json()
    assert [each["id"] for each in page["items"]] == ids[:0:-1]
    assert [(each["state"], each["answers_first"]) for each in page["items"]] == [
        ("candidate", False),
        ("serving", True),
    ]
    rest = admin.get("/model/versions", limit=2, before=page["next"]).json()
    assert ([each["id"] for each in rest["items"]], rest["next"]) == ([ids[0]], None)
    assert (rest["items"][0]["state"], rest["items"][0]["answers_first"]) == ("serving", False)
    assert rest["items"][0]["scores"]["log_loss"] == 0.6
    assert [each["id"] for each in admin.get("/model/versions", kind="lnirt").json()["items"]] == [ids[0]]
    assert admin.get("/model/versions", kind="oracle").status_code == 422
    one = admin.get(f"/model/versions/{ids[0]}").json()
    assert (one["files"], one["report"]["rows"], one["train_seconds"]) == ({"weights.npz": "0" * 64}, 40, 1.5)


def test_a_promoted_version_answers_and_a_rollback_undoes_it(admin: Student, db: Session) -> None:
    old, new = version(db), version(db)
    serving(db, new)
    done = post(admin, f"/model/versions/{old}/promote")
    assert done.status_code == 200, done.text
    assert (done.json()["state"], done.json()["answers_first"], done.json()["by_hand"]) == ("serving", True, True)
    assert done.json()["message"].startswith(
        f"Version {old} of embedding_v2 was promoted by grace@example.com. Yet LNIRT fitted to the newest "
        "tasks answers: "
    )  # for its files were never there
    assert admin.get(f"/model/versions/{new}").json()["state"] == "retired"
    back = post(admin, "/model/rollback").json()
    assert (back["id"], back["by_hand"]) == (new, True)
    assert back["message"].startswith(f"Rolled back to version {new} of embedding_v2 by grace@example.com.")
    log = admin.get("/model/changes").json()["items"]
    assert [(each["what"], each["lineup"][0]) for each in log] == [
        ("rolled back", new),
        ("promoted", old),
        ("published", new),
    ]
    assert log[1]["made_by"] == "grace@example.com"


def test_a_version_of_a_kind_that_this_release_lacks_is_listed_and_cannot_be_promoted(
    admin: Student, db: Session
) -> None:
    gone = version(db, "embedding_gone")
    assert [each["kind"] for each in admin.get("/model/versions").json()["items"]] == ["embedding_gone"]
    refused = post(admin, f"/model/versions/{gone}/promote")
    assert refused.status_code == 409
    assert "embedding_gone, which this release does not have" in refused.json()["detail"]
    assert admin.get("/model/changes").json()["items"] == []


def test_what_is_gone_or_unusable_cannot_be_promoted(admin: Student, db: Session) -> None:
    gone, broken = version(db), version(db, usable=False)
    pruned(db, gone)
    assert f"The files of version {gone} are gone" in post(admin, f"/model/versions/{gone}/promote").json()["detail"]
    for each in (gone, broken):
        assert post(admin, f"/model/versions/{each}/promote").status_code == 409
    assert admin.get("/model/changes").json()["items"] == []


def test_this_process_knows_at_once_who_should_answer(admin: Student, db: Session) -> None:
    first = version(db)
    post(admin, f"/model/versions/{first}/promote")
    from app.ml.serving.model_order import serving_models

    assert serving_models().model_order.wanted == (first, 1000, 1000)
    assert f"Version {first}" in admin.status()["reason"]


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs are ordered, but nobody trains: the orders."""
    orders: list[Any] = []

    def note(_: Trainer, order: Any, say: Any) -> dict[str, Any]:
        orders.append(order)
        return {"outcome": "published", "message": "Trained by nobody."}

    monkeypatch.setattr(Trainer, "_supervised", note)
    return orders


def tasks(db: Session) -> None:
    imported(db, simulate(simulated_school(4, seed=1), 5, seed=1).attempts)


@pytest.mark.parametrize(
    ("body", "kinds"), [(None, None), ({}, None), ({"kind": None}, None), ({"kind": "lnirt"}, ["lnirt"])]
)
def test_a_training_asked_for_gets_a_run(admin: Student, db: Session, idle: list[Any], body: Any, kinds: Any) -> None:
    tasks(db)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 0"))
    db.commit()
    asked = post(admin, "/model/train", body)
    assert asked.status_code == 202, asked.text
    run_id = asked.json()["run_id"]
    assert asked.json()["message"] == f"Training run {run_id} begins as soon as no other is at work."
    trainer()._pool.submit(lambda: None).result(10)
    assert [(order.run_id, order.kinds, order.forced) for order in idle] == [(run_id, kinds, True)]
    run = admin.get("/model/runs").json()["items"][0]
    assert (run["id"], run["kinds"], run["outcome"]) == (run_id, kinds, "asked")  # for nobody trained


def test_an_unknown_kind_is_refused(admin: Student) -> None:
    refused = post(admin, "/model/train", {"kind": "oracle"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "kind")
    assert set(KindName.__args__) == set(BY_NAME)  # type: ignore[attr-defined]


def test_too_few_tasks_are_said_as_the_run_itself_would(admin: Student, db: Session) -> None:
    imported(db, simulate(simulated_school(1, seed=1), 3, seed=1).attempts)
    refused = post(admin, "/model/train")
    assert refused.status_code == 422
    assert refused.json()["detail"] == "3 finished tasks are too few to train on; it starts at 10."
    assert db.scalar(text("SELECT count(*) FROM training_runs")) == 0


def test_with_one_at_work_and_one_waiting_a_third_is_refused(
    admin: Student, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    tasks(db)
    began, end = threading.Event(), threading.Event()

    def wait(_: Trainer, order: Any, say: Any) -> dict[str, Any]:
        began.set()
        assert end.wait(30)
        with trainer_session() as session:
            training_runs.finish(session, order.run_id, "published", "Trained by nobody.")
        return {"outcome": "published", "message": "Trained by nobody."}

    from app.core.database import new_session

    trainer_session = new_session().begin
    monkeypatch.setattr(Trainer, "_supervised", wait)
    assert post(admin, "/model/train").status_code == 202
    assert began.wait(10)
    assert post(admin, "/model/train", {"kind": "lnirt"}).status_code == 202
    third = post(admin, "/model/train")
    end.set()
    assert third.status_code == 409
    assert "one is waiting" in third.json()["detail"]
    trainer()._pool.submit(lambda: None).result(10)
    assert post(admin, "/model/train").status_code == 202


def test_what_another_process_runs_and_has_waiting_counts_too(admin: Student, db: Session, idle: list[Any]) -> None:
    tasks(db)
    with db.begin():
        training_runs.ask(db)
        training_runs.ask(db, ["lnirt"])
    assert post(admin, "/model/train").status_code == 409
    late = settings().trainer_silent_seconds + 1
    db.execute(text("UPDATE training_runs SET seen_at = now() - make_interval(secs => :late)"), {"late": late})
    db.commit()
    assert post(admin, "/model/train").status_code == 202
    runs = admin.get("/model/runs").json()["items"]
    ended = [run["message"] for run in runs if run["outcome"] == "interrupted"]
    assert ended == ["The run never began; its process seems to have ended before."] * 2


def test_a_run_given_up_too_early_lives_all_the_same(db: Session) -> None:
    with db.begin():
        run_id = training_runs.ask(db)
        training_runs.finish(db, run_id, "interrupted", "The run never began.")
        training_runs.start(db, run_id)
        assert training_runs.finish(db, run_id, "published", "Well.")
    assert training_runs.newest(db)[0].message == "Well."


def test_what_was_ordered_waits_for_the_next_trainer_when_a_service_ends(
    db: Session, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    tasks(db)
    began, end = threading.Event(), threading.Event()

    def wait(*_: Any) -> dict[str, Any]:
        began.set()
        end.wait(30)
        return {"outcome": "failed", "message": "Ended."}

    monkeypatch.setattr(Trainer, "_supervised", wait)
    made = Trainer()
    made.order()
    assert began.wait(10)
    waiting = made.order(["lnirt"])
    threading.Timer(0.2, end.set).start()
    made.close()
    run = training_runs.newest(db)[0]
    assert (run.id, run.outcome, run.trainer) == (waiting, "asked", None)


def test_runs_come_in_pages_each_with_who_trained(admin: Student, db: Session) -> None:
    with db.begin():
        ids = [training_runs.ask(db, trainer=f"host-{n}:17") for n in range(3)]
    page = admin.get("/model/runs", limit=2).json()
    assert [run["trainer"] for run in page["items"]] == ["host-2:17", "host-1:17"]
    assert [run["id"] for run in page["items"]] == ids[:0:-1]
    assert [run["id"] for run in admin.get("/model/runs", before=page["next"]).json()["items"]] == ids[:1]


def test_an_admin_is_a_student_too_with_tasks_of_their_own(admin: Student, student: Students) -> None:
    task = student("ada").do()
    assert admin.get(f"/practice-tasks/{task['id']}").status_code == 404
    assert admin.get(f"/practice-tasks/{uuid4()}/explanation").status_code == 404
    assert admin.ask().status_code == 201


def test_the_document_lists_every_problem_of_these_routes(service: TestClient) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    for method, path in ROUTES:
        operation = paths[path.replace("/1", "/{version_id}")][method.lower()]
        assert operation["tags"] == ["Model"]
        assert {"401", "403", "503"} <= set(operation["responses"])
        assert operation["description"].rstrip().endswith("admins.") or "For admins" in operation["description"]


def test_an_admin_pauses_trainings_and_lets_them_go_on(admin: Student, db: Session, idle: list[Any]) -> None:
    tasks(db)
    paused = post(admin, "/model/pause", {"reason": "Exams until Friday."})
    assert (paused.status_code, paused.json()) == (200, {"paused": True, "message": "Trainings are paused."})
    assert post(admin, "/model/pause").json()["message"] == "Trainings were paused already."
    status = admin.status()
    assert (status["paused"]["by"], status["paused"]["reason"]) == ("an admin", "Exams until Friday.")
    assert "Trainings are paused by an admin: Exams until Friday." in status["text"]
    assert db.scalar(text("SELECT paused_by FROM training_control")) == "grace@example.com"  # as admins' pages say
    assert post(admin, "/model/resume").json() == {"paused": False, "message": "Trainings go on."}
    assert admin.status()["paused"] is None
    assert post(admin, "/model/resume").json()["message"] == "Nothing held trainings up."
    assert post(admin, "/model/pause", {"reason": ""}).status_code == 422


def test_failures_in_a_row_are_shown_with_the_time_to_wait(admin: Student, db: Session, idle: list[Any]) -> None:
    for _ in range(4):
        run_id = training_runs.ask(db)
        training_runs.finish(db, run_id, "failed", "No space left on device")
    db.commit()
    status = admin.status()
    assert (status["failures_in_a_row"], status["paused"]) == (4, None)
    assert 0 < status["retry_in_seconds"] <= 8
    assert "After 4 failed in a row the next training waits" in status["text"]

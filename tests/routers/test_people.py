"""A person's data: seen, taken along, erased."""

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import asked_to_read
from app.crud import accounts
from app.domain.errors import NotSignedIn
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.features.inputs import INPUTS, NETWORK_INPUTS
from app.ml.training.scheduler import Trainer, trainer
from app.privacy import export
from app.schemas.person import Export
from tests.school import PASSWORD, SOMEBODY, Student, imported, until
from tests.versions import version

Students = Callable[..., Student]
TOPICS = (
    'He said "no", twice',
    "a, b;c",
    "حساب التفاضل",
    "שלום; עולם",
    "=1+2",
    "@x",
    "-",
    "+1",
    "'quoted",
    "été 🎓",
)


def erase(caller: Student, path: str = "/users/me") -> Any:
    return caller.client.delete(path, headers=caller.headers)


def exported(caller: Student) -> dict[str, Any]:
    answer = caller.get("/users/me/export")
    assert answer.status_code == 200, answer.text
    Export.model_validate_json(answer.text)
    found: dict[str, Any] = answer.json()
    return found


def rows_of(answer: Any) -> list[dict[str, str]]:
    """The CSV with what keeps spreadsheets from computing taken away."""
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    return [{name: cell.removeprefix("'") for name, cell in row.items()} for row in rows]


def test_a_student_sees_their_account(student: Students) -> None:
    me = student().get("/users/me").json()
    UUID(me.pop("id"))
    assert datetime.fromisoformat(me.pop("created_at")) <= datetime.now(UTC) + timedelta(minutes=1)
    assert me == {
        "email": "ada@example.com",
        "name": None,
        "is_admin": False,
        "language": None,
        "theme": None,
        "time_zone": None,
    }


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/users/me"), ("GET", "/users/me/export"), ("DELETE", "/users/me")]
)
def test_nobody_and_service_keys_have_no_account(service: TestClient, school: Student, method: str, path: str) -> None:
    assert service.request(method, path).status_code == 401
    refused = service.request(method, path, headers=school.headers)
    assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")
    assert "service key has no account" in refused.json()["detail"]


def test_the_export_is_what_was_put_in(student: Students) -> None:
    ada, bob = student(), student("bob")
    done = [ada.do(place % 2 == 0, 10.5 + place, topic=topic, item_id=topic) for place, topic in enumerate(TOPICS)]
    bob.do(topic="Bob's own")
    still_open = ada.ask(topic="later").json()
    found = exported(ada)
    assert found["account"] == ada.get("/users/me").json()
    assert [
        {name: value for name, value in task.items() if name not in ("features", "shadow_predictions")}
        for task in found["tasks"]
    ] == [*done, still_open]
    assert [task["topic"] for task in found["tasks"]] == [*TOPICS, "later"]
    assert [list(task["features"]) for task in found["tasks"]] == [list(NETWORK_INPUTS)] * 11
    assert found["tasks"][3]["features"]["overall_task_count"] > 0
    everything = {total["scope"]: total for total in found["totals"] if not total["key"]}
    assert everything["all"] == {"scope": "all", "key": "", "tasks": 10, "correct": 5, "seconds": 150.0}
    assert "Bob" not in json.dumps(found)
    assert "password" not in json.dumps(found)


def test_the_csv_is_what_was_put_in(student: Students) -> None:
    ada, bob = student(), student("bob")
    done = [ada.do(place % 2 == 0, 10.5 + place, topic=topic, item_id=topic) for place, topic in enumerate(TOPICS)]
    bob.do(topic="Bob's own")
    ada.ask(topic="later")
    answer = ada.get("/users/me/export", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "Bob" not in answer.text
    rows = rows_of(answer)
    assert [row["topic"] for row in rows] == [*TOPICS, "later"]
    assert [row["item_id"] for row in rows] == [*TOPICS, ""]
    for row, task in zip(rows, done, strict=False):
        assert (row["id"], row["user_id"]) == (task["id"], task["user_id"])
        assert row["is_correct"] == str(task["is_correct"]).lower()
        for moment in ("created_at", "completed_at"):
            assert row[moment] == task[moment]
        for number in ("actual_time_seconds", "correctness_prob", "estimated_time_seconds", "time_low_seconds"):
            assert float(row[number]) == task[number]
        assert all(float(row[name]) >= 0 for name in INPUTS)
    assert (rows[-1]["completed"], rows[-1]["is_correct"], rows[-1]["actual_time_seconds"]) == ("false", "", "")


def test_no_cell_is_a_formula(student: Students) -> None:
    ada = student()
    for topic in (*TOPICS, "\uff1d1"):
        ada.ask(topic=topic)
    cells = [row["topic"] for row in csv.DictReader(io.StringIO(ada.get("/users/me/export", format="csv").text))]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r\uff1d"]


@pytest.mark.parametrize(
    ("accept", "asked", "wanted"),
    [
        ("text/csv", None, "text/csv"),
        ("text/csv, application/json;q=0.5", None, "text/csv"),
        ("text/csv;q=0.1, application/json", None, "application/json"),
        ("*/*", None, "application/json"),
        ("text/csv", "json", "application/json"),
        ("application/json", "csv", "text/csv"),
    ],
)
def test_the_form_is_chosen_by_the_address_or_by_accept(
    student: Students, accept: str, asked: str | None, wanted: str
) -> None:
    ada = student()
    answer = ada.client.get(
        "/users/me/export", params={"format": asked} if asked else {}, headers={**ada.headers, "Accept": accept}
    )
    assert answer.headers["content-type"].split(";")[0] == wanted
    ending = "csv" if wanted == "text/csv" else "json"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="smartstudy-')
    assert disposition.endswith(f'.{ending}"')


def test_another_form_is_refused(student: Students) -> None:
    assert student().get("/users/me/export", format="xml").status_code == 422


def test_shadow_predictions_and_states_are_exported(student: Students, db: Session) -> None:
    ada = student()
    task, me = ada.do()["id"], ada.get("/users/me").json()["id"]
    made = version(db, "lnirt")
    db.execute(
        text("INSERT INTO shadow_predictions VALUES (:task, :version, 0.25, 40, NULL, NULL)"),
        {"task": task, "version": made},
    )
    db.execute(
        text("INSERT INTO student_states VALUES (:me, 'lnirt', :version, 1, now(), :state)"),
        {"me": me, "version": made, "state": bytes(8 * 3) + b"odd"},
    )
    db.commit()
    found = exported(ada)
    shadow = found["tasks"][0]["shadow_predictions"][0]
    assert (shadow["kind"], shadow["model_version_id"], shadow["correctness_prob"]) == ("lnirt", made, 0.25)
    state = found["states"][0]
    assert (state["kind"], state["tasks"], state["values"], state["ability"]) == ("lnirt", 1, [0.0] * 3, None)


def test_ability_and_speed_stand_in_the_export(student: Students, db: Session) -> None:
    imported(db, simulate(simulated_school(8, seed=5), 20, seed=5).attempts)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 0"))
    db.commit()
    assert trainer().train_now(kinds=["lnirt"])["outcome"] == "published"
    ada = student()
    ada.status()  # has the service load it
    for _ in range(3):
        ada.do()
    ada.ask()
    (state,) = exported(ada)["states"]
    assert (state["kind"], state["tasks"]) == ("lnirt", 3)
    assert -3 < state["ability"]["mean"] < 3
    assert 0 < state["ability"]["sd"] < 1
    assert -3 < state["speed"]["mean"] < 3
    assert 0 < state["speed"]["sd"] < 1


def test_long_histories_come_in_pages(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 3)
    ada = student()
    for n in (0, 2, 3, 4, 7):
        while len(exported(ada)["tasks"]) < n:
            ada.ask(topic=str(len(exported(ada)["tasks"])))
        assert [task["topic"] for task in exported(ada)["tasks"]] == [str(place) for place in range(n)]
        assert len(rows_of(ada.get("/users/me/export", format="csv"))) == n


def until_it_breaks(chunks: Iterator[bytes]) -> str:
    """What had been sent by then."""
    sent: list[bytes] = []
    with pytest.raises(ConnectionError):
        sent.extend(chunks)
    return b"".join(sent).decode()


def test_an_export_that_breaks_off_is_not_taken_for_whole(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    ada = student()
    for _ in range(4):
        ada.ask()
    me = UUID(ada.get("/users/me").json()["id"])

    def pages() -> Iterator[list[dict[str, Any]]]:
        opened = count()

        def gone_at_the_second(question: Callable[[Session], Any]) -> Any:
            if next(opened):
                raise ConnectionError("the database is gone")
            return asked_to_read(question)

        return export.pages(gone_at_the_second, me)

    table = until_it_breaks(export.as_csv(pages())).splitlines()
    assert len(table) == 4
    assert table[-1].startswith("THIS FILE IS NOT COMPLETE")
    document = until_it_breaks(export.as_json({"account": {}}, {"tasks": pages()}))
    assert document.count('"topic"') == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(document)


def test_an_export_during_the_erasure_does_not_look_whole(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    ada = student()
    for _ in range(5):
        ada.ask()
    pages = export.pages(asked_to_read, UUID(ada.get("/users/me").json()["id"]))
    assert len(next(pages)) == 2
    erase(ada)
    with pytest.raises(NotSignedIn):
        next(pages)


def test_erased_at_once_and_for_good(student: Students, db: Session) -> None:
    ada, bob = student(), student("bob")
    for who in (ada, bob):
        who.do()
        who.ask()
    answer = erase(ada)
    assert (answer.status_code, answer.content) == (204, b"")
    for path in ("/users/me", "/users/me/export", "/practice-tasks"):
        assert ada.get(path).status_code == 401
    assert ada.ask().status_code == 401
    assert ada.complete(str(uuid4())).status_code == 401
    assert erase(ada).status_code == 401
    signing_in = ada.client.post("/auth/token", data={"username": "ada@example.com", "password": PASSWORD})
    assert signing_in.status_code == 401
    assert len(exported(bob)["tasks"]) == 2
    assert exported(student())["tasks"] == []  # who registers anew, begins anew


def test_an_admin_may_go_too(student: Students, db: Session) -> None:
    grace = student("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    assert erase(grace).status_code == 204
    assert grace.get("/users/me").status_code == 401


def test_erasing_asks_for_a_training(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    monkeypatch.setattr(Trainer, "request", lambda self: asked.set())
    erase(student())
    assert asked.wait(30)


def test_a_deletion_under_load_leaves_nothing_and_breaks_nothing(
    student: Students, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "request", lambda self: None)
    ada, bob = student(), student("bob")
    me = ada.get("/users/me").json()["id"]
    go, statuses = threading.Barrier(9), list[int]()

    def work(who: Student) -> None:
        go.wait()
        for _ in range(15):
            asked = who.ask()
            statuses.append(asked.status_code)
            if asked.status_code == 201:
                done = who.complete(asked.json()["id"]).status_code
                statuses.append(done)
                assert who is ada or done == 200
            else:
                assert who is ada

    def end() -> None:
        go.wait()
        until(lambda: statuses.count(200) >= 20)
        assert erase(ada).status_code == 204

    with ThreadPoolExecutor(9) as pool:
        for each in [*(pool.submit(work, who) for who in (ada, bob) for _ in range(4)), pool.submit(end)]:
            each.result(120)
    assert set(statuses) <= {200, 201, 401, 404}
    for table in ("practice_tasks", "student_totals", "student_states"):
        assert not db.scalar(text(f"SELECT count(*) FROM {table} WHERE user_id = :me"), {"me": me})
    counter, done = db.execute(
        text("""SELECT n_samples_last_training + n_samples_since_training,
                       (SELECT count(*) FROM practice_tasks WHERE completed) FROM embedding_model_tracker""")
    ).one()
    assert counter == done == 60


def test_a_school_erases_its_students(school: Student, student: Students, db: Session) -> None:
    asked = school.ask(user_id=SOMEBODY).json()
    school.complete(asked["id"])
    assert erase(school, f"/students/{SOMEBODY}").status_code == 204
    assert school.get("/practice-tasks", user_id=SOMEBODY).json()["items"] == []
    gone = erase(school, f"/students/{SOMEBODY}")
    assert (gone.status_code, gone.json()["detail"]) == (404, "Nothing is stored about this student.")
    assert school.ask(user_id=SOMEBODY).status_code == 201  # they may come back


def test_a_school_can_not_erase_an_account(school: Student, student: Students) -> None:
    ada = student()
    ada.do()
    refused = erase(school, f"/students/{ada.get('/users/me').json()['id']}")
    assert (refused.status_code, "only they can erase it" in refused.json()["detail"]) == (409, True)
    assert len(exported(ada)["tasks"]) == 1


def test_only_a_service_key_names_students(service: TestClient, student: Students, school: Student) -> None:
    ada = student()
    path = f"/students/{SOMEBODY}"
    assert service.delete(path).status_code == 401
    for which in (path, f"/students/{ada.get('/users/me').json()['id']}", "/students/x"):
        refused = erase(ada, which)
        assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")
    assert erase(school, "/students/x").status_code == 404  # a text of theirs, of whom nothing is stored
    assert ada.get("/users/me").status_code == 200


def test_both_forms_are_in_the_document(service: TestClient) -> None:
    answers = service.get("/openapi.json").json()["paths"]["/users/me/export"]["get"]["responses"]
    assert answers["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Export"}
    assert answers["200"]["content"]["text/csv"]["schema"] == {"type": "string"}
    assert set(answers) == {"200", "401", "403", "422", "429", "503"}

"""Schools that share an installation: each sees its own students and nothing of the other's."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from app.cli import main
from app.core import database
from app.crud import accounts, service_keys
from app.domain.actors import COMMAND_LINE
from app.domain.interactions import student_id
from tests.school import SOMEBODY, Student

Schools = Callable[..., Student]


@pytest.fixture
def limited(service: TestClient) -> Schools:
    """Make a school whose key sees its own students only."""

    def make(name: str) -> Student:
        with database.new_session().begin() as db:
            return Student(service, service_keys.create(db, name, COMMAND_LINE, own_students=True))

    return make


def listed(caller: Student, **query: str) -> set[str]:
    return {task["id"] for task in caller.get("/practice-tasks", **query).json()["items"]}


def plan(caller: Student, **whose: str) -> httpx.Response:
    body = {"exam_date": "2026-12-24", "topics": ["Calculus"], "minutes_per_day": 30, **whose}
    answer: httpx.Response = caller.client.post("/preparation/plans", json=body, headers=caller.headers)
    return answer


def commands(*arguments: str) -> Result:
    return CliRunner().invoke(main.app, list(arguments), env={"COLUMNS": "150"})


def allow(student: Student, name: str) -> httpx.Response:
    answer: httpx.Response = student.client.post("/users/me/schools", json={"name": name}, headers=student.headers)
    return answer


def test_each_caller_sees_what_it_should_of_a_schools_task(
    limited: Schools, school: Student, student: Schools, db: Session
) -> None:
    north, south, ada, admin = limited("North"), limited("South"), student("ada"), student("boss")
    accounts.make_admin(db, "boss@example.com")
    db.commit()
    task = north.ask(student="anna").json()
    path, whose = f"/practice-tasks/{task['id']}", task["user_id"]
    done = {"is_correct": True, "actual_time_seconds": 30.0}
    other = {"is_correct": False, "actual_time_seconds": 31.0}
    callers = {"north": north, "south": south, "unlimited": school, "ada": ada, "admin": admin}
    seen = {
        name: (
            caller.get(path).status_code,
            caller.get(f"{path}/explanation").status_code,
            task["id"] in listed(caller),
            task["id"] in listed(caller, user_id=whose),
            caller.get(f"{path}/corrections").status_code,
            caller.client.patch(path, json=other if name != "north" else done, headers=caller.headers).status_code,
        )
        for name, caller in callers.items()
    }
    everything, nothing = (200, 200, True, True, 200, 200), (404, 404, False, False, 404, 404)
    assert seen.pop("unlimited") == (200, 200, True, True, 200, 409)  # North's own result came first
    assert seen == {"north": everything, "south": nothing, "ada": nothing, "admin": nothing}


def test_no_school_corrects_or_discards_anothers_task(limited: Schools) -> None:
    north, south = limited("North"), limited("South")
    done, still_open = north.do(student="anna")["id"], north.ask(student="anna").json()["id"]
    result = {"is_correct": False, "actual_time_seconds": 31.0}
    for caller, status in ((south, (404, 404, 404)), (north, (200, 200, 204))):
        path = f"/practice-tasks/{done}/result"
        put = caller.client.put(path, json=result, headers=caller.headers)
        back = caller.client.delete(path, headers=caller.headers)
        gone = caller.client.delete(f"/practice-tasks/{still_open}", headers=caller.headers)
        assert (put.status_code, back.status_code, gone.status_code) == status


def test_what_one_school_calls_its_student_is_not_the_others(limited: Schools) -> None:
    north, south = limited("North"), limited("South")
    first, second = north.do(student="anna"), south.ask(student="anna").json()
    assert first["user_id"] != second["user_id"]
    assert (listed(north, student="anna"), listed(south, student="anna")) == ({first["id"]}, {second["id"]})
    assert second["correctness_prob"] < north.ask(student="anna").json()["correctness_prob"]


@pytest.mark.parametrize(
    "asked",
    [
        lambda caller, whose: caller.ask(user_id=whose),
        lambda caller, whose: caller.ask(student=whose),
        lambda caller, whose: plan(caller, user_id=whose),
        lambda caller, whose: caller.get("/recommendations", user_id=whose),
        lambda caller, whose: caller.get("/preparation/plans", user_id=whose),
        lambda caller, whose: caller.client.delete(f"/students/{whose}", headers=caller.headers),
    ],
)
def test_a_school_is_told_nothing_of_anothers_student(
    limited: Schools, school: Student, asked: Callable[[Student, str], httpx.Response]
) -> None:
    north, south = limited("North"), limited("South")
    of_north, of_all = north.do(student="anna")["user_id"], school.do(user_id=SOMEBODY)["user_id"]
    for whose in (of_north, of_all):
        refused = asked(south, whose)
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")
    assert asked(north, of_north).status_code < 300
    assert asked(school, of_all).status_code < 300


def test_a_student_who_has_only_a_plan_is_the_schools_too(limited: Schools) -> None:
    north, south = limited("North"), limited("South")
    made = plan(north, student="anna").json()
    assert south.ask(user_id=made["user_id"]).status_code == 404
    path = f"/preparation/plans/{made['id']}"
    assert (south.get(path).status_code, north.get(path).status_code) == (404, 200)
    assert south.client.delete(path, headers=south.headers).status_code == 404


def test_a_new_key_of_the_same_name_goes_on_with_the_same_students(limited: Schools, db: Session) -> None:
    old = limited("North")
    task = old.ask(student="anna").json()
    rotated = Student(old.client, service_keys.rotate(db, "North", 1, COMMAND_LINE))
    db.commit()
    assert rotated.ask(student="anna").json()["user_id"] == task["user_id"]
    assert rotated.get(f"/practice-tasks/{task['id']}").status_code == 200
    assert old.get(f"/practice-tasks/{task['id']}").status_code == 200  # it runs on for an hour
    service_keys.revoke(db, "North", COMMAND_LINE)
    db.commit()
    assert rotated.ask(student="anna").status_code == 401
    assert limited("North").get(f"/practice-tasks/{task['id']}").status_code == 200


def test_another_schools_id_on_ones_key_opens_nothing(limited: Schools, school: Student) -> None:
    north, south = limited("North"), limited("South")
    task = north.ask(student="anna").json()
    for mine in (south.secret.partition(".")[0], school.secret):
        forged = Student(north.client, f"{mine}.{north.secret.partition('.')[2]}")
        assert forged.ask(student="anna").status_code == 401
        assert forged.get(f"/practice-tasks/{task['id']}").status_code == 401
        assert forged.complete(task["id"]).status_code == 401
        assert forged.get("/practice-tasks").status_code == 401


def test_a_text_means_the_student_that_an_import_makes_of_it(
    school: Student, limited: Schools, db: Session, tmp_path: Path
) -> None:
    file = tmp_path / "tasks.csv"
    assert school.ask(student=" 7b/Anna ").json()["user_id"] == str(student_id("7b/Anna"))
    north = limited("North")
    namespace: UUID = db.scalar(text("SELECT school_id FROM service_keys WHERE name = 'North'"))
    assert north.ask(student="7b/Anna").json()["user_id"] == str(uuid5(namespace, "student\x1f7b/Anna"))
    assert school.ask(student=SOMEBODY).json()["user_id"] == SOMEBODY
    assert school.client.delete("/students/7b/Anna", headers=school.headers).status_code == 204
    for spaced in ("7b  Anna", "7b\u00a0Anna", "7b Anna"):
        file.write_text(f"student_id,topic,correct,time_seconds\n{spaced},Waves,1,30\n", encoding="utf-8")
        assert commands("import", str(file)).stdout.startswith("Imported 1 task")
        printed = commands("student-id", spaced).stdout.strip()
        items = school.get("/practice-tasks", student=spaced).json()["items"]
        assert {printed} == {each["user_id"] for each in items} == {school.ask(student=spaced).json()["user_id"]}


def test_two_names_for_a_student_have_to_mean_the_same(school: Student, student: Schools) -> None:
    same = str(student_id("anna"))
    assert school.ask(student="anna", user_id=same).status_code == 201
    refused = school.ask(student="anna", user_id=SOMEBODY)
    assert (refused.status_code, same in refused.json()["detail"]) == (422, True)
    assert school.ask().status_code == 422
    assert school.ask(student="x" * 201).status_code == 422
    assert school.ask(student="x" * 200).status_code == 201
    ada = student()
    assert "only a service key may name a student" in ada.ask(student="anna").json()["detail"]
    assert ada.get("/practice-tasks", student="anna").status_code == 422


def test_no_key_records_for_a_student_with_an_account_who_has_not_allowed_it(
    school: Student, limited: Schools, student: Schools
) -> None:
    north, south, ada = limited("North"), limited("South"), student()
    whose = ada.get("/users/me").json()["id"]
    for key in (school, north, south):
        for refused in (key.ask(user_id=whose), key.ask(student=whose), plan(key, user_id=whose)):
            assert refused.status_code == 403
            assert "has not allowed your school" in refused.json()["detail"]
    assert allow(ada, "Nowhere").status_code == 404
    allowed = allow(ada, "North").json()
    assert allow(ada, "NORTH").json() == allowed
    assert [each["name"] for each in ada.get("/users/me/schools").json()] == ["North"]
    task = north.do(user_id=whose)
    assert listed(ada) == listed(north) == {task["id"]}
    assert (south.ask(user_id=whose).status_code, school.ask(user_id=whose).status_code) == (403, 403)
    own = ada.ask().json()["id"]
    assert (north.get(f"/practice-tasks/{own}").status_code, north.complete(own).status_code) == (404, 404)
    gone = ada.client.delete(f"/users/me/schools/{allowed['id']}", headers=ada.headers)
    assert (gone.status_code, north.ask(user_id=whose).status_code) == (204, 403)
    assert north.client.delete(f"/students/{whose}", headers=north.headers).status_code == 409


def test_no_key_reads_completes_or_corrects_for_an_account_that_has_not_allowed_it(
    school: Student, limited: Schools, student: Schools
) -> None:
    north, ada = limited("North"), student()
    whose = ada.get("/users/me").json()["id"]
    done, still_open = ada.do()["id"], ada.ask().json()["id"]
    exam = plan(ada).json()["id"]
    result = {"is_correct": False, "actual_time_seconds": 31.0}

    def tried(key: Student, finished: str, unfinished: str, planned: str) -> list[int]:
        send, headers = key.client.request, key.headers
        batch = {"results": [{"id": unfinished, **result}]}
        return [
            key.get(f"/practice-tasks/{finished}").status_code,
            key.get(f"/practice-tasks/{finished}/explanation").status_code,
            key.get(f"/practice-tasks/{finished}/corrections").status_code,
            key.get(f"/preparation/plans/{planned}").status_code,
            send("PATCH", "/practice-tasks/batch", json=batch, headers=headers).json()["items"][0]["status"],
            key.complete(unfinished, False, 31.0).status_code,
            send("PUT", f"/practice-tasks/{finished}/result", json=result, headers=headers).status_code,
            send("DELETE", f"/practice-tasks/{finished}/result", headers=headers).status_code,
            send("DELETE", f"/practice-tasks/{finished}", headers=headers).status_code,
            send("DELETE", f"/preparation/plans/{planned}", headers=headers).status_code,
        ]

    def about(key: Student) -> list[int]:
        paths = ("/recommendations", "/preparation/plans", "/users/me/analytics", "/topics", "/events")
        asked = [key.get(path, user_id=whose).status_code for path in paths]
        wanted = {"user_id": whose, "tasks": [{"topic": "Calculus", "difficulty": "easy"}]}
        return [*asked, key.client.post("/predictions", json=wanted, headers=key.headers).status_code]

    for key in (school, north):
        assert (tried(key, done, still_open, exam), about(key)) == ([404] * 10, [403] * 6)
        assert listed(key) == listed(key, user_id=whose) == set()
    for key, name in ((school, "school"), (north, "North")):
        allowed = allow(ada, name).json()["id"]
        assert about(key) == [200] * 6
        assert (tried(key, done, still_open, exam), listed(key)) == ([404] * 10, set())
        assert key.get("/preparation/plans", user_id=whose).json()["items"] == []
        own = key.do(user_id=whose)["id"], key.ask(user_id=whose).json()["id"], plan(key, user_id=whose).json()["id"]
        both = {"user_id": whose, "topic": "Waves", "difficulty": "easy"}
        made = key.client.post("/practice-tasks/batch", json={"tasks": [both]}, headers=key.headers).json()
        assert listed(key) == {*own[:2], made["items"][0]["task"]["id"]}
        assert ada.get("/users/me/export").json()["schools"][0]["name"] == name
        ada.client.delete(f"/users/me/schools/{allowed}", headers=ada.headers)
        assert (tried(key, *own), about(key), listed(key)) == ([404] * 10, [403] * 6, set())
        assert allow(ada, name).status_code == 201
        assert tried(key, *own) == [200, 200, 200, 200, 200, 200, 200, 200, 204, 204]
        assert ada.client.delete(f"/users/me/schools/{allowed}", headers=ada.headers).status_code == 204
    assert done in listed(ada)


def test_a_batch_for_several_accounts_that_allow_a_school_marks_only_theirs_as_the_schools(
    school: Student, student: Schools, db: Session
) -> None:
    allowing = [student("ada"), student("ben")]
    for each in allowing:
        assert allow(each, "school").status_code == 201
    whose = [*(each.get("/users/me").json()["id"] for each in allowing), str(uuid4())]
    tasks = [{"user_id": each, "topic": "Waves", "difficulty": "easy"} for each in whose]
    made = school.client.post("/practice-tasks/batch", json={"tasks": tasks}, headers=school.headers)
    assert [each["status"] for each in made.json()["items"]] == [201] * 3
    stored = db.execute(text("SELECT user_id, school_id IS NOT NULL FROM practice_tasks"))
    assert {str(user_id): is_schools for user_id, is_schools in stored} == dict(
        zip(whose, [True, True, False], strict=True)
    )


def test_one_schools_topics_do_not_lead_suggestions_elsewhere(
    limited: Schools, school: Student, student: Schools
) -> None:
    north, south, ada = limited("North"), limited("South"), student()
    for name in "abc":
        north.do(student=name, topic="Heraldry of the North")

    def suggested(caller: Student, **whose: str) -> set[str]:
        return {each["topic"] for each in caller.get("/recommendations", **whose).json()["items"]}

    assert suggested(north, student="new") == {"Heraldry of the North"}
    assert suggested(south, student="new") == suggested(school, student="new") == suggested(ada) == set()
    approve = {"topic": "Heraldry of the North"}
    assert north.client.post("/topics/approve", json=approve, headers=north.headers).status_code == 403


def test_an_import_for_a_schools_key_brings_its_students(
    limited: Schools, school: Student, db: Session, tmp_path: Path
) -> None:
    north, south = limited("North"), limited("South")
    file = tmp_path / "tasks.csv"
    file.write_text("student_id,topic,correct,time_seconds,timestamp\nanna,Waves,1,30,1.7e9\nbert,Waves,0,40,1.7e9\n")
    for name in ("North", "South"):
        assert commands("import", str(file), "--key", name).stdout.startswith("Imported 2 tasks")
        assert "2 were there already" in commands("import", str(file), "--key", name).stdout
    assert commands("import", str(file), "--key", "Nobody").exit_code == 1
    mine = listed(north, student="anna")
    assert (len(mine), listed(south), len(listed(north)), len(listed(school))) == (1, listed(south) - mine, 2, 4)
    printed = commands("student-id", " anna ", "--key", "North").stdout.strip()
    assert north.get("/practice-tasks", user_id=printed).json()["items"][0]["id"] in mine
    assert commands("student-id", "anna").stdout.strip() == school.ask(student="anna").json()["user_id"]
    assert commands("student-id", "x" * 201).exit_code == 1

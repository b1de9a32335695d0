"""Accounts, as admins see them: listed, disabled, enabled, and given a link for a lost password."""

import json
import threading
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from app.core.database import new_session
from app.core.settings import settings
from app.crud import accounts, audit, password_links, users
from app.domain.actors import COMMAND_LINE, Actor
from app.domain.errors import LastAdmin
from tests.school import PASSWORD, Student
from tests.web.browsing import Browser, said

NEW = "another long sentence of hers"
runner = CliRunner()


@pytest.fixture
def ada(service: TestClient) -> Student:
    return Student.registered(service, "ada")


@pytest.fixture
def grace(service: TestClient, db: Session) -> Student:
    """An admin."""
    found = Student.registered(service, "grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    return found


def id_of(student: Student) -> str:
    return str(student.get("/users/me").json()["id"])


def post(student: Student, path: str) -> dict[str, object]:
    answer = student.client.post(path, headers=student.headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def sign_in(service: TestClient, password: str = PASSWORD, name: str = "ada") -> tuple[int, str]:
    answer = service.post("/auth/token", data={"username": f"{name}@example.com", "password": password})
    return answer.status_code, answer.json().get("detail", "")


def acts(db: Session) -> list[tuple[str, str | None, str]]:
    db.rollback()
    return [(each.act, each.subject, each.actor) for each in audit.newest(db, 9)]


def test_accounts_are_listed_page_by_page_and_found_by_address_name_or_id(grace: Student, ada: Student) -> None:
    ada.do()
    first = grace.get("/users", limit=1).json()
    assert [each["email"] for each in first["items"]] == ["ada@example.com"]
    assert first["items"][0]["finished"] == 1
    assert first["items"][0]["seen_at"] is not None
    second = grace.get("/users", limit=1, offset=first["next"]).json()
    assert [each["email"] for each in second["items"]] == ["grace@example.com"]
    assert second["next"] is None
    for q in ("ADA@", id_of(ada)):
        assert [each["email"] for each in grace.get("/users", q=q).json()["items"]] == ["ada@example.com"]
    assert grace.get("/users", q="nobody").json() == {"items": [], "next": None}


def test_who_is_disabled_is_out_at_once_and_comes_back_with_everything(
    service: TestClient, grace: Student, ada: Student, db: Session
) -> None:
    task, ada_id = ada.do(), id_of(ada)
    browser = Browser(service)
    browser.send("/sign-in", email="ada@example.com", password=PASSWORD)
    assert post(grace, f"/users/{ada_id}/disable")["disabled_at"] is not None
    post(grace, f"/users/{ada_id}/disable")  # once more changes nothing
    assert ada.get("/users/me").status_code == 401
    assert ada.ask().status_code == 401
    assert "Sign in" in said(browser.get("/dashboard"))
    assert sign_in(service) == (403, "This account is disabled: ask whoever runs the service.")
    assert sign_in(service, "a wrong one")[0] == 401
    again = browser.send("/sign-in", email="ada@example.com", password=PASSWORD)
    assert again.status_code == 403
    assert "This account is disabled." in said(again)
    assert post(grace, f"/users/{ada_id}/enable")["disabled_at"] is None
    back = Student(
        service,
        service.post("/auth/token", data={"username": "ada@example.com", "password": PASSWORD}).json()["access_token"],
    )
    assert [each["id"] for each in back.get("/practice-tasks").json()["items"]] == [task["id"]]
    assert acts(db)[:2] == [
        ("account enabled", ada_id, "grace@example.com"),
        ("account disabled", ada_id, "grace@example.com"),
    ]


def test_a_session_or_token_that_slipped_in_opens_nothing(ada: Student, db: Session) -> None:
    """One that was begun in the moment in which the account was disabled."""
    db.execute(text("UPDATE users SET disabled_at = now()"))
    db.commit()
    assert ada.get("/users/me").status_code == 401


def test_no_admin_disables_themselves_or_the_last_one(grace: Student, ada: Student, db: Session) -> None:
    own = grace.client.post(f"/users/{id_of(grace)}/disable", headers=grace.headers)
    assert own.status_code == 409
    assert own.json()["detail"].startswith("Nobody may disable their own account")
    assert "last admin" in str(runner.invoke(main.app, ["user", "disable", "grace@example.com"]).exception)
    accounts.make_admin(db, "ada@example.com")
    db.commit()
    assert runner.invoke(main.app, ["user", "disable", "grace@example.com"]).exit_code == 0


def test_of_two_admins_who_disable_each_other_at_once_one_remains(grace: Student, ada: Student, db: Session) -> None:
    accounts.make_admin(db, "ada@example.com")
    db.commit()
    ids = [UUID(id_of(grace)), UUID(id_of(ada))]
    refused = []

    def disable(whom: UUID, by: UUID) -> None:
        try:
            with new_session().begin() as session:
                users.disable(session, whom, Actor("an admin", by))
        except LastAdmin:
            refused.append(whom)

    threads = [threading.Thread(target=disable, args=pair) for pair in (ids, ids[::-1])]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(refused) == 1
    db.rollback()
    assert db.scalar(text("SELECT count(*) FROM users WHERE is_admin AND disabled_at IS NULL")) == 1


def test_a_link_sets_a_new_password_once_and_ends_everything_else(
    service: TestClient, grace: Student, ada: Student, db: Session
) -> None:
    ada_id = id_of(ada)
    links = [str(post(grace, f"/users/{ada_id}/reset-password")["link"]) for _ in range(2)]
    assert links[0].startswith("http://testserver/new-password?link=")
    assert sign_in(service)[0] == 200  # the old one holds until then
    token = links[1].partition("link=")[2]
    before = {"token": links[0].partition("link=")[2], "password": NEW}
    assert service.post("/auth/reset-password", json=before).status_code == 410  # a newer one ends it
    weak = service.post("/auth/reset-password", json={"token": token, "password": "ada@example.com"})
    assert (weak.status_code, "soon be guessed" in weak.json()["detail"]) == (422, True)
    done = service.post("/auth/reset-password", json={"token": token, "password": NEW})
    assert Student(service, done.json()["access_token"]).get("/users/me").json()["email"] == "ada@example.com"
    assert ada.get("/users/me").status_code == 401
    assert (sign_in(service)[0], sign_in(service, NEW)[0]) == (401, 200)
    for link in links:
        used = service.post("/auth/reset-password", json={"token": link.partition("link=")[2], "password": PASSWORD})
        assert used.status_code == 410
    assert acts(db)[0] == ("password link made", ada_id, "grace@example.com")
    stored = " ".join(map(str, db.execute(text("SELECT * FROM audit_log, password_links")).all()))
    assert token not in stored


def test_of_two_who_use_a_link_at_the_same_moment_one_is_refused(ada: Student, db: Session) -> None:
    token, _ = password_links.make(db, UUID(id_of(ada)))
    db.commit()
    used = []

    def use(new: str) -> None:
        with new_session().begin() as session:
            used.append(password_links.use(session, token, new))

    threads = [threading.Thread(target=use, args=(new,)) for new in ("one", "two")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(used) == [False, True]


def test_a_link_runs_out_and_ends_when_the_account_is_disabled(
    service: TestClient, grace: Student, ada: Student, db: Session
) -> None:
    ada_id = UUID(id_of(ada))
    old, _ = password_links.make(db, ada_id)
    db.execute(text("UPDATE password_links SET expires_at = now() - interval '1 second'"))
    db.commit()
    assert service.post("/auth/reset-password", json={"token": old, "password": NEW}).status_code == 410
    newer, _ = password_links.make(db, ada_id)
    db.commit()
    post(grace, f"/users/{ada_id}/disable")
    post(grace, f"/users/{ada_id}/enable")
    assert service.post("/auth/reset-password", json={"token": newer, "password": NEW}).status_code == 410
    post(grace, f"/users/{ada_id}/disable")
    refused = grace.client.post(f"/users/{ada_id}/reset-password", headers=grace.headers)
    assert (refused.status_code, refused.json()["detail"]) == (403, "This account is disabled: enable it first.")


def test_who_was_locked_out_signs_in_with_the_new_password(service: TestClient, ada: Student, db: Session) -> None:
    browser = Browser(service)
    for _ in range(settings().failed_sign_ins + 1):
        answer = browser.send("/sign-in", email="ada@example.com", password="forgotten")
    assert answer.status_code == 429
    token, _ = password_links.make(db, UUID(id_of(ada)))
    db.commit()
    assert service.post("/auth/reset-password", json={"token": token, "password": NEW}).status_code == 200
    assert sign_in(service, NEW)[0] == 200


def test_a_link_names_no_host_that_nobody_has_checked(
    service: TestClient, grace: Student, ada: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "*")
    settings.cache_clear()
    service.app.middleware_stack = None  # type: ignore[attr-defined]  # which knows the names; made anew
    ada_id = id_of(ada)
    evil = grace.client.post(f"/users/{ada_id}/reset-password", headers=grace.headers | {"Host": "evil.example"})
    assert evil.json()["link"].startswith("/new-password?link=")
    monkeypatch.setenv("PUBLIC_URL", "https://study.example.org/practise/")
    settings.cache_clear()
    told = grace.client.post(f"/users/{ada_id}/reset-password", headers=grace.headers | {"Host": "evil.example"})
    assert told.json()["link"].startswith("https://study.example.org/practise/new-password?link=")


def test_nobody_else_is_found(grace: Student) -> None:
    for act in ("reset-password", "disable", "enable"):
        answer = grace.client.post(f"/users/{uuid4()}/{act}", headers=grace.headers)
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "There is no account with this address or id.",
        )


def test_commands_do_the_same(service: TestClient, ada: Student, db: Session) -> None:
    def run(*arguments: str) -> str:
        return runner.invoke(main.app, ["user", *arguments], env={"COLUMNS": "150"}).output

    assert "ada@example.com" in run("list")
    assert json.loads(run("list", "--json"))["items"][0]["finished"] == 0
    assert "There is no such account." in run("list", "--search", "nobody")
    assert "is disabled" in run("disable", "Ada@Example.com")
    assert "disabled" in run("list")
    assert "may sign in" in run("enable", "ada@example.com")
    assert "PUBLIC_URL" in run("reset-password", "ada@example.com")
    link = run(
        "reset-password",
        id_of(
            Student(
                service,
                service.post("/auth/token", data={"username": "ada@example.com", "password": PASSWORD}).json()[
                    "access_token"
                ],
            )
        ),
    ).split()[0]
    done = service.post("/auth/reset-password", json={"token": link.partition("link=")[2], "password": NEW})
    assert done.status_code == 200
    assert {actor for _, _, actor in acts(db)} == {COMMAND_LINE.name}
    assert "no account with this address" in str(
        runner.invoke(main.app, ["user", "disable", "nobody@example.com"]).exception
    )


def test_the_page_does_the_same(service: TestClient, grace: Student, ada: Student, db: Session) -> None:
    ada_id = id_of(ada)
    browser = Browser(service)
    browser.send("/sign-in", email="grace@example.com", password=PASSWORD)
    assert "ada@example.com" in said(browser.get("/admin/accounts"))
    assert "There is no such account." in said(browser.get("/admin/accounts", search="nobody"))
    assert "The account is disabled" in said(browser.send(f"/admin/accounts/{ada_id}/disable"))
    assert "disabled" in said(browser.get("/admin/accounts", search="ada"))
    assert "enable it first" in said(browser.send(f"/admin/accounts/{ada_id}/link"))
    assert "may sign in again" in said(browser.send(f"/admin/accounts/{ada_id}/enable"))
    assert "Nobody can disable their own" in said(browser.send(f"/admin/accounts/{id_of(grace)}/disable"))
    page = browser.send(f"/admin/accounts/{ada_id}/link").text
    link = page.partition('value="http://testserver')[2].partition('"')[0]
    assert "made a link for a new password" in said(browser.get("/admin/audit"))
    hers = Browser(service)
    token = link.partition("link=")[2]
    opened = hers.get("/new-password", link=token)
    assert ("ada@example.com" in opened.text, opened.headers["referrer-policy"]) == (True, "strict-origin")
    assert "8 to 200 characters" in said(hers.send("/new-password", link=token, password="short"))
    assert "soon be guessed" in said(hers.send("/new-password", link=token, password="password1"))
    assert "Your password is set" in said(hers.send("/new-password", link=token, password=NEW))
    assert "This link has been used" in said(hers.get("/new-password", link=token))
    assert said(hers.get("/dashboard")).count("Sign out") == 1


def test_without_mail_the_page_says_whom_to_ask(service: TestClient) -> None:
    page = Browser(service).get("/forgot-password")
    assert "Ask whoever runs this service" in said(page)
    assert "Forgot your password?" in said(Browser(service).get("/sign-in"))
    answer = service.post("/auth/forgot-password", json={"email": "ada@example.com"})
    assert (answer.status_code, "sends no mail" in answer.json()["detail"]) == (409, True)

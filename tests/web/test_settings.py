"""The settings as somebody at a browser meets them."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import security
from app.core.settings import settings
from app.crud import accounts, audit
from app.ml.training.scheduler import Trainer
from tests.school import PASSWORD, SOMEBODY, Student
from tests.web.browsing import Browser, said

SETTINGS = "/dashboard/settings"
NEW = "another long sentence"


def browser(service: TestClient, name: str = "ada", password: str = PASSWORD) -> Browser:
    """A browser of its own, signed in with an account that is made where there is none."""
    made = Browser(TestClient(service.app, raise_server_exceptions=False))
    given: dict[str, Any] = {"email": f"{name}@example.com", "password": password, "next": SETTINGS}
    made.client.post("/register", data=given, follow_redirects=False)
    assert made.send("/sign-in", **given).url.path == SETTINGS
    return made


@pytest.fixture
def ada(service: TestClient) -> Browser:
    return browser(service)


@pytest.fixture
def grace(service: TestClient, db: Session) -> Browser:
    """An admin."""
    made = browser(service, "grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    return made


def signs_in(service: TestClient, password: str) -> bool:
    made = Browser(TestClient(service.app))
    return made.send("/sign-in", email="ada@example.com", password=password, next=SETTINGS).url.path == SETTINGS


def is_signed_in(who: Browser) -> bool:
    return who.get(SETTINGS).url.path == SETTINGS


def test_a_new_name_is_what_the_pages_say(ada: Browser) -> None:
    page = ada.send(f"{SETTINGS}/name", name="  Ada <Lovelace>  ")
    assert "Your name is saved." in said(page)
    assert "Go on, Ada <Lovelace>" in said(ada.get("/"))
    assert ada.send(f"{SETTINGS}/name", name=" ").is_success
    assert "Go on, ada" in said(ada.get("/"))


@pytest.mark.parametrize("name", ["x" * 201])
def test_a_name_that_can_not_be_kept_is_refused_beside_the_field(ada: Browser, name: str) -> None:
    page = ada.send(f"{SETTINGS}/name", name=name)
    assert page.status_code == 422
    assert 'aria-describedby="name-wrong"' in page.text
    assert "at most 200 characters" in said(page)


def test_a_new_password_counts_at_once_and_signs_out_every_other_browser(service: TestClient, ada: Browser) -> None:
    elsewhere = browser(service)
    page = ada.send(f"{SETTINGS}/password", old=PASSWORD, new=NEW)
    assert "Your password is changed; every other browser and every token is signed out." in said(page)
    assert is_signed_in(ada)
    assert not is_signed_in(elsewhere)
    assert (signs_in(service, PASSWORD), signs_in(service, NEW)) == (False, True)


def token(service: TestClient, password: str = PASSWORD) -> Student:
    answer = service.post("/auth/token", data={"username": "ada@example.com", "password": password})
    return Student(service, answer.json()["access_token"])


def test_a_new_password_ends_every_token_too(service: TestClient, ada: Browser) -> None:
    caller = token(service)
    task = caller.ask().json()["id"]
    assert "every token for the API is signed out then" in said(ada.get(SETTINGS))
    ada.send(f"{SETTINGS}/password", old=PASSWORD, new=NEW)
    answers = [caller.get("/users/me"), caller.get("/practice-tasks"), caller.ask(), caller.complete(task)]
    assert [answer.status_code for answer in answers] == [401] * 4
    assert token(service, NEW).complete(task).status_code == 200


def test_of_two_new_passwords_at_once_only_one_is_taken(
    service: TestClient, ada: Browser, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, first = security.hash_password, security.hash_password("the first to be stored")

    def meanwhile(password: str) -> str:
        db.execute(text("UPDATE users SET password_hash = :first"), {"first": first})
        db.commit()
        return hashed(password)

    monkeypatch.setattr(security, "hash_password", meanwhile)
    assert "This is not your password." in said(ada.send(f"{SETTINGS}/password", old=PASSWORD, new=NEW))
    assert (signs_in(service, "the first to be stored"), signs_in(service, NEW)) == (True, False)


def test_browsers_and_tokens_are_listed_and_ended_one_by_one(service: TestClient, ada: Browser) -> None:
    one, other = token(service), token(service)
    task = other.ask().json()["id"]
    kinds = [each["kind"] for each in one.get("/users/me/sessions").json()]
    assert kinds == ["token", "token", "browser"] + ["browser"] * (len(kinds) - 3)
    assert said(ada.get(SETTINGS)).count("Token for the API, since") == 2
    newest = one.get("/users/me/sessions").json()[0]["id"]  # the other's
    assert service.delete(f"/users/me/sessions/{newest}", headers=one.headers).status_code == 204
    assert service.delete(f"/users/me/sessions/{newest}", headers=one.headers).status_code == 404
    assert (one.ask().status_code, other.ask().status_code, other.complete(task).status_code) == (201, 401, 401)
    mine = one.get("/users/me/sessions").json()[0]["id"]
    page = ada.send(f"{SETTINGS}/sessions/{mine}/end")
    assert "It is signed out" in said(page)
    assert one.get("/users/me").status_code == 401


def test_tokens_of_before_tokens_had_rows_go_on_until_a_new_password(
    service: TestClient, ada: Browser, db: Session
) -> None:
    user_id = db.scalar(text("SELECT id FROM users"))
    db.execute(text("INSERT INTO api_tokens (id, user_id, expires_at) VALUES (:id, :id, now())"), {"id": user_id})
    db.commit()
    claims = {"sub": str(user_id), "exp": datetime.now(UTC) + timedelta(hours=1)}
    old = Student(service, jwt.encode(claims, settings().signing_key(), "HS256"))
    assert old.do()["completed"]
    ada.send(f"{SETTINGS}/password", old=PASSWORD, new=NEW)
    assert old.ask().status_code == 401


def test_without_the_old_password_there_is_no_new_one(service: TestClient, ada: Browser) -> None:
    page = ada.send(f"{SETTINGS}/password", old="a guess of mine", new=NEW)
    assert (page.status_code, "This is not your password." in said(page)) == (422, True)
    assert signs_in(service, PASSWORD)


@pytest.mark.parametrize("new", ["", "short", "x" * 201])
def test_a_new_password_keeps_the_rules_of_the_first(service: TestClient, ada: Browser, new: str) -> None:
    page = ada.send(f"{SETTINGS}/password", old=PASSWORD, new=new)
    assert (page.status_code, "A password has 8 to 200 characters." in said(page)) == (422, True)
    assert signs_in(service, PASSWORD)


@pytest.mark.parametrize(("form", "field"), [("password", "old"), ("delete", "password")])
def test_nobody_guesses_the_password_with_a_stolen_session(ada: Browser, form: str, field: str) -> None:
    def tried(password: str) -> httpx.Response:
        given: dict[str, Any] = {field: password, "new": NEW}
        return ada.send(f"{SETTINGS}/{form}", **given)

    answers = [tried(f"guess {n}") for n in range(11)]
    assert [answer.status_code for answer in answers] == [422] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "Too many attempts" in said(answers[-1])
    assert tried(PASSWORD).status_code == 429  # not even with the right one


def test_language_and_colours_go_with_the_account(service: TestClient, ada: Browser) -> None:
    page = ada.send("/preferences", language="de", theme="dark", next=f"{SETTINGS}?done=look")
    assert page.url.path == SETTINGS
    for where in (page, browser(service).get("/")):
        assert '<html lang="de" data-theme="dark">' in where.text
    page = ada.send("/preferences", language="", theme="auto", next=f"{SETTINGS}?done=look")
    assert "Language and colours are saved." in said(page)
    assert '<html lang="en">' in page.text


def test_other_browsers_are_signed_out_and_this_one_is_not(service: TestClient, ada: Browser) -> None:
    assert "with this browser only" in said(ada.get(SETTINGS))
    others = [browser(service), browser(service)]
    assert "signed in with 3 browsers" in said(ada.get(SETTINGS))
    assert "Every other browser is signed out." in said(ada.send(f"{SETTINGS}/browsers"))
    assert [is_signed_in(who) for who in (ada, *others)] == [True, False, False]


def test_the_address_bar_says_nothing_of_its_own(ada: Browser) -> None:
    page = ada.get(SETTINGS, done="Your account was hacked, call 555-1234")
    assert "555-1234" not in page.text
    assert 'role="status"' not in page.text


def test_everything_is_taken_along_as_the_api_gives_it(service: TestClient, ada: Browser) -> None:
    ada.practise("=1+2")
    ada.practise("Waves", right=False)
    token = service.post("/auth/token", data={"username": "ada@example.com", "password": PASSWORD})
    caller = Student(service, token.json()["access_token"])
    as_json, as_csv = (ada.get(f"{SETTINGS}/export", format=kind) for kind in ("json", "csv"))
    theirs = caller.get("/users/me/export").json()
    assert {**as_json.json(), "exported_at": ""} == {**theirs, "exported_at": ""}
    assert as_csv.text == caller.get("/users/me/export", format="csv").text
    assert [row["topic"] for row in csv.DictReader(io.StringIO(as_csv.text))] == ["'=1+2", "Waves"]
    for answer, ending in ((as_json, "json"), (as_csv, "csv")):
        assert re.search(rf'attachment; filename="smartstudy-.*\.{ending}"', answer.headers["content-disposition"])
    page = ada.get(SETTINGS).text
    assert [f'href="{SETTINGS}/export?format={kind}"' in page for kind in ("json", "csv")] == [True, True]
    assert ada.get(f"{SETTINGS}/export", format="xml").status_code == 422


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trainings that were asked for, done by nobody."""
    asked: list[int] = []
    monkeypatch.setattr(Trainer, "request", lambda _: asked.append(1))
    return asked


def rows(db: Session) -> dict[str, int]:
    tables = ("users", "practice_tasks", "student_totals", "exam_plans", "browser_sessions")
    found = {table: db.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables}
    db.rollback()
    return found


def test_an_account_is_deleted_with_all_that_is_stored_and_the_front_page_says_so(
    service: TestClient, ada: Browser, db: Session, trained: list[int]
) -> None:
    ada.practise()
    elsewhere = browser(service)
    page = said(ada.get(f"{SETTINGS}/delete"))
    assert "Nobody can undo this" in page
    assert "1 task with its prediction and result" in page
    trained.clear()
    answer = ada.send(f"{SETTINGS}/delete", password=PASSWORD)
    assert (answer.url.path, answer.status_code) == ("/", 200)
    assert "Your account is erased" in said(answer)
    assert set(rows(db).values()) == {0}
    assert "smartstudy" not in ada.client.cookies
    assert not is_signed_in(ada)
    assert not is_signed_in(elsewhere)
    assert not signs_in(service, PASSWORD)
    assert trained
    assert browser(service, "ada").get(SETTINGS).is_success  # the address is free again


def test_only_who_knows_the_password_deletes(ada: Browser, db: Session) -> None:
    before = rows(db)
    page = ada.send(f"{SETTINGS}/delete", password="a guess of mine")
    assert (page.status_code, "This is not your password." in said(page)) == (422, True)
    assert rows(db) == before
    assert is_signed_in(ada)


def test_nobody_who_is_signed_in_is_told_that_the_account_is_erased(ada: Browser) -> None:
    assert "erased" not in said(ada.get("/", erased=1))


def test_a_student_reads_what_keys_are_and_who_gives_them(ada: Browser) -> None:
    page = ada.get(SETTINGS)
    assert "an admin of this installation gives them out" in said(page)
    assert "/dashboard/settings/keys" not in page.text


def shown_key(page: httpx.Response) -> str:
    return str(re.findall(r'value="(ssk_[^"]+)"', page.text)[0])


def link_of(page: httpx.Response, which: int = 0) -> str:
    return str(re.findall(r'href="(/dashboard/settings/keys/[^"]+)"', page.text)[which])


def lets_in(service: TestClient, key: str) -> bool:
    return Student(service, key).ask(user_id=SOMEBODY).status_code == 201


def test_a_key_is_made_shown_once_and_works(service: TestClient, grace: Browser, db: Session) -> None:
    page = grace.send(f"{SETTINGS}/keys", name="Hill School")
    key = shown_key(page)
    assert "the only time that the key is shown" in said(page)
    assert page.headers["cache-control"] == "no-store"
    assert lets_in(service, key)
    listed = grace.get(SETTINGS)
    assert ("Hill School" in said(listed), key in listed.text, key[:8] in listed.text) == (True, False, True)
    (entry,) = audit.newest(db, 10)
    assert (entry.actor, entry.act, entry.subject) == ("grace@example.com", "key created", "Hill School")
    assert entry.address == "testclient"
    assert entry.request_id == page.headers["x-request-id"]


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\nb", "ssk_x"])
def test_a_key_without_a_proper_name_is_refused_beside_the_field(grace: Browser, db: Session, name: str) -> None:
    page = grace.send(f"{SETTINGS}/keys", name=name)
    assert page.status_code == 422
    assert 'id="key-wrong"' in page.text
    assert audit.newest(db, 10) == []


def test_a_replaced_key_goes_on_for_a_while_and_a_revoked_one_does_not(
    service: TestClient, grace: Browser, db: Session
) -> None:
    old = shown_key(grace.send(f"{SETTINGS}/keys", name="Hill School"))
    assert "in use" in said(grace.send(f"{SETTINGS}/keys", name="Hill School"))  # twice is once too often
    one = link_of(grace.get(SETTINGS))
    page = grace.send(f"{one}/rotate", hours="1,5")
    new = shown_key(page)
    assert "stays valid for 1 h 30 min" in said(page)
    assert (lets_in(service, old), lets_in(service, new)) == (True, True)
    page = grace.send(f"{link_of(grace.get(SETTINGS), 1)}/revoke")  # the old one, listed below
    assert "The key is revoked" in said(page)
    assert (lets_in(service, old), lets_in(service, new)) == (False, True)
    newest = shown_key(grace.send(f"{link_of(grace.get(SETTINGS))}/rotate", hours="0"))
    assert (lets_in(service, new), lets_in(service, newest)) == (False, True)
    assert [each.act for each in audit.newest(db, 10)] == ["key rotated", "key revoked", "key rotated", "key created"]


@pytest.mark.parametrize("hours", ["", "-1", "nan", "inf", "soon", "8761", "1e999"])
def test_an_old_key_goes_on_for_a_number_of_hours(grace: Browser, db: Session, hours: str) -> None:
    grace.send(f"{SETTINGS}/keys", name="Hill School")
    page = grace.send(f"{link_of(grace.get(SETTINGS))}/rotate", hours=hours)
    assert (page.status_code, "a number of hours from 0 to 8,760" in said(page)) == (422, True)
    assert len(audit.newest(db, 10)) == 1


def test_a_key_that_was_revoked_meanwhile_can_not_be_replaced(grace: Browser) -> None:
    grace.send(f"{SETTINGS}/keys", name="Hill School")
    one = link_of(grace.get(SETTINGS))
    grace.send(f"{one}/revoke")
    page = grace.send(f"{one}/rotate", hours="24")
    assert (page.status_code, "There is no key named" in said(page)) == (409, True)
    assert grace.get(f"{SETTINGS}/keys/nonsense").status_code == 404
    assert grace.get(f"{SETTINGS}/keys/{SOMEBODY}").status_code == 404


def test_the_zone_comes_from_the_browser_and_stays_with_the_account(service: TestClient, db: Session) -> None:
    made = Browser(TestClient(service.app))
    made.client.cookies.set("zone", "Pacific/Auckland")
    made.client.post("/register", data={"email": "ada@example.com", "password": PASSWORD}, follow_redirects=False)
    assert kept_zone(db) == "Pacific/Auckland"
    made.client.cookies.set("zone", "Pacific/Honolulu")  # the same student, on a journey
    page = made.get(SETTINGS)
    assert kept_zone(db) == "Pacific/Auckland"
    assert "<option selected>Pacific/Auckland</option>" in page.text
    assert "as this browser says: Pacific/Honolulu" in said(page)


def test_a_browser_that_was_signed_in_already_tells_the_zone_too(ada: Browser, db: Session) -> None:
    assert kept_zone(db) is None
    ada.client.cookies.set("zone", "Asia/Tokyo")
    ada.get("/dashboard")
    assert kept_zone(db) == "Asia/Tokyo"


def test_another_zone_is_chosen_and_given_up_again(ada: Browser, db: Session) -> None:
    assert "Your time zone is saved." in said(ada.send(f"{SETTINGS}/zone", zone="America/Lima"))
    assert kept_zone(db) == "America/Lima"
    refused = ada.send(f"{SETTINGS}/zone", zone="Mars/Olympus")
    assert refused.status_code == 422
    assert "Please choose one of the time zones." in said(refused)
    ada.client.cookies.set("zone", "Asia/Tokyo")
    ada.send(f"{SETTINGS}/zone", zone="")
    assert kept_zone(db) == "Asia/Tokyo"


def kept_zone(db: Session) -> str | None:
    db.rollback()
    zone: str | None = db.scalar(text("SELECT time_zone FROM users WHERE email = 'ada@example.com'"))
    return zone


def test_a_student_allows_a_school_and_takes_it_back(service: TestClient, ada: Browser, grace: Browser) -> None:
    key = re.search(r"ssk_[\w.-]+", grace.send(f"{SETTINGS}/keys", name="North School", own_students="1").text)
    assert key
    assert "own students" in grace.get(SETTINGS).text
    school = Student(service, key[0])
    body = ada.client.get(f"{SETTINGS}/export?format=json").json()
    assert school.ask(user_id=body["account"]["id"]).status_code == 403
    assert "ask your school" in said(ada.send(f"{SETTINGS}/schools", school="Nobody"))
    page = ada.send(f"{SETTINGS}/schools", school="North School")
    assert "The school may record tasks for you now." in said(page)
    assert school.ask(user_id=body["account"]["id"]).status_code == 201
    path = re.search(rf"{SETTINGS}/schools/[\w-]+/revoke", page.text)
    assert path
    assert "records nothing new" in said(ada.send(path[0]))
    assert school.ask(user_id=body["account"]["id"]).status_code == 403

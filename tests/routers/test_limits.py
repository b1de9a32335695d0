"""Guessing passwords and making accounts by the thousand comes to an end, whoever tries and however many at once."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import database, security
from app.core.http.neighbourhood import neighbourhood
from app.core.settings import settings
from app.crud import rate_limits
from app.crud.rate_limits import Limit, key_of
from tests.school import PASSWORD

From = Callable[[str], TestClient]
MINUTE = 60


def sign_in(client: TestClient, password: str = "wrong", email: str = "ada@example.com") -> httpx.Response:  # noqa: S107
    answer: httpx.Response = client.post("/auth/token", data={"username": email, "password": password})
    return answer


def register(client: TestClient, name: str) -> int:
    body = {"email": f"{name}@example.com", "password": PASSWORD}
    return int(client.post("/auth/register", json=body).status_code)


def statuses(client: TestClient, n: int, **form: str) -> Counter[int]:
    return Counter(sign_in(client, **form).status_code for _ in range(n))


@pytest.fixture
def limits(environment: object, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def change(**most: int) -> None:
        for name, value in most.items():
            monkeypatch.setattr(settings(), name, value)

    return change


@pytest.fixture
def coming_from(service: TestClient) -> From:
    """The same service, asked from another address."""

    def client(address: str) -> TestClient:
        return TestClient(service.app, raise_server_exceptions=False, client=(address, 1))

    return client


def later(db: Session, minutes: float) -> None:
    db.execute(text("UPDATE rate_limits SET since = since - make_interval(secs => :s)"), {"s": minutes * MINUTE})
    db.commit()


def test_ten_wrong_passwords_are_enough(service: TestClient, student: Any, db: Session) -> None:
    student("ada")
    assert statuses(service, 12) == {401: 10, 429: 2}
    refused = sign_in(service, PASSWORD)  # not even the right one
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 290 <= int(refused.headers["retry-after"]) <= 300
    assert refused.headers["retry-after"] in refused.json()["detail"]
    later(db, 5)
    assert sign_in(service, PASSWORD).status_code == 200


def test_a_right_password_in_time_starts_the_count_anew(
    service: TestClient, student: Any, coming_from: From, db: Session
) -> None:
    student("ada")
    for _ in range(3):
        assert statuses(service, 9) == {401: 9}
        assert sign_in(service, PASSWORD).status_code == 200
    assert statuses(coming_from("192.0.2.7"), 9) == {401: 9}
    assert sign_in(coming_from("192.0.2.7"), PASSWORD).status_code == 200
    elsewhere = db.scalar(text("SELECT n FROM rate_limits WHERE key LIKE 'sign in anywhere from%'"))
    assert elsewhere == 9  # failures only, and only from where nobody of that name had signed in


def test_signing_in_rightly_is_never_too_often(service: TestClient, student: Any) -> None:
    student("ada")
    assert statuses(service, 120, password=PASSWORD) == {200: 120}


def test_other_accounts_and_other_addresses_go_on(student: Any, service: TestClient, coming_from: From) -> None:
    student("ada")
    student("ben")
    assert statuses(service, 11)[429] == 1
    assert sign_in(service, PASSWORD, "ben@example.com").status_code == 200
    assert sign_in(coming_from("192.0.2.7"), PASSWORD).status_code == 200


def test_one_address_cannot_try_many_accounts(service: TestClient, limits: Callable[..., None]) -> None:
    limits(failed_sign_ins_per_address=5)
    tried = [sign_in(service, email=f"{n}@example.com").status_code for n in range(7)]
    assert tried == [401] * 5 + [429] * 2


def test_one_account_cannot_be_tried_from_many_addresses(
    student: Any, coming_from: From, limits: Callable[..., None], db: Session
) -> None:
    student("ada")
    limits(failed_sign_ins_per_account=5)
    tried = [sign_in(coming_from(f"192.0.2.{n}")).status_code for n in range(7)]
    assert tried == [401] * 5 + [429] * 2
    refused = sign_in(coming_from("192.0.2.9"), PASSWORD)
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    later(db, 60)
    assert sign_in(coming_from("192.0.2.9"), PASSWORD).status_code == 200


def test_a_hundred_wrong_tries_from_elsewhere_do_not_shut_out_who_has_signed_in_before(
    student: Any, service: TestClient, coming_from: From, limits: Callable[..., None]
) -> None:
    student("ada")  # from the address of the test client
    browser = coming_from("198.51.100.1")
    form = {"email": "ada@example.com", "password": PASSWORD}
    assert browser.post("/sign-in", data=form, follow_redirects=False).status_code == 303
    tried = Counter(sign_in(coming_from(f"192.0.2.{n % 20}")).status_code for n in range(120))
    assert tried == {401: 100, 429: 20}
    assert sign_in(coming_from("203.0.113.5"), PASSWORD).status_code == 429  # from nowhere known
    assert sign_in(service, PASSWORD).status_code == 200
    elsewhere = coming_from("203.0.113.6")  # the browser, carried to another address
    elsewhere.cookies = {"smartstudy-browser": browser.cookies["smartstudy-browser"]}
    assert elsewhere.post("/sign-in", data=form, follow_redirects=False).status_code == 303


def test_who_has_registered_in_a_browser_is_known_there_too(
    service: TestClient, coming_from: From, limits: Callable[..., None]
) -> None:
    browser = coming_from("198.51.100.1")
    form = {"email": "ada@example.com", "password": PASSWORD}
    browser.post("/register", data=form, follow_redirects=False)
    limits(failed_sign_ins_per_account=5)
    statuses(service, 6)
    assert sign_in(coming_from("198.51.100.1"), PASSWORD).status_code == 200
    assert sign_in(service, PASSWORD).status_code == 429


def test_a_classmate_behind_the_same_address_shuts_nobodys_own_browser_out(
    service: TestClient, student: Any, coming_from: From
) -> None:
    student("ada")
    own = coming_from("testclient")
    form = {"email": "ada@example.com", "password": PASSWORD}
    assert own.post("/sign-in", data=form, follow_redirects=False).status_code == 303
    assert statuses(service, 11) == {401: 10, 429: 1}
    assert own.post("/sign-in", data=form, follow_redirects=False).status_code == 303


def test_a_school_behind_one_address_is_not_one_attacker(service: TestClient, limits: Callable[..., None]) -> None:
    assert {register(service, f"pupil{n}") for n in range(150)} == {201}
    limits(failed_sign_ins_per_address=20)
    assert {sign_in(service, email=f"nobody{n}@example.com").status_code for n in range(25)} == {401, 429}
    assert {sign_in(service, PASSWORD, f"pupil{n}@example.com").status_code for n in range(30)} == {200}


def test_a_browsers_cookie_of_somebody_elses_account_is_worth_nothing(
    student: Any, coming_from: From, limits: Callable[..., None]
) -> None:
    student("ada")
    student("mallory")
    limits(failed_sign_ins_per_account=5)
    theirs = coming_from("192.0.2.1")
    theirs.post("/sign-in", data={"email": "mallory@example.com", "password": PASSWORD}, follow_redirects=False)
    assert statuses(theirs, 12) == {401: 5, 429: 7}


def test_who_is_refused_does_not_lock_the_account_for_others(
    student: Any, service: TestClient, coming_from: From, limits: Callable[..., None]
) -> None:
    student("ada")
    limits(failed_sign_ins_per_account=20)
    statuses(service, 60)
    assert sign_in(coming_from("192.0.2.7"), PASSWORD).status_code == 200


def test_a_refusal_does_not_tell_which_addresses_are_known(service: TestClient, student: Any) -> None:
    student("ada")
    known, unknown = (statuses(service, 12, email=f"{name}@example.com") for name in ("ada", "nobody"))
    assert known == unknown
    bodies = [sign_in(service, email=f"{name}@example.com") for name in ("ada", "nobody")]
    assert len({answer.json()["detail"].split("again in")[0] for answer in bodies}) == 1
    assert len({tuple(sorted(answer.headers)) for answer in bodies}) == 1


def test_an_address_is_the_same_in_any_spelling(service: TestClient) -> None:
    tried = [sign_in(service, email=email).status_code for email in ["Ada@example.com", " ada@EXAMPLE.com "] * 6]
    assert tried == [401] * 10 + [429] * 2


def test_a_flood_costs_no_password_work(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    fits = security.password_fits
    monkeypatch.setattr(security, "password_fits", lambda *given: looked_at.append(1) or fits(*given))  # type: ignore[func-returns-value]
    statuses(service, 40)
    assert len(looked_at) == 10


def test_many_at_once_do_not_slip_through(service: TestClient, student: Any) -> None:
    student("ada")
    with ThreadPoolExecutor(16) as pool:
        tried = Counter(pool.map(lambda _: sign_in(service).status_code, range(48)))
    assert tried == {401: 10, 429: 38}


def test_many_who_sign_in_at_once_all_get_in(service: TestClient) -> None:
    names = [f"s{n}" for n in range(24)]
    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(lambda name: register(service, name), names)) == {201}
        tried = pool.map(lambda name: sign_in(service, PASSWORD, f"{name}@example.com").status_code, names * 3)
        assert set(tried) == {200}


def test_registration_is_limited_by_address(
    service: TestClient, coming_from: From, limits: Callable[..., None], db: Session
) -> None:
    limits(registrations_per_address=3)
    assert [register(service, name) for name in "aabcd"] == [201, 409, 201, 429, 429]
    assert register(coming_from("192.0.2.7"), "c") == 201
    later(db, 10)
    assert register(service, "d") == 201


def test_nought_is_no_limit(service: TestClient, limits: Callable[..., None], db: Session) -> None:
    limits(failed_sign_ins=0, failed_sign_ins_per_address=0, failed_sign_ins_per_account=0, registrations_per_address=0)
    assert statuses(service, 30) == {401: 30}
    assert register(service, "ada") == 201
    assert sign_in(service, PASSWORD).status_code == 200
    assert db.scalar(text("SELECT count(*) FROM rate_limits")) == 0


def test_who_tried_is_stored_as_a_hash_only(service: TestClient, coming_from: From, db: Session) -> None:
    sign_in(coming_from("192.0.2.7"))
    register(coming_from("192.0.2.7"), "ada")
    keys = list(db.scalars(text("SELECT key FROM rate_limits")))
    assert len(keys) == 4
    assert not any("ada" in key or "192" in key for key in keys)


def test_a_flood_leaves_nothing_behind(service: TestClient, limits: Callable[..., None], db: Session) -> None:
    limits(failed_sign_ins_per_address=5)
    for n in range(5):
        sign_in(service, email=f"{n}@example.com")
    before = db.execute(text("SELECT * FROM rate_limits ORDER BY key")).all()
    db.commit()
    for n in range(5, 40):
        assert sign_in(service, email=f"{n}@example.com").status_code == 429
    assert db.execute(text("SELECT * FROM rate_limits ORDER BY key")).all() == before
    assert len(before) == 11


def test_counts_whose_time_is_over_are_removed(service: TestClient, db: Session) -> None:
    sign_in(service)
    later(db, 61)
    rate_limits.count(db, [Limit(key_of("fresh"), 5, 60)])
    rate_limits.clean(db)
    assert db.scalars(text("SELECT key FROM rate_limits")).all() == [key_of("fresh")]


def test_a_count_survives_a_request_that_breaks(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as change:
        change.setattr("app.crud.accounts.sign_in_data", broken)
        assert statuses(service, 10) == {500: 10}
    assert sign_in(service).status_code == 429


def test_a_clock_that_was_set_back_locks_nobody_out(service: TestClient, db: Session) -> None:
    statuses(service, 11)
    later(db, -120)
    assert sign_in(service).status_code == 401


@contextmanager
def limited_by_two() -> Iterator[tuple[Session, Session]]:
    with database.new_session()() as one, database.new_session()() as other:
        yield one, other


def test_processes_count_together(environment: object) -> None:
    limit = Limit(key_of("tried"), 2, 60)
    with limited_by_two() as sessions:
        waits = []
        for turn in range(4):
            waits.append(rate_limits.count(sessions[turn % 2], [limit]))
            sessions[turn % 2].commit()
    assert waits[:2] == [0, 0]
    assert all(0 < wait <= 60 for wait in waits[2:])


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_one_network_of_ipv6_counts_as_one(address: str, counted: str) -> None:
    assert neighbourhood(address) == counted


@pytest.mark.parametrize("email", ["a\x00", "\ud800", "x" * 60_000, "'; DROP TABLE users", "ü@ü"])
def test_odd_names_fail_like_others(service: TestClient, email: str) -> None:
    form = b"password=x&username=" + email.encode(errors="surrogatepass")
    answer = service.post("/auth/token", content=form, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 401


def test_the_document_names_the_limits(service: TestClient) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    for path in ("/auth/token", "/auth/register"):
        described = paths[path]["post"]["responses"]["429"]
        assert "Retry-After" in described["headers"]

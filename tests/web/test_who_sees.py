"""Every page, asked for by everybody: who is let in stands in RULES, and a page without a rule fails.

`python -m tests.web.test_who_sees` writes the table in docs/security.md anew.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import security
from app.core.http.cookies import SESSION
from app.crud import accounts, allowed_schools, browser_sessions, service_keys, sessions
from app.domain.actors import COMMAND_LINE
from app.main import create_app
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from tests.conftest import Template, copy_of
from tests.hostile import HEADERS, PATHS, QUERIES, TEXTS, Heard
from tests.hostile import send as send_bytes
from tests.routers.test_access import DOCUMENT, routes
from tests.school import PASSWORD, imported
from tests.versions import serving, version
from tests.web.browsing import HTML, said

BEGIN, END = "<!-- pages -->\n", "<!-- end of pages -->"
OWN = "http://testserver"

KNOWN = ("student", "another student", "admin")
STRANGERS = ("nobody", "ended session", "forged cookie", "erased account")
COLUMNS = ("nobody", *KNOWN, *STRANGERS[1:])
SIGN_IN = "sign in"  # the answer leads there

# What those who are known get; None: they are let in. Whoever is not named is led to the sign-in.
OPEN = dict.fromkeys(COLUMNS)
SIGNED_IN = dict.fromkeys(KNOWN)
OWNER = {"student": None, "another student": 404, "admin": 404}
ADMINS = {"student": 403, "another student": 403, "admin": None}
AT_THE_MACHINE = {**dict.fromkeys(COLUMNS, 403), "admin": None}  # whose requests come from elsewhere here
STRANGERS_ONLY = {**OPEN, **dict.fromkeys(KNOWN, 303)}  # the others are led on


@dataclass
class World:
    """What there is to look at, and the cookies of everybody who might."""

    task_id: str
    version_id: int
    key_id: UUID
    plan_id: str = ""
    session_id: str = ""
    account_id: str = ""  # that none of the callers has
    school_id: str = ""  # that the student allowed
    cookies: dict[str, list[str | None]] = field(default_factory=dict)  # of each caller, one or several


@dataclass(frozen=True)
class Rule:
    """Who is let in, and how a form looks that lacks nothing but perhaps the right to be sent."""

    whom: Mapping[str, int | None]
    ok: int = 200
    form: Callable[[], dict[str, Any]] | None = None

    def expects(self, caller: str) -> int | str:
        return (self.whom[caller] or self.ok) if caller in self.whom else SIGN_IN


def form(**fields: Any) -> Callable[[], dict[str, Any]]:
    return lambda: fields


def exam() -> dict[str, Any]:
    day = datetime.now(UTC).date() + timedelta(days=9)
    return {"exam_date": day.isoformat(), "more": "Waves", "minutes": "20", "target": "0.8"}


RULES = {
    "GET /sign-in": Rule(STRANGERS_ONLY),
    "POST /sign-in": Rule(OPEN, 303, form(email="student@example.com", password=PASSWORD)),
    "POST /sign-out": Rule(OPEN, 303),
    "GET /register": Rule(STRANGERS_ONLY),
    "POST /register": Rule(OPEN, 303, lambda: {"email": f"{uuid4()}@example.com", "password": PASSWORD}),
    "GET /forgot-password": Rule(OPEN),
    "POST /forgot-password": Rule(OPEN, 409, form(email="student@example.com")),  # no mail is sent here
    "GET /new-password": Rule(OPEN, 410),
    "POST /new-password": Rule(OPEN, 410, form(link="no link", password=PASSWORD)),
    "POST /preferences": Rule(OPEN, 303, form(language="de", theme="dark")),
    "POST /begin": Rule(AT_THE_MACHINE, 303),
    "GET /favicon.ico": Rule(OPEN),
    "GET /dashboard": Rule(SIGNED_IN),
    "GET /dashboard/analytics": Rule(SIGNED_IN),
    "GET /dashboard/history": Rule(SIGNED_IN),
    "GET /dashboard/preparation": Rule(SIGNED_IN),
    "POST /dashboard/preparation": Rule(SIGNED_IN, 303, lambda: exam()),
    "GET /dashboard/preparation/{plan_id}": Rule(OWNER),
    "POST /dashboard/preparation/{plan_id}/remove": Rule(OWNER, 303),
    "GET /dashboard/tasks": Rule(SIGNED_IN),
    "POST /dashboard/tasks": Rule(SIGNED_IN, 303, form(topic="Calculus", difficulty="easy")),
    "GET /dashboard/tasks/{task_id}": Rule(OWNER),
    "POST /dashboard/tasks/{task_id}": Rule(OWNER, 303, form(result="right", seconds="30")),
    "GET /dashboard/tasks/{task_id}/why": Rule(OWNER),
    "POST /dashboard/tasks/{task_id}/result": Rule(OWNER, 303, form(result="wrong", seconds="30")),
    "POST /dashboard/tasks/{task_id}/undo": Rule(OWNER, 303),
    "POST /dashboard/tasks/{task_id}/discard": Rule(OWNER, 303),
    "GET /dashboard/training": Rule(SIGNED_IN),
    "GET /dashboard/settings": Rule(SIGNED_IN),
    "POST /dashboard/settings/name": Rule(SIGNED_IN, 303, form(name="Somebody")),
    "POST /dashboard/settings/zone": Rule(SIGNED_IN, 303, form(zone="Pacific/Auckland")),
    "POST /dashboard/settings/password": Rule(SIGNED_IN, 303, form(old=PASSWORD, new="another long sentence")),
    "POST /dashboard/settings/browsers": Rule(SIGNED_IN, 303),
    "POST /dashboard/settings/sessions/{session_id}/end": Rule(OWNER, 303),
    "POST /dashboard/settings/schools": Rule(SIGNED_IN, 303, lambda: {"school": "school"}),
    "POST /dashboard/settings/schools/{school_id}/revoke": Rule(OWNER, 303),
    "GET /dashboard/settings/export": Rule(SIGNED_IN),
    "GET /dashboard/settings/delete": Rule(SIGNED_IN),
    "POST /dashboard/settings/delete": Rule(SIGNED_IN, 303, form(password=PASSWORD)),
    "POST /dashboard/settings/keys": Rule(ADMINS, 200, form(name="another school")),
    "GET /dashboard/settings/keys/{key_id}": Rule(ADMINS),
    "POST /dashboard/settings/keys/{key_id}/rotate": Rule(ADMINS, 200, form(hours="24")),
    "POST /dashboard/settings/keys/{key_id}/revoke": Rule(ADMINS, 303),
    "GET /admin": Rule(ADMINS),
    "POST /admin/rollback": Rule(ADMINS, 303),
    "POST /admin/train": Rule(ADMINS, 303, form(kind="lnirt")),
    "POST /admin/pause": Rule(ADMINS, 303, form(reason="Exams.")),
    "POST /admin/resume": Rule(ADMINS, 303),
    "GET /admin/versions": Rule(ADMINS),
    "GET /admin/versions/{version_id}": Rule(ADMINS),
    "POST /admin/versions/{version_id}/promote": Rule(ADMINS, 303),
    "GET /admin/runs": Rule(ADMINS),
    "GET /admin/comparison": Rule(ADMINS),
    "GET /admin/audit": Rule(ADMINS),
    "GET /admin/demonstration": Rule(ADMINS),
    "POST /admin/demonstration": Rule(ADMINS, 303),
    "GET /admin/accounts": Rule(ADMINS),
    "POST /admin/accounts/{account_id}/disable": Rule(ADMINS, 303),
    "POST /admin/accounts/{account_id}/enable": Rule(ADMINS, 303),
    "POST /admin/accounts/{account_id}/link": Rule(ADMINS),
    "GET /admin/topics": Rule(ADMINS),
    "POST /admin/topics/rename": Rule(ADMINS, 303, form(topic="Waves", to="Waves and light")),
    "POST /admin/topics/merge": Rule(ADMINS, 303, form(topic="Waves", to="algebra")),
    "POST /admin/topics/approve": Rule(ADMINS, 303, form(topic="Waves")),
    "POST /admin/topics/hide": Rule(ADMINS, 303, form(topic="Waves")),
    "POST /admin/topics/show": Rule(ADMINS, 303, form(topic="Waves")),
}
POSTS = [name for name in RULES if name.startswith("POST ")]
GETS = [name for name in RULES if name.startswith("GET ")]


def page_routes() -> Iterator[tuple[str, Any]]:
    """Every page below "/", by method and path."""
    for route in routes(create_app().routes):
        written_in = getattr(getattr(route, "endpoint", None), "__module__", "")
        if written_in.startswith("app.web.") and not route.include_in_schema:
            yield from ((f"{method} {route.path}", route) for method in route.methods)


def matrix() -> str:
    """The table, as docs/security.md has it."""
    head = f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}\n"
    rows = (
        f"| `{name}` | {' | '.join(str(rule.expects(caller)) for caller in COLUMNS)} |\n"
        for name, rule in RULES.items()
    )
    return head + "".join(rows)


def with_matrix(document: str) -> str:
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{matrix()}\n{END}{rest.partition(END)[2]}"


def account(db: Session, name: str) -> UUID:
    return accounts.register(db, f"{name}@example.com", None, security.hash_password(PASSWORD)).id


def session(db: Session, user_id: UUID) -> str:
    """The cookie of a browser that is signed in, committed."""
    token = browser_sessions.start(db, user_id, 3600)
    db.commit()
    return token


def made_world(service: TestClient, db: Session) -> World:
    """One of each, a task of the student's, two versions of which the later serves, tasks to train on."""
    student, other, admin = account(db, "student"), account(db, "another"), account(db, "admin")
    accounts.make_admin(db, "admin@example.com")
    service_keys.create(db, "school", COMMAND_LINE)
    imported(db, simulate(simulated_school(4, seed=1), 5, seed=1).attempts)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 0"))  # no training is due
    old, new = version(db), version(db)
    serving(db, old)
    serving(db, new)
    made = World("", old, service_keys.listed(db)[0].id)
    made.cookies = {
        "nobody": [None, "", "x"],
        **{name: [session(db, of)] for name, of in zip(KNOWN, (student, other, admin), strict=True)},
        "ended session": ended_sessions(db, admin),
        "forged cookie": forged(db, admin),
        "erased account": [erased_account(db)],
    }
    asked = ask(service, "POST", "/dashboard/tasks", made.cookies["student"][0], {"topic": "Waves"})
    made.task_id = asked.headers["location"].rpartition("/")[2]
    planned = ask(service, "POST", "/dashboard/preparation", made.cookies["student"][0], exam())
    made.account_id = str(account(db, "spare"))
    made.school_id = str(allowed_schools.allow(db, student, "school").id)
    made.session_id = str(sessions.start_token(db, student, 3600))
    db.commit()
    made.plan_id = planned.headers["location"].rpartition("/")[2]
    return made


@pytest.fixture(scope="module")
def filled(template: Callable[..., Template]) -> Template:
    return template(made_world)


@pytest.fixture
def database_url(server: str, filled: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A copy of the world."""
    with copy_of(server, filled, monkeypatch) as url:
        yield url


@pytest.fixture
def world(filled: Template) -> World:
    return filled.content  # type: ignore[no-any-return]


def ended_sessions(db: Session, user_id: UUID) -> list[str | None]:
    """One that was signed out, one that ran out."""
    signed_out, too_old = session(db, user_id), session(db, user_id)
    browser_sessions.end(db, signed_out)
    digest = hashlib.sha256(too_old.encode()).digest()
    db.execute(text("UPDATE browser_sessions SET expires_at = now() WHERE token_hash = :digest"), {"digest": digest})
    db.commit()
    return [signed_out, too_old]


def forged(db: Session, user_id: UUID) -> list[str | None]:
    """The wrong letters, what the table holds instead of the cookie, and a token of the API."""
    token = session(db, user_id)
    stored = hashlib.sha256(token.encode())
    return [token.swapcase(), token[:-1], stored.hexdigest(), str(user_id), security.issue_token(user_id, uuid4())[0]]


def erased_account(db: Session) -> str:
    gone = account(db, "gone")
    token = session(db, gone)
    db.execute(text("DELETE FROM users WHERE id = :gone"), {"gone": gone})
    db.commit()
    return token


def ask(
    service: TestClient, method: str, path: str, cookie: str | None, form: dict[str, Any] | None = None, **headers: str
) -> httpx.Response:
    """With this cookie and no other, wherever it leads."""
    service.cookies.clear()
    sent = HTML | ({} if cookie is None else {"Cookie": f"{SESSION}={cookie}"}) | headers
    answer: httpx.Response = service.request(method, path, data=form, headers=sent, follow_redirects=False)
    return answer


def place(name: str, world: World) -> str:
    return name.partition(" ")[2].format(**vars(world))


def send(service: TestClient, world: World, name: str, cookie: str | None, **headers: str) -> httpx.Response:
    """As the rule has it, from a page of ours unless the headers say otherwise."""
    rule, method = RULES[name], name.partition(" ")[0]
    return ask(service, method, place(name, world), cookie, rule.form() if rule.form else None, **headers)


def outcome(answer: httpx.Response) -> int | str:
    leads_to_sign_in = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
    return SIGN_IN if leads_to_sign_in else answer.status_code


def test_every_page_has_a_rule_and_every_rule_a_page() -> None:
    assert set(RULES) == {name for name, _ in page_routes()}


@pytest.mark.parametrize("name", RULES)
def test_it_lets_in_whom_it_should_and_nobody_else(service: TestClient, world: World, name: str) -> None:
    rule, got = RULES[name], {}
    for caller in (*STRANGERS, *KNOWN):  # those who are to be kept out come first
        answers = [send(service, world, name, cookie) for cookie in world.cookies[caller]]
        got[caller] = {outcome(answer) for answer in answers}
        for answer in answers:
            is_page = answer.headers.get("content-type", "").startswith("text/html")
            assert is_page or answer.status_code < 400, answer.text
    assert got == {caller: {rule.expects(caller)} for caller in COLUMNS}


@pytest.mark.parametrize("name", GETS)
def test_after_signing_in_one_is_where_one_wanted_to_be(service: TestClient, world: World, name: str) -> None:
    refused = send(service, world, name, None)
    if outcome(refused) != SIGN_IN:
        return
    target = refused.headers["location"]
    assert target == f"/sign-in?next={place(name, world)}"
    page = ask(service, "GET", target, None).text
    back = re.findall(r'name="next" value="([^"]*)"', page)[0]
    signed_in = ask(
        service, "POST", "/sign-in", None, {"email": "admin@example.com", "password": PASSWORD, "next": back}
    )
    assert signed_in.headers["location"] == place(name, world)


def test_below_a_prefix_of_a_proxy_one_comes_back_to_the_page_too(service: TestClient, world: World) -> None:
    with TestClient(service.app, base_url=OWN, root_path="/school") as below:
        led = ask(below, "GET", "/school/dashboard/settings", None).headers["location"]
        assert led == "/school/sign-in?next=/dashboard/settings"
        given = {"email": "student@example.com", "password": PASSWORD, "next": "/dashboard/settings"}
        back = ask(below, "POST", "/school/sign-in", None, given)
    assert back.headers["location"] == "/school/dashboard/settings"
    assert "Path=/school;" in back.headers["set-cookie"]


def test_a_task_of_somebody_else_looks_like_none(service: TestClient, world: World) -> None:
    def told(path: str, method: str = "GET") -> tuple[int, str]:
        answer = ask(service, method, path, world.cookies["another student"][0], {"result": "right"})
        return answer.status_code, re.sub(r"[0-9a-f]{32}|[0-9a-f-]{36}", "", said(answer))

    theirs, none = f"/dashboard/tasks/{world.task_id}", f"/dashboard/tasks/{uuid4()}"
    assert told(theirs) == told(none)
    assert told(f"{theirs}/why") == told(f"{none}/why")
    assert told(theirs, "POST") == told(none, "POST")
    assert told(theirs)[0] == 404


def test_who_becomes_an_admin_or_is_none_any_more_is_treated_so_at_once(
    service: TestClient, world: World, db: Session
) -> None:
    for is_admin, status in ((True, 200), (False, 403)):
        db.execute(text("UPDATE users SET is_admin = :is_admin"), {"is_admin": is_admin})
        db.commit()
        assert ask(service, "GET", "/admin", world.cookies["student"][0]).status_code == status


ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
    {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "http://testserver:81"},
    {"Origin": "http://testserver@evil.example"},
    {"Origin": "http://evil.example/http://testserver"},
    {"Origin": "testserver"},
    {"Origin": "https://testserver"},
    {"Referer": "https://evil.example/page"},
    {"Referer": "https://testserver/dashboard"},
    {"Referer": "http://["},
    {"Referer": ""},
    {"Referer": "https://evil.example/", "Origin": "https://evil.example"},
]


def contents(db: Session) -> dict[str, str]:
    """Every table, as one number."""
    tables = db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
    digest = "SELECT coalesce(md5(string_agg(row::text, ',' ORDER BY row::text)), '') FROM {} AS row"
    found = {table: db.scalar(text(digest.format(table))) for table in tables}
    db.rollback()
    return found


@pytest.mark.parametrize("name", POSTS)
def test_a_form_of_another_site_is_refused_and_does_nothing(
    service: TestClient, world: World, db: Session, name: str
) -> None:
    before = contents(db)
    for headers in ELSEWHERE:
        for caller in ("admin", "student", "nobody"):
            answer = send(service, world, name, world.cookies[caller][0], **headers)
            assert answer.status_code == 403, (headers, caller)
            assert "sent from another site" in said(answer)
            assert "set-cookie" not in answer.headers
    assert contents(db) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Referer": f"{OWN}/dashboard/settings?done=name"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_ours_is_taken_and_so_is_one_without_a_browser(
    service: TestClient, world: World, headers: dict[str, str]
) -> None:
    answer = send(service, world, "POST /dashboard/settings/name", world.cookies["student"][0], **headers)
    assert answer.headers["location"] == "/dashboard/settings?done=name"


@pytest.mark.parametrize("name", GETS)
def test_looking_changes_nothing(service: TestClient, world: World, db: Session, name: str) -> None:
    """So a link on another site can do no more than show a page to the one it belongs to."""
    before = contents(db)
    assert send(service, world, name, world.cookies["admin"][0]).status_code < 500
    assert contents(db) == before


NEXTS = [
    *("https://evil.example", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example"),
    *("/\t/evil.example", "/\n/evil.example", "http:evil.example", "http:/evil.example", " //evil.example"),
    *("/ /evil.example", "javascript:alert(1)", "evil.example", "@evil.example", ".evil.example"),
    *("/\x00/evil.example", "/\u2028/evil.example", "%2F%2Fevil.example", "/%2F/evil.example", "/..//evil.example"),
    *("/./\\evil.example", "/\r\nSet-Cookie: a=b", "/?next=//evil.example", "/\u200b/evil.example"),
    *("／／evil.example", "/" + "x" * 20_000, "", "/", "?", "#", "mailto:a@evil.example"),
]


def host_of(location: str) -> str:
    """Where a browser goes: it drops tabs and line breaks, and takes a backslash for a slash."""
    cleaned = re.sub(r"[\t\r\n]", "", location.strip()).replace("\\", "/")
    return urlsplit(urljoin(f"{OWN}/sign-in", cleaned)).netloc


@pytest.mark.parametrize("target", NEXTS)
def test_no_way_on_leads_to_another_host(service: TestClient, world: World, target: str) -> None:
    cookie = world.cookies["student"][0]
    given = {"email": "student@example.com", "password": PASSWORD, "next": target}
    for answer in (
        ask(service, "POST", "/sign-in", None, given),
        ask(service, "POST", "/preferences", None, {"next": target}),
        ask(service, "POST", "/preferences", cookie, {"next": target}),
        ask(service, "GET", f"/sign-in?{urlencode({'next': target})}", cookie),
    ):
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/")
        assert host_of(answer.headers["location"]) == "testserver"
        assert "a=b" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", [
    "POST /sign-in", "POST /register", "POST /sign-out", "POST /preferences", "POST /dashboard/settings/password",
    "POST /dashboard/settings/browsers", "POST /dashboard/settings/delete",
])  # fmt: skip
def test_no_script_and_no_other_site_gets_at_the_cookies(
    service: TestClient, world: World, name: str, scheme: str
) -> None:
    rule, path = RULES[name], f"{scheme}://testserver{place(name, world)}"
    named = f"{'__Host-' if scheme == 'https' else ''}{SESSION}="
    held = {"Cookie": f"{named}{world.cookies['student'][0]}"}
    answer = ask(service, "POST", path, None, rule.form() if rule.form else None, **held)
    cookies = answer.headers.get_list("set-cookie")
    assert cookies
    assert name == "POST /preferences" or any(cookie.startswith(named) for cookie in cookies)
    for cookie in cookies:
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
        assert ("Secure" in cookie) == (scheme == "https")
        assert "Domain" not in cookie


def test_the_database_holds_no_cookie(service: TestClient, world: World, db: Session) -> None:
    token = send(service, world, "POST /register", None).cookies[SESSION]
    assert len(token) >= 43  # 256 bits
    digest = hashlib.sha256(token.encode()).digest()
    stored = db.scalars(text("SELECT token_hash FROM browser_sessions")).all()
    assert digest in [bytes(each) for each in stored]
    for table in db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")):
        rows = db.scalars(text(f"SELECT row::text FROM {table} AS row")).all()
        assert not any(token in row for row in rows), table


def test_over_https_only_the_guarded_cookie_counts(service: TestClient, world: World) -> None:
    """A neighbour under the same domain can set one of the plain name, but none that begins with __Host-."""
    path, cookie = "https://testserver/dashboard/settings", world.cookies["student"][0]
    assert ask(service, "GET", path, None, Cookie=f"__Host-{SESSION}={cookie}").status_code == 200
    assert outcome(ask(service, "GET", path, None, Cookie=f"{SESSION}={cookie}")) == SIGN_IN


def test_below_a_path_of_a_proxy_the_cookie_is_bound_to_https_and_that_path(service: TestClient, world: World) -> None:
    given = {"email": "student@example.com", "password": PASSWORD}
    with TestClient(service.app, base_url="https://testserver", root_path="/school") as below:
        answer = ask(below, "POST", "/school/sign-in", None, given)
    assert answer.headers["set-cookie"].startswith(f"__Secure-{SESSION}=")
    assert "Path=/school;" in answer.headers["set-cookie"]


def opens(service: TestClient, cookie: str) -> bool:
    return ask(service, "GET", "/dashboard/settings", cookie).status_code == 200


def test_a_cookie_of_before_opens_nothing(service: TestClient, world: World, db: Session) -> None:
    """After signing out or in anew, after a change of the password or a sign-out, here or elsewhere, and erasure."""
    student = db.scalar(text("SELECT id FROM users WHERE email = 'student@example.com'"))
    db.rollback()
    for name, also in (
        ("POST /sign-out", False),
        ("POST /sign-in", False),
        ("POST /dashboard/settings/browsers", True),
        ("POST /dashboard/settings/password", True),
    ):
        here, elsewhere = session(db, student), session(db, student)
        answer = send(service, world, name, here)
        assert not opens(service, here), name
        assert opens(service, elsewhere) != also, name
        if also:
            assert opens(service, answer.cookies[SESSION]), name
            assert answer.headers["location"].startswith("/dashboard/settings?done=")
    accounts.store_hash(db, student, security.hash_password(PASSWORD), instead_of=accounts.password_hash(db, student))
    here, elsewhere = session(db, student), session(db, student)
    assert send(service, world, "POST /dashboard/settings/delete", here).headers["location"] == "/?erased=1"
    assert not opens(service, here)
    assert not opens(service, elsewhere)


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile values are to reach what lies behind the limits."""
    for name in ("FAILED_SIGN_INS", "FAILED_SIGN_INS_PER_ADDRESS", "FAILED_SIGN_INS_PER_ACCOUNT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("REGISTRATIONS_PER_ADDRESS", "0")


RAW = [
    *(b"%ED%A0%80", b"%00", b"%FF%FE", b"%", b"%zz", b"\x00", b"\xff\xfe", b"+", b"a&b=c&d", b"a" * 100_000),
    *(quote(each).encode() for each in TEXTS if len(each) < 2_000),
]
# What a form of several parts says its letters are; some of them make lone surrogates.
CHARSETS = ["utf-7", "unicode_escape", "raw_unicode_escape", "utf-16", "idna", "undefined", "punycode", "nonsense"]
LETTERS = [b"+2AA-", b"\\ud800", b"\\x00", b"\xff", b"x" * 300]
FORM = (b"content-type", b"application/x-www-form-urlencoded")


def parts(fields: Mapping[str, bytes], charset: str) -> tuple[bytes, tuple[bytes, bytes]]:
    """A form of several parts in these letters."""
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    )
    return body + b"--b--\r\n", (b"content-type", f"multipart/form-data; boundary=b; charset={charset}".encode())


def sent(service: TestClient, cookie: str, path: str, body: bytes, kind: tuple[bytes, bytes]) -> Heard:
    heads = ((b"cookie", f"{SESSION}={cookie}".encode()), (b"accept", b"text/html"), kind)
    return sound(send_bytes(service, "POST", path, body, *heads), (path, kind, body))


def sound(heard: Heard, what: object) -> Heard:
    assert heard.status < 500, f"{str(what)[:300]} -> {heard.status} {heard.body[:300]!r}"
    return heard


@pytest.mark.parametrize("name", [name for name in POSTS if RULES[name].form])
@pytest.mark.usefixtures("unlimited")
def test_no_form_breaks_anything(service: TestClient, world: World, db: Session, name: str) -> None:
    admin = db.scalar(text("SELECT id FROM users WHERE email = 'admin@example.com'"))
    task = world.task_id
    if "{task_id}" in name:  # the admin has none yet
        asked = ask(service, "POST", "/dashboard/tasks", session(db, admin), {"topic": "Waves"})
        task = asked.headers["location"].rpartition("/")[2]
    path, given = name.partition(" ")[2].format(**(vars(world) | {"task_id": task})), RULES[name].form
    assert given is not None
    fields = {key: str(value).encode() for key, value in given().items()}
    if name.endswith(("password", "delete")):  # what would end the session, and with it the test
        fields |= dict.fromkeys(("old", "password"), b"wrong")
    if name == "POST /sign-in" or name == "POST /preferences":
        fields |= {"next": b"/"}
    for key in fields:
        cookie = session(db, admin)
        for value in RAW:
            body = b"&".join(
                b"%s=%s" % (each.encode(), value if each == key else quote(kept).encode())
                for each, kept in fields.items()
            )
            sent(service, cookie, path, body, FORM)
        for charset in CHARSETS:
            for value in LETTERS:
                sent(service, cookie, path, *parts(fields | {key: value}, charset))
    assert sent(service, session(db, admin), path, b"a=" + b"x" * 100_000, FORM).status == 413


@pytest.mark.parametrize("name", GETS)
def test_no_address_and_no_header_breaks_anything(service: TestClient, world: World, db: Session, name: str) -> None:
    admin = db.scalar(text("SELECT id FROM users WHERE email = 'admin@example.com'"))
    cookie = (b"cookie", f"{SESSION}={session(db, admin)}".encode())
    path, html = place(name, world), (b"accept", b"text/html")
    route = dict(page_routes())[name]
    for asked in [each.alias for each in route.dependant.query_params]:
        for value in QUERIES:
            target = f"{path}?{asked}={quote(value, safe='%')}"
            sound(send_bytes(service, "GET", target, b"", cookie, html), target)
    for letters in (b"?\xff=\xfe", b"?done=\xff", b"?before=\x00", b"?next=\xed\xa0\x80"):
        sound(send_bytes(service, "GET", path.encode() + letters, b"", cookie, html), letters)
    if "{" in name:
        for value in PATHS:
            target = re.sub(r"\{.*?\}", quote(value, safe="%/.").replace("\\", ""), name.partition(" ")[2])
            sound(send_bytes(service, "GET", target, b"", cookie, html), target)
    for header in [*HEADERS, (b"cookie", b"zone=../../x"), (b"cookie", b"zone=America"), (b"cookie", b"language=\xff")]:
        sound(send_bytes(service, "GET", path, b"", cookie, header), header)
        sound(send_bytes(service, "GET", path, b"", html, header), header)


def test_the_table_in_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text()
    assert with_matrix(written) == written, "run `python -m tests.web.test_who_sees`"


if __name__ == "__main__":
    DOCUMENT.write_text(with_matrix(DOCUMENT.read_text()))

"""Every route, asked by everybody: who is let in stands in RULES, and a route without a rule fails.

`python -m tests.routers.test_access` writes the table in docs/security.md anew.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import security
from app.core.settings import settings
from app.crud import accounts
from app.main import create_app
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from tests.conftest import Template, copy_of
from tests.school import PASSWORD, SOMEBODY, Student, imported
from tests.versions import serving, version

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->"

GOOD = ("student", "another student", "service key", "admin")
BAD = ("nobody", "expired token", "forged token", "revoked key", "token of one who is gone")
COLUMNS = ("nobody", *GOOD, *BAD[1:])

# What those who are known get; None: they are let in. Everybody else gets 401.
OPEN = dict.fromkeys(COLUMNS)  # whoever asks, and whatever they send along
SIGNED_IN = dict.fromkeys(GOOD)
OWNER = {"student": None, "another student": 404, "service key": None, "admin": 404}
STUDENTS = {"student": None, "another student": None, "service key": 403, "admin": None}
KEYS = {"student": 403, "another student": 403, "service key": None, "admin": 403}
OWN_ACCOUNT = {"student": None, "another student": 404, "service key": 403, "admin": 404}
ADMINS = {"student": 403, "another student": 403, "service key": 403, "admin": None}
ADMINS_AND_KEYS = {**ADMINS, "service key": None}


@dataclass
class World:
    """What there is to ask for, and by whom."""

    owner: str  # the student's account, which allows the school
    task_id: str  # theirs, recorded by the school's key, as the plan is
    plan_id: str
    session_id: str
    version_id: int
    student: str  # one without an account
    school_id: str  # that the student allowed
    account_id: str  # that none of the callers has
    secrets: dict[str, list[str | None]] = field(default_factory=dict)  # of each caller, one or several


Body = Callable[[str], dict[str, Any]]


@dataclass(frozen=True)
class Rule:
    """Who is let in, and how a request looks that lacks nothing but perhaps the right to be sent."""

    whom: dict[str, int | None]
    ok: int = 200
    json: Body | None = None
    form: Body | None = None
    query: Body | None = None

    def expects(self, caller: str) -> int:
        return self.whom.get(caller, 401) or self.ok


def registration(_: str) -> dict[str, Any]:
    return {"email": f"{uuid4()}@example.com", "password": PASSWORD}


def task(caller: str) -> dict[str, Any]:
    new = {"topic": "Calculus", "difficulty": "medium"}
    return {**new, "user_id": SOMEBODY} if caller in ("service key", "revoked key") else new


def named(caller: str) -> dict[str, Any]:
    """Service keys name a student."""
    return {"user_id": SOMEBODY} if caller in ("service key", "revoked key") else {}


CELL = {"topic": "Calculus", "difficulty": "medium"}


def exam(caller: str) -> dict[str, Any]:
    soon = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    return {"exam_date": soon, "topics": ["Calculus"], "minutes_per_day": 30, **named(caller)}


RULES = {
    "GET /": Rule(OPEN),
    "POST /auth/register": Rule(OPEN, 201, json=registration),
    "POST /auth/token": Rule(OPEN, form=lambda _: {"username": "student@example.com", "password": PASSWORD}),
    "GET /practice-tasks": Rule(SIGNED_IN),
    "POST /practice-tasks": Rule(SIGNED_IN, 201, json=task),
    "POST /predictions": Rule(SIGNED_IN, json=lambda caller: {"tasks": [CELL], **named(caller)}),
    "POST /practice-tasks/batch": Rule(SIGNED_IN, json=lambda caller: {"tasks": [task(caller)]}),
    "PATCH /practice-tasks/batch": Rule(SIGNED_IN, json=lambda _: {"results": [{"id": SOMEBODY}]}),
    "GET /practice-tasks/{task_id}": Rule(OWNER),
    "PATCH /practice-tasks/{task_id}": Rule(OWNER, json=lambda _: {"is_correct": True, "actual_time_seconds": 30.0}),
    "DELETE /practice-tasks/{task_id}": Rule(OWNER, 204),
    "GET /practice-tasks/{task_id}/explanation": Rule(OWNER),
    "GET /practice-tasks/{task_id}/corrections": Rule(OWNER),
    "PUT /practice-tasks/{task_id}/result": Rule(
        OWNER, json=lambda _: {"is_correct": True, "actual_time_seconds": 9.0}
    ),
    "DELETE /practice-tasks/{task_id}/result": Rule(OWNER),
    "GET /recommendations": Rule(SIGNED_IN, query=named),
    "GET /preparation/plans": Rule(SIGNED_IN, query=named),
    "POST /preparation/plans": Rule(SIGNED_IN, 201, json=exam),
    "GET /preparation/plans/{plan_id}": Rule(OWNER),
    "DELETE /preparation/plans/{plan_id}": Rule(OWNER, 204),
    "GET /users/me": Rule(STUDENTS),
    "PATCH /users/me": Rule(STUDENTS, json=lambda _: {"name": "Ada"}),
    "POST /users/me/password": Rule(
        STUDENTS, json=lambda _: {"old_password": PASSWORD, "new_password": f"{PASSWORD} too"}
    ),
    "GET /users/me/analytics": Rule(SIGNED_IN, query=named),
    "GET /users/me/sessions": Rule(STUDENTS),
    "DELETE /users/me/sessions/{session_id}": Rule(OWN_ACCOUNT, 204),
    "GET /users/me/schools": Rule(STUDENTS),
    "POST /users/me/schools": Rule(STUDENTS, 201, json=lambda _: {"name": "school"}),
    "DELETE /users/me/schools/{school_id}": Rule(OWN_ACCOUNT, 204),
    "GET /users/me/export": Rule(STUDENTS),
    "DELETE /users/me": Rule(STUDENTS, 204),
    "GET /events": Rule(SIGNED_IN, query=named),
    "DELETE /students/{student}": Rule(KEYS, 204),
    "POST /auth/forgot-password": Rule(OPEN, 409, json=lambda _: {"email": "student@example.com"}),  # no mail is sent
    "POST /auth/reset-password": Rule(OPEN, 410, json=lambda _: {"token": "no link", "password": PASSWORD}),
    "GET /users": Rule(ADMINS),
    "POST /users/{account_id}/reset-password": Rule(ADMINS),
    "POST /users/{account_id}/disable": Rule(ADMINS),
    "POST /users/{account_id}/enable": Rule(ADMINS),
    "GET /model/status": Rule(OPEN),
    "GET /model/versions": Rule(ADMINS),
    "GET /model/versions/{version_id}": Rule(ADMINS),
    "POST /model/versions/{version_id}/promote": Rule(ADMINS),
    "POST /model/rollback": Rule(ADMINS),
    "GET /model/changes": Rule(ADMINS),
    "GET /model/comparison": Rule(ADMINS),
    "GET /model/runs": Rule(ADMINS),
    "POST /model/train": Rule(ADMINS, 202, json=lambda _: {"kind": "lnirt"}),
    "POST /model/pause": Rule(ADMINS, json=lambda _: {"reason": "Exams."}),
    "POST /model/resume": Rule(ADMINS),
    "DELETE /model/demonstration": Rule(ADMINS),
    "GET /topics": Rule(SIGNED_IN, query=named),
    "POST /topics/rename": Rule(ADMINS, json=lambda _: {"topic": "Calculus", "to": f"Calculus {uuid4()}"}),
    "POST /topics/merge": Rule(ADMINS, json=lambda _: {"topic": "Calculus", "into": "algebra"}),
    "POST /topics/approve": Rule(ADMINS_AND_KEYS, json=lambda _: {"topic": "Calculus"}),
    "POST /topics/hide": Rule(ADMINS, json=lambda _: {"topic": "Calculus"}),
    "POST /topics/show": Rule(ADMINS, json=lambda _: {"topic": "Calculus"}),
    "GET /audit": Rule(ADMINS),
    "GET /healthz": Rule(OPEN),
    "GET /readyz": Rule(OPEN),
    "GET /metrics": Rule(OPEN),
}
# Not in the OpenAPI document, and no pages of ours: those have rules in tests/web/test_who_sees.py.
PAGES = {
    "GET /static": Rule(OPEN),
    "GET /openapi.json": Rule(OPEN),
    "GET /docs": Rule(OPEN),
    "GET /docs/oauth2-redirect": Rule(OPEN),
    "GET /redoc": Rule(OPEN),
    "GET /static-offline-docs": Rule(OPEN),
}
# Folders: one of their files.
BELOW = {"/static-offline-docs": "/static-offline-docs/swagger-ui.css", "/static": "/static/style.css"}


def documented() -> dict[str, dict[str, Any]]:
    """Every operation of the OpenAPI document."""
    paths = create_app().openapi()["paths"]
    return {f"{method.upper()} {path}": known for path, by in paths.items() for method, known in by.items()}


def routes(found: Any) -> Iterator[Any]:
    """Every route, those of included routers too."""
    for route in found:
        inner = getattr(route, "original_router", None)
        yield from routes(inner.routes) if inner is not None else [route]


def undocumented() -> set[str]:
    found = set()
    for route in routes(create_app().routes):
        written_in = getattr(getattr(route, "endpoint", None), "__module__", "")
        if not getattr(route, "include_in_schema", False) and not written_in.startswith("app.web."):
            methods = set(getattr(route, "methods", None) or {"GET"}) - {"HEAD"}
            found |= {f"{method} {route.path}" for method in methods}
    return found


def matrix() -> str:
    """The table, as docs/security.md has it."""
    head = f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}\n"
    rows = (
        f"| `{name}` | {' | '.join(str(rule.expects(caller)) for caller in COLUMNS)} |\n"
        for name, rule in (RULES | PAGES).items()
    )
    return head + "".join(rows)


def with_matrix(document: str) -> str:
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{matrix()}\n{END}{rest.partition(END)[2]}"


def forged(token: str, user_id: str) -> list[str | None]:
    """By nobody's key, by another key, and with the payload of somebody else."""
    claims = {"sub": user_id, "exp": int(time.time()) + 3600}
    other = jwt.encode(claims, "another key of thirty-two bytes..", security.ALGORITHM)
    head, _, signature = token.split(".")
    return [jwt.encode(claims, "", "none"), other, f"{head}.{other.split('.')[1]}.{signature}"]


def token_of(user_id: str, **change: Any) -> str:
    claims = {"sub": user_id, "exp": int(time.time()) + 3600, **change}
    return jwt.encode(claims, settings().signing_key(), security.ALGORITHM)


def made_world(service: TestClient, db: Session) -> World:
    """One of each, a task of the student's, two versions of which the later serves, tasks to train on."""
    callers = {
        name: Student.registered(service, name.replace(" ", "-"))
        for name in (*GOOD, "gone", "spare")
        if "key" not in name
    }
    ids = {name: caller.get("/users/me").json()["id"] for name, caller in callers.items()}
    accounts.make_admin(db, "admin@example.com")
    key, revoked = accounts.create_key(db, "school"), accounts.create_key(db, "closed school")
    db.execute(text("UPDATE service_keys SET revoked_at = now() WHERE name = 'closed school'"))
    db.execute(text("DELETE FROM users WHERE email = 'gone@example.com'"))
    imported(db, simulate(simulated_school(4, seed=1), 5, seed=1).attempts)
    db.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 0"))  # no training is due
    old, new = version(db), version(db)
    serving(db, old)
    serving(db, new)
    unknown = db.scalar(text("SELECT user_id FROM practice_tasks WHERE user_id NOT IN (SELECT id FROM users) LIMIT 1"))
    db.rollback()
    asks = callers["student"]
    allowed = service.post("/users/me/schools", json={"name": "school"}, headers=asks.headers).json()["id"]
    owner, by_key = ids["student"], Student(service, key)
    task_id = by_key.ask(user_id=owner).json()["id"]
    plan_id = planned(by_key, owner)
    made = World(owner, task_id, plan_id, session_of(asks), old, str(unknown), allowed, ids["spare"])
    made.secrets = {name: [caller.secret] for name, caller in callers.items() if name in GOOD}
    made.secrets |= {
        "nobody": [None, "", "nonsense", "ssk_nonsense"],
        "service key": [key],
        "revoked key": [revoked],
        "expired token": [token_of(ids["student"], exp=int(time.time()) - 60)],
        "forged token": forged(callers["student"].secret, ids["admin"]),
        "token of one who is gone": [callers["gone"].secret],
    }
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
    return replace(filled.content)  # type: ignore[no-any-return]


def session_of(student: Student) -> str:
    """A session of theirs that is not the one that the test goes by."""
    email = "student@example.com"
    student.client.post("/auth/token", data={"username": email, "password": PASSWORD}).raise_for_status()
    return str(student.get("/users/me/sessions").json()[0]["id"])


def planned(by_key: Student, owner: str) -> str:
    """A plan of theirs."""
    new = exam("student") | {"user_id": owner}
    answer = by_key.client.post("/preparation/plans", json=new, headers=by_key.headers)
    return str(answer.json()["id"])


def send(service: TestClient, world: World, name: str, rule: Rule, caller: str, secret: str | None) -> httpx.Response:
    method, path = name.split(" ")
    answer: httpx.Response = service.request(
        method,
        BELOW.get(path, path).format(**vars(world)),
        json=rule.json(caller) if rule.json else None,
        data=rule.form(caller) if rule.form else None,
        params=rule.query(caller) if rule.query else None,
        headers={} if secret is None else {"Authorization": f"Bearer {secret}"},
    )
    return answer


def test_every_route_of_the_document_has_a_rule_and_every_rule_a_route() -> None:
    assert set(RULES) == set(documented())


def test_every_route_outside_of_the_document_has_a_rule_and_every_rule_a_route() -> None:
    assert set(PAGES) == undocumented()


@pytest.mark.parametrize("name", RULES | PAGES)
def test_it_lets_in_whom_it_should_and_nobody_else(service: TestClient, world: World, name: str) -> None:
    rule = (RULES | PAGES)[name]
    got = {}
    for caller in (*BAD, *reversed(GOOD)):  # those who are to be kept out come first
        by_key = Student(service, str(world.secrets["service key"][0]))
        if name.startswith("DELETE /preparation"):  # one of several that are let in has it
            world.plan_id = planned(by_key, world.owner)
        if name.startswith("DELETE /practice-tasks"):
            world.task_id = by_key.ask(user_id=world.owner).json()["id"]
        if name.startswith("PUT /practice-tasks"):
            world.task_id = by_key.do(user_id=world.owner)["id"]
        answers = [send(service, world, name, rule, caller, secret) for secret in world.secrets[caller]]
        got[caller] = {answer.status_code for answer in answers}
        for answer in answers:
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
                assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
    assert got == {caller: {rule.expects(caller)} for caller in COLUMNS}


def test_the_document_says_who_has_to_sign_in_and_how_they_are_refused() -> None:
    for name, operation in documented().items():
        refusals = {str(status) for status in RULES[name].whom.values() if status}
        refusals |= {"401"} if RULES[name].whom is not OPEN else set()
        assert bool(operation.get("security")) == (RULES[name].whom is not OPEN), name
        assert refusals <= set(operation["responses"]), name


def test_no_path_knows_a_method_that_is_not_documented(service: TestClient, world: World) -> None:
    known = set(documented())
    for path in {name.split(" ")[1] for name in known}:
        for method in ("PUT", "DELETE", "PATCH", "POST", "OPTIONS", "TRACE"):
            if f"{method} {path}" not in known:
                asked = path.format(**vars(world))
                answer = service.request(
                    method, asked, headers={"Authorization": f"Bearer {world.secrets['admin'][0]}"}
                )
                assert answer.status_code == 405, f"{method} {path}"


def test_who_becomes_an_admin_or_is_none_any_more_is_treated_so_at_once(
    service: TestClient, world: World, db: Session
) -> None:
    for is_admin, status in ((True, 200), (False, 403)):
        db.execute(text("UPDATE users SET is_admin = :is_admin"), {"is_admin": is_admin})
        db.commit()
        secret = world.secrets["student"][0]
        assert service.get("/audit", headers={"Authorization": f"Bearer {secret}"}).status_code == status


def test_a_token_names_no_rights(service: TestClient, world: World) -> None:
    """Whatever else a token of ours might say: who is an admin stands in the database."""
    claim = security.claim_by_token(str(world.secrets["student"][0]))
    assert claim
    student, jti = str(claim.student), str(claim.token)
    for claims in ({"is_admin": True}, {"role": "admin"}, {"scope": "admin"}):
        answer = service.get("/audit", headers={"Authorization": f"Bearer {token_of(student, jti=jti, **claims)}"})
        assert answer.status_code == 403
    assert UUID(student)


def test_the_table_in_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text()
    assert with_matrix(written) == written, "run `python -m tests.routers.test_access`"


if __name__ == "__main__":
    DOCUMENT.write_text(with_matrix(DOCUMENT.read_text()))

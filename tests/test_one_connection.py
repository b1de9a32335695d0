"""A request holds one connection at a time, and none while it hashes, so that no number of them starves others."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from app.core import database, security
from app.core.database import AsyncDatabase
from app.core.http.cookies import SESSION
from app.models import User
from tests.conftest import Template, copy_of
from tests.routers import test_access as api
from tests.school import PASSWORD, Student
from tests.web import test_who_sees as pages
from tests.web.browsing import HTML


@dataclass
class Held:
    """Connections of one request."""

    now: int = 0
    most: int = 0
    while_hashing: int = 0

    def add(self, n: int) -> None:
        self.now += n
        self.most = max(self.most, self.now)


class Counting:
    """What the request that is being answered holds, by either driver."""

    def __init__(self) -> None:
        self.of_request: ContextVar[Held | None] = ContextVar("held", default=None)
        self.latest = Held()  # batches of asyncpg work for several requests, in a context of their own

    def around(self, app: Any) -> Any:
        async def answered(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.latest = Held()
                self.of_request.set(self.latest)
            await app(scope, receive, send)

        return answered

    def checkout(self, _: Any, record: Any, __: Any) -> None:
        record.info["held"] = held = self.of_request.get()
        if held:
            held.add(1)

    def checkin(self, _: Any, record: Any) -> None:
        if held := record.info.pop("held", None):
            held.add(-1)

    def hashing(self) -> None:
        if held := self.of_request.get():
            held.while_hashing = max(held.while_hashing, held.now)


@pytest.fixture
def counting(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    made = Counting()
    acquire, fits, hashed = AsyncDatabase.acquire, security.password_fits, security.hash_password

    @asynccontextmanager
    async def counted(self: AsyncDatabase) -> AsyncIterator[Any]:
        held = made.latest
        async with acquire(self) as connection:
            held.add(1)
            try:
                yield connection
            finally:
                held.add(-1)

    def told(function: Callable[..., Any]) -> Callable[..., Any]:
        def tell(*given: Any) -> Any:
            made.hashing()
            return function(*given)

        return tell

    monkeypatch.setattr(AsyncDatabase, "acquire", counted)
    monkeypatch.setattr(security, "password_fits", told(fits))
    monkeypatch.setattr(security, "hash_password", told(hashed))
    monkeypatch.setattr(service._transport, "app", made.around(service.app))
    pool = database.engine().pool
    event.listen(pool, "checkout", made.checkout)
    event.listen(pool, "checkin", made.checkin)
    yield made
    event.remove(pool, "checkout", made.checkout)
    event.remove(pool, "checkin", made.checkin)


@pytest.fixture(params=[pages, api], ids=["pages", "api"])
def world_of(request: pytest.FixtureRequest, template: Callable[..., Template]) -> tuple[Any, Template]:
    return request.param, template(request.param.made_world)


@pytest.fixture
def database_url(
    server: str, template: Callable[..., Template], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A copy of the world that the test asks for, else an empty one."""
    made = request.getfixturevalue("world_of")[1] if "world_of" in request.fixturenames else template(lambda *_: None)
    with copy_of(server, made, monkeypatch) as url:
        yield url


def signed_in(db: Session, caller: str) -> str | None:
    """A cookie of a session that nothing has ended yet."""
    user_id = db.scalar(select(User.id).where(User.email == f"{caller}@example.com"))
    return pages.session(db, user_id) if user_id else None


def test_no_page_and_no_route_holds_two_connections_at_once_nor_one_while_it_hashes(
    world_of: tuple[Any, Template], service: TestClient, counting: Counting, db: Session
) -> None:
    where, world = world_of[0], world_of[1].content
    found: dict[tuple[str, str], Held] = {}
    for name in sorted(where.RULES, key=lambda name: "delete" in name.lower()):
        for caller in ("nobody", "student", "admin"):
            if where is pages:
                pages.send(service, world, name, signed_in(db, caller))
            else:
                api.send(service, world, name, where.RULES[name], caller, world.secrets[caller][0])
            found[name, caller] = counting.latest
    assert {asked: held for asked, held in found.items() if held.most > 1 or held.while_hashing} == {}
    assert sum(held.most for held in found.values()) > len(where.RULES)
    assert {held.now for held in found.values()} == {0}


def test_thirty_pupils_who_change_their_password_at_once_are_all_answered_and_few_hash_at_once(
    service: TestClient, student: Callable[..., Student], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, lock, most = 0, Lock(), []
    fits = security.password_fits

    def watched(*given: Any) -> bool:
        nonlocal at_work
        with lock:
            at_work += 1
            most.append(at_work)
        try:
            return fits(*given)
        finally:
            with lock:
                at_work -= 1

    cookies = []
    for n in range(30):
        student(f"pupil{n}")
        given = {"email": f"pupil{n}@example.com", "password": PASSWORD}
        signed_in = service.post("/sign-in", data=given, headers=HTML, follow_redirects=False)
        cookies.append(signed_in.cookies[SESSION])
        service.cookies.clear()
    monkeypatch.setattr(security, "password_fits", watched)

    def changes(cookie: str) -> int:
        form = {"old": PASSWORD, "new": "another long sentence"}
        headers = HTML | {"Cookie": f"{SESSION}={cookie}"}
        answer = service.post("/dashboard/settings/password", data=form, headers=headers, follow_redirects=False)
        return int(answer.status_code)

    with ThreadPoolExecutor(30) as all_at_once:
        assert set(all_at_once.map(changes, cookies)) == {303}
    assert max(most) <= security.HASHED_AT_ONCE

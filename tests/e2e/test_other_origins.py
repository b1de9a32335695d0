"""The front end of docs/how-to/front-end.md, served from another origin than the service's, in a browser."""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from tests.school import PASSWORD, until

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
LINES = 60


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origins() -> Iterator[list[str]]:
    """Two web servers that have the example."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=EXAMPLES)) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def environment(environment: Path, origins: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service lets pages of the first of them in."""
    monkeypatch.setenv("CORS_ORIGINS", origins[0])
    settings.cache_clear()
    return environment


@pytest.fixture
def opened(chromium: Browser, address: str) -> Iterator[Callable[[str], Page]]:
    """Open the example as this origin has it."""
    context = chromium.new_context()

    def open_page(origin: str) -> Page:
        page = context.new_page()
        page.goto(f"{origin}/practice.html?api={address}")
        page.get_by_label("E-mail address").fill("ada@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        return page

    yield open_page
    context.close()


def test_the_example_walks_the_story_from_another_origin(
    opened: Callable[[str], Page], origins: list[str], db: Session
) -> None:
    page = opened(origins[0])
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("status")).to_have_text("Hello, ada@example.com.")
    for number, said in enumerate(("1 of 1 right", "1 of 2 right")):
        page.get_by_label("Topic").fill("Calculus")
        page.get_by_label("Level").select_option("hard")
        page.get_by_role("button", name="Begin").click()
        expect(page.get_by_role("status")).to_have_text(re.compile(r"^\d+ % likely right, in about \d+ s\.$"))
        page.get_by_role("button", name=("I got it right", "I got it wrong")[number]).click()
        expect(page.get_by_role("status")).to_have_text(f"{said} so far; days in a row: 1.")
    expect(page.locator("#training")).to_contain_text("Finished since the last training: 2 of ")
    stored = db.execute(text("SELECT topic, difficulty, is_correct FROM practice_tasks ORDER BY created_at")).all()
    assert [tuple(row) for row in stored] == [("Calculus", "hard", True), ("Calculus", "hard", False)]
    page.reload()
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_have_text("E-mail address or password is wrong.")
    assert faults == []


def test_an_origin_that_is_not_named_comes_to_nothing(
    opened: Callable[[str], Page], origins: list[str], db: Session
) -> None:
    page = opened(origins[1])
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("status")).to_have_text("Failed to fetch")
    assert until(lambda: any("CORS policy" in each for each in refused), 10)
    assert db.scalar(text("SELECT count(*) FROM users")) == 0


def test_the_example_is_as_short_as_it_says() -> None:
    lines = (EXAMPLES / "practice.html").read_text().splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 120

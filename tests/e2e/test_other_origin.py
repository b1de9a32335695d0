"""A front end that comes from another port: it works where its origin is named, and reads nothing where it is not."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from app.core.settings import settings
from tests.school import PASSWORD

STORY = """
async ([service, password, cookies]) => {
  const call = async (method, path, body, token, more = {}) => {
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...more };
    if (body && !(body instanceof URLSearchParams)) headers["Content-Type"] = "application/json";
    const sent = body instanceof URLSearchParams ? body : body && JSON.stringify(body);
    const answer = await fetch(service + path, { method, headers, body: sent, credentials: cookies });
    return { status: answer.status, id: answer.headers.get("X-Request-ID"), body: await answer.json() };
  };
  try {
    const email = "ada@example.com";
    const account = await call("POST", "/auth/register", { email, password });
    const form = new URLSearchParams({ username: email, password });
    const token = (await call("POST", "/auth/token", form)).body.access_token;
    const wanted = { topic: "Waves", difficulty: "easy" };
    const task = await call("POST", "/practice-tasks", wanted, token, { "X-Request-ID": "mine" });
    const result = { is_correct: true, actual_time_seconds: 12 };
    const done = await call("PATCH", `/practice-tasks/${task.body.id}`, result, token);
    const refused = await call("PATCH", `/practice-tasks/${task.body.id}`, { is_correct: 1 }, token);
    return [account, task, done, refused].map(each => [each.status, each.id !== null, each.body.detail ?? ""]);
  } catch (error) {
    return String(error);
  }
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def front_end(tmp_path: Path) -> Iterator[str]:
    """Where a page of somebody else's is served."""
    folder = tmp_path / "front-end"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Front end</title>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def named(front_end: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The front end, whose origin the service knows; before the service starts."""
    monkeypatch.setenv("CORS_ORIGINS", front_end)
    settings.cache_clear()
    return front_end


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    window = chromium.new_page()
    yield window
    window.close()


def test_a_front_end_that_is_named_does_the_whole_story(named: str, address: str, page: Page) -> None:
    page.goto(named)
    account, task, done, refused = page.evaluate(STORY, [address, PASSWORD, "omit"])
    assert [account[:2], task[:2], done[:2], refused[:2]] == [[201, True], [201, True], [200, True], [422, True]]
    assert "actual_time_seconds" in refused[2]


def test_one_that_is_not_named_reads_nothing(front_end: str, address: str, page: Page) -> None:
    page.goto(front_end)
    assert page.evaluate(STORY, [address, PASSWORD, "omit"]) == "TypeError: Failed to fetch"


def test_a_cookie_is_of_no_use_to_a_front_end(named: str, address: str, page: Page) -> None:
    page.goto(f"{address}/register")
    page.fill("input[name=email]", "grace@example.com")
    page.fill("input[name=password]", PASSWORD)
    page.click("main form button")
    page.wait_for_url(f"{address}/dashboard")
    page.goto(named)
    assert page.evaluate(STORY, [address, PASSWORD, "include"]) == "TypeError: Failed to fetch"
    look = "address => fetch(address, { credentials: 'include' }).then(a => a.text()).catch(String)"
    for path in ("/dashboard", "/dashboard/settings/export", "/users/me"):
        assert page.evaluate(look, address + path) == "TypeError: Failed to fetch"

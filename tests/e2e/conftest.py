"""A real browser on a real port. Without a Chromium these tests are left out, and say so."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from app.main import create_app
from app.ml.training import scheduler as trainer
from tests.conftest import SharedProcess
from tests.e2e.visits import Visits
from tests.school import until

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")  # Playwright's loop runs in this thread, where other tests start loops of their own
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            if os.environ.get("NEEDS_BROWSER"):
                pytest.fail("There is no Chromium.")
            pytest.skip("There is no Chromium: install Debian's package chromium, or set CHROMIUM to its path.")
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def address(environment: Path, warm_process: SharedProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the service answers; it has a database of its own."""
    monkeypatch.setattr(trainer, "TrainingProcess", lambda: warm_process)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(), log_config=None, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started, 30)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Callable[..., Visits]]:
    """Open a window; what went wrong in it fails the test at its end."""
    opened: list[Visits] = []

    def open_window(**options: Any) -> Visits:
        opened.append(Visits.begun(chromium, address, **options))
        return opened[-1]

    yield open_window
    for window in opened:
        window.close()
    assert [fault for window in opened for fault in window.faults] == []

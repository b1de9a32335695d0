import io
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.cli import guided_run


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    """What a run writes to that is cut off at once."""

    def cut_off(_: Any) -> None:
        raise httpx.ReadError("cut off")

    monkeypatch.setattr(guided_run.GuidedRun, "run", cut_off)
    return Console(file=io.StringIO(), record=True, width=200)


def test_nothing_is_said_of_a_guided_run_whose_service_was_ended(console: Console) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and listens not
        guided_run._run(f"http://127.0.0.1:{nobody.getsockname()[1]}", console)
    assert console.export_text() == ""


def test_a_guided_run_that_fails_says_so_and_that_the_service_runs(console: Console) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    guided_run._run(f"http://127.0.0.1:{server.server_port}", console)
    server.server_close()
    assert "The guided run stopped: cut off\nThe service itself runs on" in console.export_text()

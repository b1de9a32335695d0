"""Traces leave only where the environment asks for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASK = f"""
from fastapi.testclient import TestClient
from app.main import create_app
from tests.school import until
with TestClient(create_app()) as client:
    until(lambda: client.get("/readyz").status_code == 200)
    answer = client.get("/model/status", headers={{"traceparent": "00-{TRACE}-{PARENT}-01"}})
    print(answer.headers["traceparent"])
"""


def python(code: str, environment: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TOP), **more},
        cwd=environment,
        capture_output=True,
        text=True,
    )


def test_requests_and_statements_are_spans_of_the_callers_trace(environment: Path) -> None:
    done = python(ASK, environment, OTEL_TRACES_EXPORTER="console")
    assert done.returncode == 0, done.stderr
    spans = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"name"')]
    of_request = [span for span in spans if span["context"]["trace_id"] == f"0x{TRACE}"]
    server = next(span for span in of_request if span["kind"] == "SpanKind.SERVER")
    assert server["name"] == "GET /model/status"
    assert server["parent_id"] == f"0x{PARENT}"
    assert any(span["name"].startswith("SELECT") for span in of_request)
    version, trace, span_id, _ = done.stdout.split()[-1].split("-")
    assert (version, trace, f"0x{span_id}") == ("00", TRACE, server["context"]["span_id"])


def test_nothing_of_it_is_imported_where_nobody_asks(environment: Path) -> None:
    code = "import sys, app.main; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    assert python(code, environment).stdout.strip() == "[]"


def test_asked_for_but_not_installed_is_a_sentence(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; sys.modules['opentelemetry.sdk'] = None; import app.main"
    done = python(code, environment, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "pip install 'smartstudy[otel]'" in done.stderr
    assert "Traceback" not in done.stderr

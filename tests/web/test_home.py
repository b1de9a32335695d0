from importlib.metadata import version

import pytest
from fastapi.testclient import TestClient

from app import __version__
from app.web.home import WELCOME


def test_the_documents_curl_line_gets_the_documents_answer(service: TestClient) -> None:
    answer = service.get("/")
    assert answer.text == '{"message":"Welcome to StudySmart AI API","version":"1.0.0","docs":"/docs"}'


def test_everything_that_tells_the_version_tells_the_same(service: TestClient) -> None:
    told = service.get("/").json()["version"], service.get("/openapi.json").json()["info"]["version"]
    assert told == (__version__, __version__) == (version("smartstudy"), __version__)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
    ],
)
def test_a_page_goes_to_those_who_prefer_one(service: TestClient, accept: str, html: bool) -> None:
    answer = service.get("/", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/html") == html
    assert html or answer.json() == WELCOME


def test_the_api_page_needs_no_other_host(service: TestClient) -> None:
    page = service.get("/docs").text
    assert "swagger-ui-bundle.js" in page
    assert "https://" not in page

"""Who reads while a pooler is started anew does not notice."""

import pytest
from fastapi.testclient import TestClient

from app.core import database
from tests.school import Student
from tests.tcp_proxy import TcpProxy
from tests.test_away import proxy, refused

__all__ = ["proxy"]  # the fixture


@pytest.mark.parametrize(("patience", "answered"), [(3.0, True), (0.0, False)], ids=["behind a pooler", "without one"])
def test_what_is_read_while_the_connection_is_lost_is_read_again(
    proxy: TcpProxy, service: TestClient, monkeypatch: pytest.MonkeyPatch, patience: float, answered: bool
) -> None:
    ada = Student.registered(service, "ada")
    ada.do()
    monkeypatch.setattr(database, "restart_seconds", lambda: patience)
    proxy.cut_after_query = b"FROM practice_tasks"
    answer = ada.get("/practice-tasks")
    assert proxy.cut_after_query is None
    if answered:
        assert len(answer.json()["items"]) == 1
    else:
        assert refused(answer)

"""What a person takes along is complete, or not given at all."""

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from app.domain.errors import StoreAway
from app.ml.serving.version_store import VersionStore
from tests.school import Student
from tests.versions import version


def test_an_export_while_the_store_is_away_waits_and_does_not_say_where_the_store_is(
    student: Callable[..., Student], db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which versions hold a vector of theirs, which only their files tell."""

    def away(*_: object) -> bytes:
        raise StoreAway("The store of the models can't be used: GET http://10.0.0.5:9000/models/school")

    ada = student()
    version(db)
    monkeypatch.setattr(VersionStore, "read", away)
    refused = ada.get("/users/me/export")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert "10.0.0.5" not in refused.text
    assert ada.get("/users/me/export", format="csv").status_code == 200

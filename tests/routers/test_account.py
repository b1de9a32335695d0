"""A student's account by the API: changed, and with another password."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.school import PASSWORD, Student

Students = Callable[..., Student]
NEW = "seven green bottles on the wall"


def change(caller: Student, **body: Any) -> Any:
    return caller.client.patch("/users/me", json=body, headers=caller.headers)


def choose(caller: Student, old: str = PASSWORD, new: str = NEW) -> Any:
    body = {"old_password": old, "new_password": new}
    return caller.client.post("/users/me/password", json=body, headers=caller.headers)


def test_what_is_given_changes_and_the_rest_stays(student: Students) -> None:
    ada = student()
    assert change(ada, name="  Ada  ", language="de").json()["name"] == "Ada"
    assert change(ada, theme="dark").status_code == 200
    assert change(ada).status_code == 200
    me = ada.get("/users/me").json()
    assert (me["name"], me["language"], me["theme"]) == ("Ada", "de", "dark")
    assert change(ada, name=None, language=None).json() == me | {"name": None, "language": None}


@pytest.mark.parametrize("body", [{"language": "fr"}, {"theme": "blue"}, {"name": "a\u202eb"}, {"email": "x@y.z"}])
def test_what_is_not_accepted_changes_nothing(student: Students, body: dict[str, Any]) -> None:
    ada = student()
    before = ada.get("/users/me").json()
    answer = change(ada, **{"name": "Grace"} | body)
    assert answer.status_code == 422
    assert next(iter(body)) in answer.json()["detail"]
    assert ada.get("/users/me").json() == before


def test_a_new_password_ends_every_token_but_the_one_it_gives(student: Students) -> None:
    ada = student()
    answer = choose(ada)
    assert answer.status_code == 200, answer.text
    assert ada.get("/users/me").status_code == 401
    assert Student(ada.client, answer.json()["access_token"]).get("/users/me").status_code == 200
    for password, status in ((PASSWORD, 401), (NEW, 200)):
        form = {"username": "ada@example.com", "password": password}
        assert ada.client.post("/auth/token", data=form).status_code == status


def test_a_weak_or_short_password_is_refused_and_the_old_one_stays(student: Students) -> None:
    ada = student()
    for new in ("password1", "short", "ada@example.com1"):
        assert choose(ada, new=new).status_code == 422
    assert ada.get("/users/me").status_code == 200


def test_guessing_the_old_password_is_limited_as_signing_in_is(student: Students) -> None:
    ada = student()
    answers = [choose(ada, old=f"a wrong guess {number}") for number in range(11)]
    assert [each.status_code for each in answers] == [422] * 10 + [429]
    assert answers[0].json()["detail"] == "old_password: This is not your password."
    assert "Retry-After" in answers[-1].headers

"""Service keys on the command line, and what they open."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from app.crud import accounts
from tests.school import SOMEBODY, Student

runner = CliRunner()


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(main.app, ["key", *arguments], env={"COLUMNS": "150"})
    assert result.exit_code == code, result.output
    return result.output


def made(*arguments: str) -> str:
    return run(*arguments).splitlines()[0]


def listed() -> list[dict[str, str]]:
    items: list[dict[str, str]] = json.loads(run("list", "--json"))["items"]
    return items


@pytest.fixture
def opens(service: object) -> Callable[[str], bool]:
    """Whether a key opens every door that keys have: the two hot routes and the others."""

    def opens(key: str) -> bool:
        caller = Student(service, key)  # type: ignore[arg-type]
        asked = caller.ask(user_id=SOMEBODY)
        statuses = {asked.status_code, caller.get("/practice-tasks").status_code}
        if asked.status_code == 201:
            statuses.add(caller.complete(asked.json()["id"]).status_code)
        assert statuses in ({201, 200}, {401})
        return 401 not in statuses

    return opens


def test_without_keys_the_list_says_so(db: Session) -> None:
    assert "There is no service key yet" in run("list")
    assert listed() == []


def test_a_key_is_listed_without_itself(db: Session) -> None:
    key = made("create", "  Lycée Ada [1] ")
    shown = run("list")
    assert key not in shown + run("list", "--json")
    assert "Lycée Ada [1]" in shown
    assert (listed()[0]["name"], listed()[0]["prefix"], listed()[0]["state"]) == ("Lycée Ada [1]", key[:8], "in use")


def test_a_revoked_key_opens_nothing_from_then_on(opens: Callable[[str], bool]) -> None:
    key, other = made("create", "school"), made("create", "other")
    assert opens(key)
    assert "'school'" in run("revoke", "school")
    assert not opens(key)
    assert opens(other)
    assert [each["state"] for each in listed()] == ["in use", "revoked"]
    assert "was revoked before" in run("revoke", "school")
    again = made("create", "school")
    assert opens(again)
    assert not opens(key)


def test_a_key_is_revoked_by_how_it_begins_or_by_itself(opens: Callable[[str], bool]) -> None:
    first, second = made("create", "first"), made("create", "second")
    run("revoke", first[:8])
    assert not opens(first)
    assert second[12:] not in run("revoke", second)
    assert not opens(second)


def test_of_several_keys_that_begin_alike_none_is_revoked(opens: Callable[[str], bool]) -> None:
    keys = [made("create", name) for name in ("first", "second")]
    said = run("revoke", "ssk_", code=1)
    assert "first" in said
    assert "second" in said
    assert all(map(opens, keys))


def test_an_unknown_key_is_a_sentence(db: Session) -> None:
    for which in ("nobody", "ssk_none", "ssk_" + "x" * 43):
        said = run("revoke", which, code=1)
        assert said.startswith("There is no key")
        assert "x" * 20 not in said
    assert run("rotate", "nobody", code=1).startswith("There is no key named 'nobody' in use")


def test_a_rotated_key_goes_on_beside_the_new_one_until_its_hour(opens: Callable[[str], bool], db: Session) -> None:
    old = made("create", "school")
    new = made("rotate", "school")
    assert opens(old)
    assert opens(new)
    assert [each["state"] for each in listed()] == ["in use", "ends"]
    assert "ends at" in run("list")
    db.execute(text("UPDATE service_keys SET revoked_at = now() WHERE revoked_at IS NOT NULL"))
    db.commit()
    assert not opens(old)
    assert opens(new)


def test_rotating_again_never_lets_an_old_key_live_longer(opens: Callable[[str], bool], db: Session) -> None:
    made("create", "school")
    made("rotate", "school", "--keep-old", "2")
    ends = db.scalar(text("SELECT revoked_at FROM service_keys WHERE revoked_at IS NOT NULL"))
    db.commit()
    made("rotate", "school", "--keep-old", "100")
    assert db.scalar(text("SELECT min(revoked_at) FROM service_keys")) == ends
    db.commit()
    newest = made("rotate", "school", "--keep-old", "0")
    assert [each["state"] for each in listed()] == ["in use", "revoked", "revoked", "revoked"]
    assert opens(newest)


def test_revoking_a_name_ends_the_key_that_was_replaced_too(opens: Callable[[str], bool]) -> None:
    keys = [made("create", "school"), made("rotate", "school")]
    run("revoke", "school")
    assert not any(map(opens, keys))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "needs a name"),
        ("   ", "needs a name"),
        ("a\nb", "must not hold U+000A"),
        ("a\x1b[31m", "must not hold U+001B"),
        ("x" * 201, "at most 200 characters"),
        ("ssk_mine", "can't begin with ssk_"),
    ],
)
def test_a_name_that_is_none_is_refused_in_words(db: Session, name: str, complaint: str) -> None:
    assert complaint in run("create", name, code=1)
    assert listed() == []


def test_a_name_in_use_is_not_given_twice(db: Session) -> None:
    run("create", "school")
    assert "in use" in run("create", " school ", code=1)


@pytest.mark.parametrize("hours", ["-1", "nan", "inf", "soon"])
def test_hours_that_are_none_are_refused(db: Session, hours: str) -> None:
    run("create", "school")
    run("rotate", "school", "--keep-old", hours, code=2)
    assert len(listed()) == 1


def test_a_key_made_before_there_were_rules_for_names_can_be_revoked(db: Session) -> None:
    accounts.create_key(db, "ssk_old")
    db.commit()
    assert "revoked" in run("revoke", "ssk_old")


def test_a_name_is_one_however_it_is_spaced_and_capitalised(db: Session) -> None:
    made("create", "Mill  Hill")
    assert "There is a key named 'Mill Hill' in use" in run("create", "mill hill", code=1)
    made("rotate", "MILL HILL")
    assert {each["name"] for each in listed()} == {"Mill Hill"}
    assert "'Mill Hill'" in run("revoke", "mill\u00a0hill")
    made("create", "mill hill")
    assert {each["name"] for each in listed()} == {"Mill Hill"}
    assert db.scalar(text("SELECT count(DISTINCT school_id) FROM service_keys")) == 1

"""What generated clients are made of: names, groups."""

import re
from collections import Counter
from typing import Any

import pytest

from app.main import create_app
from app.routers.document import TAGS
from tests.routers.test_access import documented

VERB_AND_NOUN = re.compile(r"[a-z]+([A-Z][a-z]+)+|register")


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    return documented()


def test_every_operation_has_a_name_of_its_own_that_says_what_it_does(operations: dict[str, dict[str, Any]]) -> None:
    names = Counter(operation["operationId"] for operation in operations.values())
    assert [name for name, times in names.items() if times > 1] == []
    assert [name for name in names if not VERB_AND_NOUN.fullmatch(name)] == []
    assert {"createPracticeTask", "completePracticeTask", "signIn", "listTopics"} <= set(names)


def test_every_operation_is_in_one_group_that_is_explained(operations: dict[str, dict[str, Any]]) -> None:
    groups = [operation.get("tags", []) for operation in operations.values()]
    assert {len(group) for group in groups} == {1}
    assert {group[0] for group in groups} == set(TAGS)


def test_no_two_schemas_have_one_name() -> None:
    """FastAPI tells them apart by their modules, which makes names that nobody would choose."""
    assert [name for name in create_app().openapi()["components"]["schemas"] if "__" in name] == []

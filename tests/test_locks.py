"""What runs, what builds and what tests it are pinned apart, and say the same."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


def pins(lock: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", (TOP / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_the_smaller_locks_pin_what_the_large_one_pins(lock: str) -> None:
    assert pins(lock)
    assert pins(lock) <= pins("requirements-dev.lock")


def test_what_runs_holds_nothing_that_tests_builds_or_documents() -> None:
    others = {"pytest", "mypy", "ruff", "hatchling", "scikit-learn", "matplotlib", "playwright", "mkdocs", "pre-commit"}
    assert others <= {name for name, _ in pins("requirements-dev.lock")}
    assert not others & {name for name, _ in pins("requirements.lock")}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"])
def test_locks_have_hashes_and_name_no_registry(lock: str) -> None:
    text = (TOP / lock).read_text()
    assert text.count("--hash=sha256:") >= len(pins(lock))
    assert "://" not in text

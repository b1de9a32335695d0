"""The document's examples are real answers; `WRITE_EXAMPLES=1 pytest tests/routers/test_examples.py` makes them."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.main import create_app
from app.ml.serving.model_order import serving_models
from app.routers import document
from app.routers.document import EXAMPLES
from tests.conftest import Template, copy_of
from tests.routers.test_access import GOOD, RULES, World, documented, made_world, send
from tests.school import Student
from tests.versions import serving

DONE = (("Calculus", "medium", True, 41), ("Calculus", "hard", False, 93), ("Waves", "easy", True, 18)) * 4
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")
DATES = re.compile(r"\b20\d\d-\d\d-\d\d\b")
SECRETS = re.compile(r"eyJ[\w.-]+|ssk_[\w-]+")
LONGEST = 3  # of a list
NAMES = (("student@", "ada@"), ("admin@", "grace@"), ("Made by a test.", "It was no worse than what answered."))


def answers(operation: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of what it answers in JSON when all is well."""
    for status, answer in operation["responses"].items():
        if status < "300" and "schema" in (found := answer.get("content", {}).get("application/json", {})):
            return found["schema"] or None
    return None


def test_every_answer_and_every_body_has_an_example_that_fits() -> None:
    found = create_app().openapi()
    wrong = []
    for path in found["paths"].values():
        for operation in path.values():
            name, schema = operation["operationId"], answers(operation)
            if schema is not None and name not in EXAMPLES:
                wrong.append(f"{name} has no example: WRITE_EXAMPLES=1 pytest tests/routers/test_examples.py")
            elif schema is not None:
                rules = jsonschema_rs.validator_for({**schema, "components": found["components"]})
                wrong += [f"{name}: {error.message}" for error in rules.iter_errors(EXAMPLES[name])]
            for sent in operation.get("requestBody", {}).get("content", {}).values():
                names = re.findall(r"#/components/schemas/(\w+)", json.dumps(sent["schema"]))
                described = [found["components"]["schemas"][each] for each in names]
                if "example" not in sent and not any("examples" in each for each in described):
                    wrong.append(f"the body of {name} has no example")
    assert not wrong, "\n".join(wrong)
    assert set(EXAMPLES) <= {operation["operationId"] for operation in documented().values()}


def test_every_error_has_an_example_that_fits() -> None:
    found = create_app().openapi()
    rules = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Problem", "components": found["components"]})
    for operation in documented().values():
        for status in (each for each in operation["responses"] if each >= "400"):
            said = operation["responses"][status]["content"]["application/problem+json"]["examples"]["refused"]
            example = found["components"]["examples"][said["$ref"].rpartition("/")[2]]["value"]
            assert example["status"] == int(status)
            rules.validate(example)


@pytest.fixture(scope="module")
def filled(template: Callable[..., Template]) -> Template:
    return template(made_world)


@pytest.fixture
def database_url(server: str, filled: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with copy_of(server, filled, monkeypatch) as url:
        yield url


@pytest.mark.skipif("WRITE_EXAMPLES" not in os.environ, reason="Only where WRITE_EXAMPLES is set.")
def test_write_the_examples(service: TestClient, filled: Template, db: Session) -> None:
    world: World = filled.content
    db.execute(text("UPDATE model_versions SET state = 'retired'"))  # they have no files; LNIRT answers without them
    db.commit()
    serving_models().refresh()
    student = Student(service, str(world.secrets["student"][0]))
    for topic, difficulty, right, seconds in DONE:
        student.do(topic=topic, difficulty=difficulty, is_correct=right, seconds=float(seconds))
    found = {}
    for name, operation in sorted(documented().items(), key=_in_turn):
        if name.split(" ")[1].startswith("/model") and not db.scalar(text("SELECT count(*) FROM serving_changes")):
            serving(db, world.version_id)
            db.commit()
        if answers(operation) is None:
            continue
        rule = RULES[name]
        if rule.ok >= 400:  # it takes a mail server, or a link that nobody has used: written by hand
            found[operation["operationId"]] = EXAMPLES[operation["operationId"]]
            continue
        caller = next(each for each in (*GOOD[:1], "admin", "service key") if rule.whom.get(each, 401) is None)
        answer = send(service, world, name, rule, caller, world.secrets[caller][0])
        assert answer.is_success, f"{name}: {answer.text}"
        found[operation["operationId"]] = _short(answer.json())
    source = Path(document.__file__).with_name("examples.json")
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(example)}" for name, example in sorted(found.items()))
    source.write_text(f"{{\n{_steady(lines)}\n}}\n")


def _in_turn(named: tuple[str, Any]) -> tuple[bool, bool, int, int]:
    """It is looked at before it is changed, and changed before it goes; then the models, and last the password."""
    method, path = named[0].split(" ")
    step = ("GET", "POST", "PATCH", "PUT", "DELETE").index(method)
    tells_of_changes = path.endswith(("corrections", "audit"))
    return path.endswith("/password"), path.startswith("/model"), 9 if tells_of_changes else step, -len(path)


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(each) for each in value[:LONGEST]]
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _steady(written: str) -> str:
    """The same each time: ids are counted, moments are one."""
    ids: dict[str, str] = {}
    written = re.sub(rf"Calculus {UUIDS.pattern}", "Integrals", re.sub(rf"{UUIDS.pattern}@", "ada@", written))
    for found in UUIDS.findall(written):
        ids.setdefault(found, f"0b8e7c9e-5f3e-4d57-9d5f-{len(ids):012x}")
    written = UUIDS.sub(lambda match: ids[match[0]], written)
    written = SECRETS.sub("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9...", written)
    written = re.sub(r'"trainer": "[^"]+"', '"trainer": "host-a:4711"', written)
    for ours, usual in NAMES:
        written = written.replace(ours, usual)
    return DATES.sub("2027-01-15", MOMENTS.sub("2027-01-15T09:30:00Z", written))

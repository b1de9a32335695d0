"""Every route of the OpenAPI document is asked what it should take and what it should refuse, by every kind of caller.

Short here; `make schemathesis` asks for thousands of examples of each route.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # not in the midst of a test, where threads of the service run
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.python.asgi import shutdown_lifespans
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import security
from app.crud import accounts, sessions
from app.main import create_app
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.training.scheduler import Trainer
from app.monitoring import feed
from tests.school import imported, nobody_trains
from tests.versions import serving, version

EXAMPLES = int(
    os.environ.get("SCHEMATHESIS_EXAMPLES", "6")
)  # of each route, in each way; and all borders of each value
ROLES = ("nobody", "student", "student with tasks", "service key", "admin")
REFUSALS = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429", "503"]
TAKEN = [
    "2xx",
    "401",
    "403",
    "404",
    "409",
    "410",
    "422",
    "429",
]  # the document can't say that a service key must name a student
CHECKS = {
    "negative_data_rejection": {"enabled": True, "expected-statuses": REFUSALS},
    "positive_data_acceptance": {"enabled": True, "expected-statuses": TAKEN},
    "not_a_server_error": {"enabled": True},
    "object_level_authorization": {"enabled": False},
}


# What is no task or result has a 422 of its own in the answer, beside those that went well.
BY_ITEM = ("POST /practice-tasks/batch Schema-violating", "PATCH /practice-tasks/batch Schema-violating")


def config(secret: str | None) -> SchemathesisConfig:
    long = EXAMPLES > 20
    return SchemathesisConfig.from_dict(
        {
            "seed": 6,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {secret}"} if secret else {},
            "checks": CHECKS,
            "generation": {"max-examples": EXAMPLES, "deterministic": not long, "database": "none"},
            "phases": {"stateful": {"max-steps": 6}},
            "warnings": False,
        }
    )


@pytest.fixture
def app(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The service, whose trainings are done by nobody."""
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)
    monkeypatch.setattr(feed, "LONGEST_SECONDS", 0)  # whoever asks waits for the end of an answer
    yield create_app()
    shutdown_lifespans()


def made_anew(db: Session) -> None:
    """A student who deletes the account has it again at once."""
    db.execute(
        text("""CREATE FUNCTION made_anew() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN INSERT INTO users SELECT OLD.* ON CONFLICT DO NOTHING; RETURN NULL; END $$""")
    )
    db.execute(text("CREATE TRIGGER made_anew AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION made_anew()"))


def secret_of(role: str, db: Session) -> str | None:
    """A token or key of such a caller."""
    if role == "nobody":
        return None
    if role == "service key":
        return accounts.create_key(db, "school")
    who = accounts.register(db, "lovelace@example.com", None, "no password", is_admin=role == "admin")
    if role == "student with tasks":
        db.execute(text("UPDATE practice_tasks SET user_id = :id"), {"id": who.id})
    return security.issue_token(who.id, sessions.start_token(db, who.id, 3600))[0]


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_answer_is_one_that_the_document_names(app: Any, db: Session, role: str) -> None:
    imported(db, simulate(simulated_school(2, seed=1), 10, seed=1).attempts)
    serving(db, version(db, "lnirt"))
    made_anew(db)
    secret = secret_of(role, db)
    db.commit()
    found, asked = failures(schemathesis.openapi.from_asgi("/openapi.json", app, config=config(secret)))
    print(f"{role}: {asked} requests")
    assert not found, "\n\n".join(found)
    assert asked > 100


def failures(document: Any) -> tuple[list[str], int]:
    """What is wrong with the answers, each once with the request that shows it; and how many requests were made.

    Garbage is collected between events only: hypothesis has a callback for it, in which CPython 3.11 may go to another
    thread in the midst of `ast.parse`, which then fails with "AST constructor recursion depth mismatch".
    """
    gc.disable()
    try:
        return _failures(document)
    finally:
        gc.enable()


def _failures(document: Any) -> tuple[list[str], int]:
    found: dict[str, str] = {}
    asked = 0
    for event in from_schema(document).execute():
        gc.collect(1)
        if isinstance(event, events.FatalError | events.NonFatalError):
            found[repr(event)] = f"{event}"
        if not isinstance(event, events.ScenarioFinished):
            continue
        asked += len(event.recorder.interactions)
        for checks in event.recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    key = f"{failure.operation} {failure.title} {getattr(failure, 'status_code', '')}"
                    found.setdefault(key, f"{key}\n{failure.message}\n{check.failure_info.code_sample}")
    return [what for key, what in found.items() if not key.startswith(BY_ITEM)], asked

"""The OpenAPI document: what the API is for, its groups, and names that generated clients make methods of."""

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from app.schemas.events import End, TrainingState
from app.schemas.problem import MEANINGS

DESCRIPTION = """Before a student starts a practice task, SmartStudy says how likely they are to get it right and
how many seconds they will need.

1. A student registers (`POST /auth/register`) and signs in (**Authorize**, with the e-mail address as username); or a
   school's back end uses a service key and names the student by `student`, any text of its own.
2. `POST /practice-tasks` before the task: the answer is the task with its prediction.
3. `PATCH /practice-tasks/{id}` after it: how it went. After every five finished tasks the model trains anew.
4. `GET /recommendations` says what to practise next; `POST /preparation/plans` plans an exam day by day.

Errors are `application/problem+json` (RFC 9457)."""
TAGS = {
    "Practice tasks": "Asked with a prediction, completed with a result.",
    "Welcome": "What this service is.",
    "Sign in": "Students register, and get a token.",
    "What to practise": "Suggestions for the next task, and plans for exams.",
    "A person's data": "Your account: seen, changed, taken along, erased.",
    "Events": "What happens, told as it happens.",
    "Model": "Who answers, how well, and how training stands; admins decide.",
    "Accounts": "Admins list, disable and enable them, and make links for lost passwords.",
    "Topics": "What topics there are; admins rename, merge, approve and hide them.",
    "Audit": "What was done that only admins may do.",
    "Health": "For those who watch the process.",
}
REFERENCE = "#/components/schemas/{model}"
PROBLEM = {"$ref": REFERENCE.format(model="Problem")}
EXAMPLES: dict[str, Any] = json.loads(Path(__file__).with_name("examples.json").read_text())  # by operation
REQUEST = "1c41d0463d75f84da0e39165596cef9d"
TOLD = (TrainingState, End)  # by /events, whose schema OpenAPI can't say


def operation_id(route: APIRoute) -> str:
    """Name an operation as its function is named, in the letters of clients: create_plan is `createPlan`."""
    first, *others = route.name.split("_")
    return first + "".join(map(str.capitalize, others))


def describe(made: FastAPI) -> None:
    """Add what FastAPI does not know: errors are application/problem+json, examples, what events hold."""
    plain = made.openapi

    def openapi() -> dict[str, Any]:
        if made.openapi_schema is None:
            document = plain()
            for path in document["paths"].values():
                for operation in path.values():
                    for status, answer in operation["responses"].items():
                        _describe_answer(operation["operationId"], status, answer)
            _, told = models_json_schema([(each, "serialization") for each in TOLD], ref_template=REFERENCE)
            document["components"]["schemas"] |= told["$defs"]
            document["components"]["examples"] = {f"Problem{status}": _problem(status) for status in MEANINGS}
        return plain()

    made.openapi = openapi  # type: ignore[method-assign]


def _problem(status: int) -> dict[str, Any]:
    """Return an example of an error."""
    title = HTTPStatus(status).phrase
    value = {"type": "about:blank", "title": title, "status": status, "detail": MEANINGS[status], "request_id": REQUEST}
    return {"summary": title, "value": value}


def _describe_answer(operation: str, status: str, answer: dict[str, Any]) -> None:
    if status >= "400":
        example = {"refused": {"$ref": f"#/components/examples/Problem{status}"}}
        answer["content"] = {"application/problem+json": {"schema": PROBLEM, "examples": example}}
    elif operation in EXAMPLES and "application/json" in answer.get("content", {}):
        answer["content"]["application/json"]["example"] = EXAMPLES[operation]

"""The web service."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.core import counters, errors, schema
from app.core.access import Access
from app.core.database import AsyncDatabase, engine
from app.core.request_id import RequestId
from app.ml.serving import ServingModels, serving_models
from app.ml.trainer import trainer
from app.routers import auth, health, metrics, model, practice_tasks
from app.web import home

log = logging.getLogger("smartstudy")
LOOK_FOR_VERSIONS_SECONDS = 1.0
NOTE_CONNECTIONS_SECONDS = 2.0
WAIT_FOR_THREADS_SECONDS = 0.0005  # that requests wait at the most while a thread loads a version; Python's is 0.005
PROBLEM = {"$ref": "#/components/schemas/Problem"}

DESCRIPTION = """Before a student starts a practice task, SmartStudy says how likely they are to get it right and
how many seconds they will need.

1. A student registers (`POST /auth/register`) and signs in (**Authorize**, with the e-mail address as username); or a
   school's back end uses a service key and names the student by `user_id`.
2. `POST /practice-tasks` before the task: the answer is the task with its prediction.
3. `PATCH /practice-tasks/{id}` after it: how it went. After every five finished tasks the model trains anew.

Errors are `application/problem+json` (RFC 9457)."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    sys.setswitchinterval(WAIT_FOR_THREADS_SECONDS)
    await asyncio.to_thread(_open, app.state.serving)
    await app.state.database.open()
    looking = asyncio.create_task(_look_for_versions(app.state.serving))
    noting = asyncio.create_task(_note_connections(app.state.database))
    yield
    looking.cancel()
    noting.cancel()
    await asyncio.to_thread(app.state.trainer.close)
    app.state.serving.close()
    await app.state.database.close()


def _open(serving: ServingModels) -> None:
    schema.check(engine())
    serving.refresh()


async def _look_for_versions(serving: ServingModels) -> None:
    """A version that another process published is loaded within a second, even if no request comes by."""
    away = False
    while True:
        await asyncio.sleep(LOOK_FOR_VERSIONS_SECONDS)
        try:
            await asyncio.to_thread(serving.refresh)
        except errors.NO_DATABASE as why:
            if not away:
                log.warning("the database is away: %s", str(why).splitlines()[:1])
            away = True
        else:
            if away:
                log.warning("the database is back")
            away = False


async def _note_connections(database: AsyncDatabase) -> None:
    """Where several processes count together, whichever is asked tells of the others too."""
    while counters.shared_folder():
        metrics.note_connections(database)
        await asyncio.sleep(NOTE_CONNECTIONS_SECONDS)


def create_app() -> FastAPI:
    made: FastAPI = FastAPIOffline(title="SmartStudy", version="1.0.0", description=DESCRIPTION, lifespan=lifespan)
    made.state.database = AsyncDatabase()
    made.state.serving = serving_models()
    made.state.readiness = health.readiness_of(made.state.serving)
    made.state.figures = metrics.stored_figures()
    made.state.trainer = trainer()
    made.state.trainer.on_published = made.state.serving.refresh
    made.add_middleware(Access)
    made.add_middleware(RequestId)
    errors.install(made)
    for router in (home.router, auth.router, practice_tasks.router, model.router, health.router, metrics.router):
        made.include_router(router)
    _describe_problems(made)
    return made


def _describe_problems(made: FastAPI) -> None:
    """FastAPI documents every answer as application/json; errors are application/problem+json."""
    plain = made.openapi

    def openapi() -> dict[str, Any]:
        if made.openapi_schema is None:
            for path in plain()["paths"].values():
                for operation in path.values():
                    for status, answer in operation["responses"].items():
                        if status >= "400":
                            answer["content"] = {"application/problem+json": {"schema": PROBLEM}}
        return plain()

    made.openapi = openapi  # type: ignore[method-assign]


app = create_app()

"""The web service."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import __version__
from app.core import errors, security
from app.core.budget import Budget
from app.core.database import AsyncDatabase
from app.core.db import timeouts
from app.core.files import close_folder
from app.core.http.access_log import Access
from app.core.http.allowed_hosts import AllowedHosts
from app.core.http.availability import Availability, OnlyWhileAvailable
from app.core.http.body_limit import BodyLimit
from app.core.http.cors import CrossOrigin, Preflight
from app.core.http.paths import HeadAsGet, OneSlash
from app.core.http.read_again import ReadAgain
from app.core.http.request_id import RequestId
from app.core.http.security_headers import SafeHeaders
from app.core.memory import COLLECT_AFTER
from app.core.observability import tracing
from app.core.observability.metrics import shared_folder
from app.core.settings import settings
from app.ml.serving import artifacts
from app.ml.serving.model_order import serving_models
from app.ml.training.scheduler import trainer
from app.monitoring.feed import Feed
from app.privacy.turns import Exports
from app.routers import (
    account,
    analytics,
    audit,
    auth,
    batches,
    document,
    events,
    health,
    metrics,
    model,
    passwords,
    people,
    practice_tasks,
    preparation,
    schools,
    topics,
    users,
)
from app.supervisor import FIRST_POLL_SECONDS, Supervisor
from app.web import pages, routes

NOTE_CONNECTIONS_SECONDS = 2.0
WARM_AFTER_SECONDS = 1.0
WAIT_FOR_THREADS_SECONDS = 0.0005  # that requests wait at the most while a thread loads a version; Python's is 0.005


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    sys.setswitchinterval(WAIT_FOR_THREADS_SECONDS)
    state = app.state
    await asyncio.to_thread(artifacts.keep_private, settings().model_dir)
    await asyncio.to_thread(close_folder, settings().data_dir, "secret_key", "postgres.password")
    with timeouts.watch.at_most(timeouts.STATEMENT_SECONDS):
        polled = asyncio.Event()
        supervisor = Supervisor(
            (state.serving.refresh_within, state.serving.sweep, state.trainer.poll), state.availability
        )
        background = [asyncio.create_task(supervisor.run(polled))]
        with suppress(TimeoutError):
            await asyncio.wait_for(polled.wait(), FIRST_POLL_SECONDS)
        if not polled.is_set():
            state.availability.closed = "The service has not seen its database yet. Try again shortly."
        _collect_less_often()
        background += [asyncio.create_task(_note_connections(state.database)), asyncio.create_task(_warm())]
        yield
        for task in background:
            task.cancel()
        await asyncio.to_thread(state.trainer.close)
        state.serving.close()
        await state.database.close()
        await asyncio.to_thread(tracing.flush)


def _collect_less_often() -> None:
    """What is there after the start stays; looking through it again and again took a tenth of every request."""
    if gc.get_freeze_count() == 0:  # once in a process
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)


async def _warm() -> None:
    """Not at once: those who wait for the start to end come first."""
    await asyncio.sleep(WARM_AFTER_SECONDS)
    await asyncio.to_thread(pages.warm)


async def _note_connections(database: AsyncDatabase) -> None:
    """Where several processes count together, whichever is asked tells of the others too."""
    while shared_folder():
        metrics.note_connections(database)
        await asyncio.sleep(NOTE_CONNECTIONS_SECONDS)


def create_app() -> FastAPI:
    made: FastAPI = FastAPIOffline(
        title="SmartStudy",
        version=__version__,
        description=document.DESCRIPTION,
        openapi_tags=[{"name": name, "description": said} for name, said in document.TAGS.items()],
        generate_unique_id_function=document.operation_id,
        lifespan=lifespan,
        telemetry=tracing.of_requests(),
        redirect_slashes=False,
    )
    connect(made)
    made.add_middleware(ReadAgain)
    made.add_middleware(HeadAsGet)
    made.add_middleware(BodyLimit)
    made.add_middleware(OnlyWhileAvailable)
    made.add_middleware(AllowedHosts)
    made.add_middleware(Preflight)
    made.add_middleware(Access)
    made.add_middleware(RequestId)
    _guard_every_answer(made)
    errors.install(made)
    made.include_router(batches.router)  # before what takes `batch` for a task's id
    made.include_router(practice_tasks.router)  # first, for routes are tried in this order
    pages.install(made)
    for part in routes.ROUTERS:
        made.include_router(part)
    for each in (
        auth,
        passwords,
        preparation,
        people,
        account,
        schools,
        users,
        analytics,
        events,
        model,
        topics,
        audit,
        health,
        metrics,
    ):
        made.include_router(each.router)
    document.describe(made)
    return made


def connect(made: FastAPI) -> None:
    """Give it the database, the models and the trainer that the settings name, none of them used yet."""
    made.middleware_stack = None  # built by the first request, from the settings
    state = made.state
    state.database = AsyncDatabase()
    state.budget = Budget()
    state.exports = Exports()
    state.availability = Availability()
    state.hashing = asyncio.Semaphore(security.HASHED_AT_ONCE)
    state.serving = serving_models()
    state.feed = Feed(state.serving)
    state.readiness = health.readiness_of(state.serving)
    state.figures = metrics.stored_figures()
    state.trainer = trainer()
    state.trainer.on_published = state.serving.refresh


def _guard_every_answer(made: FastAPI) -> None:
    """Starlette answers 500 outside of all middleware that is added, so this one stands around it."""
    plain = made.build_middleware_stack
    made.build_middleware_stack = lambda: OneSlash(SafeHeaders(CrossOrigin(plain(), pages.PLACES)))  # type: ignore[method-assign]


app = create_app()

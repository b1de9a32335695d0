"""Health checks, for those who watch the process."""

from functools import partial
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.datastructures import State

from app.core import errors
from app.core.timeout_cache import TimeoutCache
from app.domain.errors import DatabaseUnavailable
from app.ml.serving.model_order import ServingModels
from app.monitoring.readiness import SECONDS, Readiness, Surroundings, readiness
from app.schemas.problem import problems

router = APIRouter(tags=["Health"])


class Healthy(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    status: Literal["ok", "degraded"]
    reasons: list[str] = Field(description="What is not as it should be, though it serves; a sentence each.")


def readiness_of(serving: ServingModels) -> TimeoutCache[Readiness]:
    """Make the check of readiness, which ends in time even with a database that hangs."""
    return TimeoutCache(partial(readiness, serving, Surroundings()), SECONDS)


@router.get("/healthz")
async def get_health() -> Healthy:
    """The process runs; it asks nobody else."""
    return Healthy()


@router.get("/readyz", response_model=Ready, responses=problems())
async def get_readiness(request: Request) -> Ready | Response:
    """The process can serve: the database answers, takes a write, and has the tables that the code was written for.

    A 503 says why not in `reasons`: a full disk, a standby, other tables. A 200 may be `degraded`: files of a model
    that are damaged, trainings that are paused or fail, little room on a disk, clocks apart; predictions go on.
    It answers within a few seconds whatever the database does.
    """
    found = await how_ready(request.app.state)
    if not found.serves:
        error = DatabaseUnavailable(" ".join(found.reasons))
        return errors.problem(request, error.status, error.detail, error.headers, reasons=found.reasons)
    return Ready(status="degraded" if found.reasons else "ok", reasons=found.reasons)


async def how_ready(state: State) -> Readiness:
    """Tell whether this process can serve, and what is wrong; the one place that does."""
    if state.availability.closed is not None:
        return Readiness(serves=False, reasons=[state.availability.closed])
    try:
        found: Readiness = await state.readiness.answer()
    except TimeoutError:
        return Readiness(serves=False, reasons=[f"The database did not answer within {SECONDS:g} s."])
    return found

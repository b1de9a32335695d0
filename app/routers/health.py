"""For those who watch the process."""

from functools import partial
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.core import errors
from app.core.bounded import Bounded
from app.ml.readiness import SECONDS, Readiness, readiness, unreachable
from app.ml.serving import ServingModels
from app.schemas.problem import problems

router = APIRouter(tags=["Health"])


class Healthy(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    status: Literal["ok", "degraded"]
    checks: dict[str, str] = Field(description="What was looked at, and how it stands.")
    degraded: list[str] = Field(description="What is not as it should be, though it serves; a sentence each.")


def readiness_of(serving: ServingModels) -> Bounded[Readiness]:
    """Asked in bounded time, even of a database that hangs."""
    return Bounded(partial(readiness, serving), SECONDS)


@router.get("/healthz")
async def alive() -> Healthy:
    """The process runs; it asks nobody else."""
    return Healthy()


@router.get("/readyz", response_model=Ready, responses=problems())
async def ready(request: Request) -> Ready | Response:
    """The process can serve: the database answers, and its tables are those that this code needs.

    A 503 says why not in `reasons`. A 200 may be `degraded`: models whose files are damaged, trainings that are paused
    or fail.
    """
    try:
        found = await request.app.state.readiness.answer()
    except TimeoutError:
        found = unreachable(f"The database did not answer within {SECONDS:g} s.")
    if found.reasons:
        said = " ".join(found.reasons)
        return errors.problem(request, 503, said, {"Retry-After": "2"}, reasons=found.reasons)
    return Ready(status="degraded" if found.degraded else "ok", checks=found.checks, degraded=found.degraded)

"""For those who watch the process."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.datastructures import State

from app.core.outages import NO_DATABASE, outage
from app.domain.errors import DatabaseUnavailable
from app.schemas.problem import problems

router = APIRouter(tags=["Health"])


class Healthy(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def alive() -> Healthy:
    """The process runs; it asks nobody else."""
    return Healthy()


@router.get("/readyz", responses=problems())
async def ready(request: Request) -> Healthy:
    """The process can serve: the database answers, and its tables are those that the code was written for."""
    if reasons := await why_not_ready(request.app.state):
        raise DatabaseUnavailable(" ".join(reasons))
    return Healthy()


async def why_not_ready(state: State) -> list[str]:
    """Each reason why this process can't serve, as a sentence; the one place that says so."""
    if state.availability.closed is not None:
        return [state.availability.closed]
    try:
        await state.database.ping()
    except NO_DATABASE as why:
        return [(outage(why) or DatabaseUnavailable()).detail]
    return []

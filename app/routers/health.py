"""For those who watch the process."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from app.routers.callers import Db
from app.schemas.problem import problems

router = APIRouter(tags=["Health"])


class Healthy(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def alive() -> Healthy:
    """The process runs; it asks nobody else."""
    return Healthy()


@router.get("/readyz", responses=problems())
def ready(db: Db) -> Healthy:
    """The process can serve: the database answers."""
    db.execute(text("SELECT 1"))
    return Healthy()

"""Who answers, and how training stands."""

from fastapi import APIRouter

from app.ml.status import model_status
from app.routers.callers import Db
from app.routers.practice_tasks import Serving
from app.schemas.model_status import ModelStatus
from app.schemas.problem import problems

router = APIRouter(prefix="/model", tags=["Model"])


@router.get("/status", responses=problems())
def status(db: Db, serving: Serving) -> ModelStatus:
    """Who serves, since when, on how many tasks; the counter to the next training, the run at work, the last outcome.

    What it says of the serving version holds for the next prediction of this process.
    """
    serving.refresh()
    return model_status(db, serving)

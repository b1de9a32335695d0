"""How the next training stands, for students: the counter, the run at work, how the last one ended."""

from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.languages import Translator
from app.core.settings import settings
from app.crud import attempts, model_tracker, training_control, training_runs
from app.crud.training_runs import Pace, Run
from app.domain.shares import as_contributions
from app.domain.tasks import Contributions
from app.ml.serving.model_order import Loaded, ServingModels
from app.routers.dependencies import Db, Serving
from app.web.names import step_name
from app.web.pages import render
from app.web.sessions import SignedIn, page_router, translator_of

router = page_router()
WATCHED_MS = 1000


@dataclass(frozen=True, slots=True)
class Panel:
    """What the page shows."""

    since: int  # finished tasks that no model has learned from
    every: int
    finished: int | None  # tasks, by anybody, as far as that is counted before the first training
    first_at: int  # as many make the first training
    run: Run | None
    step: str  # of the run, in words
    done: float | None  # of the step, 0-1
    paused: bool
    last: Run | None
    answering: Loaded | None
    made_of: Contributions  # what each kind has to say
    pace: Pace

    @property
    def missing(self) -> int:
        """How many tasks there are to go before there can be a first training."""
        return 0 if self.finished is None else max(self.first_at - self.finished, 0)

    @property
    def is_first_hour(self) -> bool:
        return self.answering is None and self.finished is not None

    @property
    def is_due(self) -> bool:
        return self.since >= self.every and not self.missing and not self.paused

    @property
    def watched_ms(self) -> int | None:
        """How often to look again; None where nothing is going on."""
        return WATCHED_MS if self.run or self.is_due else None

    @property
    def to_go(self) -> int:
        return max(self.every - self.since, self.missing, 0)


def panel(db: Session, serving: ServingModels, translator: Translator) -> Panel:
    db.commit()  # the models are looked up by a connection of their own: a request holds one at a time
    serving.refresh()
    tracker, run = model_tracker.read(db), training_runs.at_work(db)
    full = tracker.since_training >= settings().retrain_every
    finished = attempts.count(db) if full or not tracker.trained_on else None
    progress = dict(run.progress) if run else {}
    last = next(iter(training_runs.latest(db)), None)
    epoch, epochs = progress.get("epoch"), progress.get("epochs")
    return Panel(
        tracker.since_training,
        settings().retrain_every,
        finished,
        settings().min_training_tasks,
        run,
        step_name(translator, str(progress.get("step", ""))),
        epoch / epochs if epoch and epochs else None,
        training_control.read(db).is_paused,
        last,
        serving.named,
        as_contributions(serving.model_order.spoken),
        training_runs.pace(db, run or last),
    )


@router.get("/dashboard/training")
def training(request: Request, _visitor: SignedIn, db: Db, serving: Serving) -> Response:
    """The panel alone: what the script looks at again and again, and a page for those without."""
    translator = translator_of(request)
    return render(request, "training.html", panel=panel(db, serving, translator))

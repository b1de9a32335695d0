"""`smartstudy status`: the documents' monitor, in the terminal."""

import time
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session, sessionmaker

from app.cli import tables
from app.core.settings import settings
from app.crud import model_versions, trainers, training_runs
from app.crud.trainers import Seen
from app.domain.shares import of_contributions
from app.ml.registry import describe
from app.ml.serving.model_order import serving_models
from app.ml.serving.pool import in_words
from app.monitoring.status import model_status
from app.schemas.model_status import ModelStatus

SHOWN = 5  # runs, and versions
POLL_SECONDS = 0.5


def status(db: Session) -> ModelStatus:
    """What a service that starts now would answer with."""
    serving_models().refresh()
    return model_status(db, serving_models(), for_admins=True)


def watch(new_session: sessionmaker[Session], console: Console) -> None:
    """Show the status again and again, until Ctrl-C."""
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                with new_session.begin() as db:
                    live.update(shown(db), refresh=True)
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return


def shown(db: Session) -> Group:
    """The status, and the last runs and versions."""
    grid = Table.grid(padding=(0, 2))
    alive = trainers.alive(db, settings().trainer_silent_seconds)
    for name, words in _lines(status(db), alive):
        grid.add_row(name, Text(words))
    runs, versions = training_runs.latest(db, SHOWN), model_versions.latest(db, SHOWN)
    below: list[RenderableType] = [tables.runs(runs, "Last runs") if runs else "No training has ended yet."]
    below.append(tables.versions(versions, "Last versions") if versions else tables.NO_VERSION)
    return Group(grid, *below)


def _lines(found: ModelStatus, alive: Sequence[Seen]) -> Iterator[tuple[str, str]]:
    serving = found.serving
    version = f", version {serving.model_version_id}" if serving.model_version_id else ""
    yield "Answers", f"{serving.model_version}{version}"
    if serving.contributions:
        yield "Made of", in_words(of_contributions(serving.contributions))
    if found.reason:
        yield "Degraded", found.reason
    scores = {name: value for name, value in (serving.held_out or {}).items() if type(value) is float}
    if scores:
        yield "On unseen tasks", ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in scores.items())
    yield "Live", found.live.text
    yield "Drift", found.drift.text
    yield "Counter", found.counter.text
    yield "Training", f"run {found.training.id}: {describe(found.training.progress)}" if found.training else "-"
    yield "Waiting", str(found.waiting)
    yield "Trainers", ", ".join(f"{each.name} (seen at {each.seen_at.astimezone():%H:%M:%S})" for each in alive) or "-"
    if found.warning:
        yield "Warning", found.warning
    if found.demonstration:
        made_up = found.demonstration
        yield "Made up", f"{made_up.students:,} of the students, {made_up.tasks:,} of the tasks"
    if found.paused:
        yield "Paused", f"by {found.paused.by or 'failures'}: {found.paused.reason}. `smartstudy resume` goes on."
    elif found.failures_in_a_row:
        wait = f", the next waits {found.retry_in_seconds:.0f} s" if found.retry_in_seconds else ""
        yield "Failures", f"{found.failures_in_a_row} in a row{wait}"

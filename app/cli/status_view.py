"""`smartstudy status`: the documents' monitor, in the terminal."""

import time
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from sqlalchemy.orm import Session, sessionmaker

from app.crud import model_versions, training_runs
from app.domain.shares import of_contributions
from app.ml.embedding_service import describe
from app.ml.serving.model_order import serving_models
from app.ml.serving.pool import in_words
from app.monitoring.status import model_status
from app.schemas.model_status import ModelStatus


def as_json(db: Session) -> str:
    return _status(db).model_dump_json(indent=2)


def watch(new_session: sessionmaker[Session], console: Console) -> None:
    """Look again every half second, until Ctrl-C."""
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                with new_session.begin() as db:
                    live.update(table(db), refresh=True)
                time.sleep(0.5)
    except KeyboardInterrupt:
        return


def table(db: Session) -> Group:
    return Group(_now(db), _runs(db), _versions(db))


def _status(db: Session) -> ModelStatus:
    """What a service that starts now would answer with."""
    serving_models().refresh()
    return model_status(db, serving_models())


def _now(db: Session) -> Table:
    found = _status(db)
    grid = Table.grid(padding=(0, 2))
    held_out = found.serving.held_out or {}
    scores = ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}" for name, value in held_out.items() if type(value) is float
    )
    version = f", version {found.serving.model_version_id}" if found.serving.model_version_id else ""
    grid.add_row("Answers", f"{found.serving.model_version}{version}")
    if found.serving.contributions:
        grid.add_row("Made of", in_words(of_contributions(found.serving.contributions)))
    if found.reason:
        grid.add_row("Degraded", found.reason)
    if scores:
        grid.add_row("On unseen tasks", scores)
    grid.add_row("Live", found.live.text)
    grid.add_row("Drift", found.drift.text)
    grid.add_row("Counter", found.counter.text)
    grid.add_row("Training", f"run {found.training.id}: {describe(found.training.progress)}" if found.training else "-")
    grid.add_row("Waiting", str(found.waiting))
    if found.paused:
        grid.add_row(
            "Paused", f"by {found.paused.by or 'failures'}: {found.paused.reason}. `smartstudy resume` goes on."
        )
    elif found.failures_in_a_row:
        wait = f", the next waits {found.retry_in_seconds:.0f} s" if found.retry_in_seconds else ""
        grid.add_row("Failures", f"{found.failures_in_a_row} in a row{wait}")
    return grid


def _runs(db: Session) -> Table:
    shown = Table("run", "ended", "outcome", "tasks", "how it ended", title="Last runs", title_justify="left")
    for run in training_runs.latest(db, 5):
        shown.add_row(str(run.id), _moment(run.finished_at), run.outcome, str(run.n_tasks or "-"), run.message)
    if not shown.rows:
        shown.add_row("-", "-", "-", "-", "No training has ended yet.")
    return shown


def _versions(db: Session) -> Table:
    shown = Table("version", "kind", "state", "tasks", "log-loss", "made", title="Last versions", title_justify="left")
    for version in model_versions.latest(db, 5):
        loss = (version.scores or {}).get("log_loss")
        shown.add_row(
            str(version.id),
            version.kind,
            version.state,
            str(version.n_tasks),
            "-" if loss is None else f"{loss:.3f}",
            _moment(version.created_at),
        )
    if not shown.rows:
        shown.add_row("-", "-", "-", "-", "-", "None has been trained yet; LNIRT fitted to the newest tasks answers.")
    return shown


def _moment(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"

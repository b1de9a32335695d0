"""`smartstudy versions` and `smartstudy comparison`: the versions and their quality, in the terminal."""

import json
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from app.crud.model_versions import Version
from app.monitoring.version_text import told
from app.schemas.comparison import Comparison, VersionQuality
from app.schemas.model_versions import VersionOut

NOTHING = "No model has been trained yet; LNIRT fitted to the newest tasks answers."


def table(found: list[Version]) -> Group:
    """Newest first, and below it why each stands as it does."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("id", "kind", "state", "tasks", "log-loss", "AUC", "RMSE\nlog t", "trained"):
        shown.add_column(column, no_wrap=column != "state")
    for version in found:
        shown.add_row(
            str(version.id),
            version.kind,
            state(version),
            f"{version.n_tasks:,}",
            log_loss(version),
            number(_scores(version).get("auc")),
            number(_scores(version).get("rmse_log_time")),
            moment(version.created_at),
        )
    reasons = [f"[dim]{version.id}[/dim]  {escape(version.reason)}" for version in found if version.reason]
    return Group(shown, *reasons)


def as_json(found: list[Version]) -> str:
    items = [VersionOut.model_validate(told(version)).model_dump(mode="json") for version in found]
    return json.dumps({"items": items}, indent=2)


def state(version: Version) -> str:
    if version.state == "serving":
        return "answers" + (", by hand" if version.by_hand else "") if version.place == 0 else "stands in"
    return f"{version.state}, files gone" if version.pruned_at else version.state


def log_loss(version: Version) -> str:
    """With its standard error."""
    scores = _scores(version)
    loss, error = scores.get("log_loss"), scores.get("log_loss_standard_error")
    return number(loss) if error is None or loss is None else f"{loss:.3f} ±{error:.3f}"


def _scores(version: Version) -> dict[str, float | None]:
    return {name: value for name, value in (version.scores or {}).items() if type(value) in (float, int)}


def compared(found: Comparison) -> Table:
    """Each version, and before them all versions of a kind together."""
    columns = ("version", "kind", "role", "tasks", "log-loss", "AUC", "Brier", "RMSE log time", "in interval")
    shown = Table(*columns, title=f"The last {found.days} days", title_justify="left")
    for each in (*found.kinds, *found.versions):
        shown.add_row(
            ("-" if each.id is None else str(each.id)) if isinstance(each, VersionQuality) else "all",
            each.kind,
            each.role,
            f"{each.n:,}",
            *map(number, (each.log_loss, each.auc, each.brier, each.rmse_log_time, each.time_interval_coverage)),
        )
    return shown


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def moment(at: datetime) -> str:
    return at.astimezone().strftime("%m-%d %H:%M")

"""The tables that commands print; all look alike."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from app.crud.audit import Entry
    from app.crud.model_versions import Version
    from app.crud.service_keys import Key
    from app.crud.topics import Topic
    from app.crud.training_runs import Run
    from app.crud.users import User
    from app.schemas.comparison import Comparison

NO_VERSION = "No model has been trained yet; LNIRT fitted to the newest tasks answers."


def table(
    words: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | None = None
) -> Table:
    """A table of columns with words, then columns with numbers, by their headings; nothing in a cell is markup."""
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in words:
        made.add_column(heading, overflow="fold")
    for heading in numbers:
        made.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def figure(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def moment(at: datetime | None) -> str:
    """In the zone of the machine."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M") if at else "-"


def keys(found: Iterable["Key"]) -> Table:
    return table(
        ("name", "prefix", "created", "state", "students"),
        (),
        ((key.name, key.prefix, moment(key.created_at), key_state(key), _whom(key)) for key in found),
    )


def _whom(key: "Key") -> str:
    return "its own" if key.own_students else "all"


def key_state(key: "Key") -> str:
    if key.revoked_at is None:
        return "in use"
    return f"{'ends at' if key.state == 'ends' else 'revoked'} {moment(key.revoked_at)}"


def audit(found: Iterable["Entry"]) -> Table:
    """What was done, newest first."""
    return table(
        ("at", "who", "what", "to what", "from"),
        (),
        ((moment(each.at), each.actor, each.act, each.subject or "-", each.address or "-") for each in found),
    )


def topics(found: Iterable["Topic"]) -> Table:
    """What students have written, most students first."""
    return table(
        ("topic", "decided"),
        ("students", "without account", "finished", "open"),
        (
            (
                each.name,
                each.state or "-",
                str(each.students),
                str(each.without_account),
                f"{each.finished:,}",
                f"{each.open:,}",
            )
            for each in found
        ),
    )


def users(found: Iterable["User"]) -> Table:
    """Accounts, newest first."""
    return table(
        ("address", "name", "state", "registered", "last signed in"),
        ("finished",),
        (
            (
                each.email,
                each.name or "-",
                "disabled" if each.disabled_at else "admin" if each.is_admin else "-",
                moment(each.created_at),
                moment(each.seen_at),
                f"{each.finished:,}",
            )
            for each in found
        ),
    )


def versions(found: Iterable["Version"], title: str | None = None) -> Table:
    """Trained models, newest first."""
    rows = (
        (
            str(version.id),
            version.kind,
            _version_state(version),
            moment(version.created_at),
            f"{version.n_tasks:,}",
            _log_loss(scores),
            figure(scores.get("auc")),
            figure(scores.get("rmse_log_time")),
        )
        for version in found
        for scores in (_scores(version),)
    )
    return table(("id", "kind", "state", "trained"), ("tasks", "log-loss", "AUC", "RMSE\nlog t"), rows, title)


def reasons(found: Iterable["Version"]) -> Group:
    """Why each version stands as it does, a line each."""
    return Group(*(Text.assemble((f"{each.id}", "dim"), f"  {each.reason}") for each in found if each.reason))


def _version_state(version: "Version") -> str:
    if version.state == "serving":
        return "answers" + (", by hand" if version.by_hand else "") if version.place == 0 else "stands in"
    return f"{version.state},\nfiles gone" if version.pruned_at else version.state


def _scores(version: "Version") -> dict[str, float]:
    return {name: value for name, value in version.scores.items() if type(value) in (float, int)}


def _log_loss(scores: Mapping[str, float]) -> str:
    """With its standard error."""
    error = scores.get("log_loss_standard_error")
    return figure(scores.get("log_loss")) + ("" if error is None else f" ±{error:.3f}")


def comparison(found: "Comparison") -> Table:
    """Each version, and before them all versions of a kind together."""
    figures = ("log_loss", "auc", "brier", "rmse_log_time", "time_interval_coverage")
    headings = ("tasks", "log-loss", "AUC", "Brier", "RMSE\nlog t", "80 %\nholds")
    named = [("all", each) for each in found.kinds]
    named += [("-" if each.id is None else str(each.id), each) for each in found.versions]
    rows = (
        (name, each.kind, each.role, f"{each.n:,}", *(figure(getattr(each, one)) for one in figures))
        for name, each in named
    )
    return table(("version", "kind", "role"), headings, rows, f"The last {found.days} days")


def runs(found: Iterable["Run"], title: str) -> Table:
    """How trainings ended, newest first."""
    rows = (
        (str(e.id), moment(e.finished_at), e.trainer or "-", e.outcome, f"{e.n_tasks or '-'}", e.message or "")
        for e in found
    )
    return table(("run", "ended", "trainer", "outcome", "tasks", "how it ended"), (), rows, title)

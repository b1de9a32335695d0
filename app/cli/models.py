"""Commands for trainings and for who serves."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Group, RenderableType

from app.cli.lazily import lazily
from app.cli.progress import progress_bar
from app.cli.shared import (
    AsJson,
    KindName,
    NetworkName,
    console,
    explained,
    in_transaction,
    say,
    to_json,
    usable_engine,
)
from app.domain.actors import COMMAND_LINE
from app.domain.errors import NotAccepted

with lazily():
    from app.cli import monitor, tables
    from app.core import database, settings
    from app.crud import model_versions, serving_changes, training_control
    from app.ml import registry
    from app.ml.explanation import network_inputs
    from app.ml.serving import artifacts, model_order, version_store
    from app.ml.training import scheduler
    from app.monitoring import comparison, status
    from app.schemas import model_versions as version_schemas

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(rich_markup_mode="markdown")
SERVED = ("published", "rejected")  # outcomes of a training from which models came, if only to be found no better


@app.command()
@explained()
def train(kind: KindName = None) -> None:
    """Train now on all finished tasks, and wait for it (the service goes on answering meanwhile)."""
    usable_engine()
    with progress_bar() as progress:
        bar = progress.add_task("Training", total=None, detail="")

        def show(step: Any) -> None:
            detail = registry.describe(step)
            progress.update(bar, detail=detail, total=step.get("epochs"), completed=step.get("epoch", 0))

        try:
            result = scheduler.trainer().train_now(show, kinds=[kind] if kind else None, actor=COMMAND_LINE)
        finally:
            scheduler.trainer().close()
    say(result["message"])
    if result["outcome"] not in SERVED:
        raise typer.Exit(1)


@app.command()
@in_transaction
def versions(
    db: "Session",
    kind: KindName = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> RenderableType:
    """The trained models, newest first: which answers, how good each is on tasks it was not fitted on, and why."""
    found = model_versions.latest(db, limit, kind)
    if as_json:
        told = [version_schemas.VersionOut.model_validate(status.version_fields(version)) for version in found]
        return to_json({"items": [each.model_dump(mode="json") for each in told]})
    if not found:
        return f"No {kind} has been trained yet." if kind else tables.NO_VERSION
    return Group(tables.versions(found), tables.reasons(found))


@app.command()
@in_transaction
def inputs(
    db: "Session",
    task: Annotated[UUID, typer.Argument(metavar="TASK_ID", help="As the API names it.", show_default=False)],
    kind: NetworkName = None,
) -> str:
    """Print, as JSON, what a network was told of a task: what its `.keras` files take in a notebook.

    `version` and `folder` are those of the version that predicted the task, while its files are kept, or of the one of
    its kind that serves now. `inputs` are as of the moment the task was created, in the order in which
    `keras.models.load_model(...)` of that folder takes them; `answer` is what the version says to them, before the
    service keeps it within its limits; `task` is what the API shows.
    """
    serving = model_order.serving_models()
    serving.refresh()
    return json.dumps(network_inputs.task_inputs(db, serving, task, kind).as_dict(), allow_nan=False)


@app.command()
def promote(version: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="See `smartstudy versions`.")]) -> None:
    """Let this version answer; a later training replaces it only by one that is clearly better."""
    _change_who_serves(lambda db: serving_changes.promote(db, version, COMMAND_LINE))


@app.command()
def rollback() -> None:
    """Go back to the version that answered before; called again, it goes back one more."""
    _change_who_serves(lambda db: serving_changes.roll_back(db, COMMAND_LINE))


@app.command()
@in_transaction
def retire(
    db: "Session", version: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="See `smartstudy versions`.")]
) -> str:
    """Take a version out of service whose files are lost for good: the next training is not compared with it.

    Trainings fail while the files of a version in service can't be had, so that nothing is published unjudged. Where
    another version of its kind is kept, `smartstudy promote` lets that one answer instead. On a machine that has the
    files, they are put back into the store, and the version stays.
    """
    found, store = model_versions.get(db, version), version_store.version_store()
    try:
        folder = store.fetched(found)
    except (artifacts.DamagedFiles, OSError):
        return serving_changes.retire(db, version, COMMAND_LINE)
    if found.pruned_at is None and store.publish(folder, found.folder, mend=True):
        return f"Version {version} stays: this machine has its files, and has put them back into {store.url}."
    raise NotAccepted(
        f"The files of version {version} are whole: let another version answer, with `smartstudy promote`."
    )


def _store(url: str) -> str:
    try:
        return settings.checked_store(url)
    except ValueError as why:
        raise typer.BadParameter(f"{url!r} can't be used: this command {why}") from None


@app.command("copy-versions")
@explained()
def copy_versions(
    url: Annotated[str, typer.Argument(callback=_store, help="As MODEL_URL takes it.", show_default=False)],
) -> None:
    """Copy the files of all versions that are kept into another store: then let MODEL_URL name that one.

    What lies there already stays, but for versions that are not kept any more. Copy once more when every process has
    been started with the new MODEL_URL, for what was published meanwhile (with MODEL_URL=the old one before the
    command); then delete the old store, for nothing is swept there any more.
    """
    usable_engine()
    here = version_store.version_store()
    there = version_store.VersionStore(here.model_dir, url)
    with database.new_session().begin() as db:
        kept = model_versions.kept(db)
    there.begin()
    lost = dict[str, str]()
    for version in kept:
        try:
            there.publish(here.fetched(version), version.folder)
        except (artifacts.DamagedFiles, OSError) as why:
            lost[version.folder] = f"version {version.id}: {why}"
    with database.new_session().begin() as db:
        known = model_versions.folders(db)
    there.remove_gone(known)  # since an earlier copy, or while this one was made; who was erased may be in it
    say(f"The files of {len(kept) - len(lost)} versions lie in {there.url}.")
    if not_copied := [why for folder, why in lost.items() if known.get(folder)]:
        raise SystemExit(f"Not copied: {'; '.join(not_copied)}.")


@explained()
def _change_who_serves(change: "Callable[[Session], str]") -> None:
    """Make the change, and say who answers now."""
    usable_engine()
    with database.new_session().begin() as db:
        message = change(db)
        first = next(iter(model_versions.serving(db).values()))
    serving = model_order.serving_models()
    serving.refresh()
    say(status.outcome(message, first, serving))


@app.command()
@in_transaction
def pause(
    db: "Session", reason: Annotated[str, typer.Option(help="Shown to whoever asks why.")] = "A person wanted it so."
) -> str:
    """Let no training begin by itself until `smartstudy resume`; predictions go on."""
    done = training_control.pause(db, COMMAND_LINE, reason)
    return "Trainings are paused." if done else "Trainings were paused already."


@app.command()
@in_transaction
def resume(db: "Session") -> str:
    """Let trainings begin by themselves again, after a pause or after failures; the service begins one that is due."""
    done = training_control.resume(db, COMMAND_LINE)
    return "Trainings go on." if done else "Nothing held trainings up."


@app.command("comparison")
@in_transaction
def compare(
    db: "Session",
    days: Annotated[int, typer.Option(min=1, max=366, help="Whole days, UTC; today is the last.")] = 30,
    as_json: AsJson = False,
) -> RenderableType:
    """How good the predictions of each kind and version were, on tasks that have been completed since."""
    found = comparison.comparison(db, days)
    if as_json:
        return found.model_dump_json(indent=2)
    return Group(tables.comparison(found), found.text) if found.kinds else found.text


@app.command("status")
@explained()
def show_status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who serves, the counter to the next training, the run at work with its epochs, versions, errors."""
    usable_engine()
    if watch and not as_json:
        monitor.watch(database.new_session(), console)
        return
    with database.new_session().begin() as db:
        say(monitor.status(db).model_dump_json(indent=2) if as_json else monitor.shown(db))

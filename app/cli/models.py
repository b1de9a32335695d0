"""Commands for trainings and for who serves."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli.progress_view import progress_bar
from app.cli.shared import (
    AsJson,
    KindName,
    console,
    explained,
    usable_engine,
)
from app.domain.actors import COMMAND_LINE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


app = typer.Typer(rich_markup_mode="markdown")


@app.command()
def train(kind: KindName = None) -> None:
    """Train now on all finished tasks, and wait for it (the service goes on answering meanwhile)."""
    from app.ml.embedding_service import describe
    from app.ml.training.scheduler import trainer

    kinds = _kinds(kind)
    usable_engine()
    with explained(), progress_bar() as progress:
        shown = progress.add_task("Training", total=None, detail="")

        def say(step: Any) -> None:
            progress.update(shown, detail=describe(step), total=step.get("epochs"), completed=step.get("epoch", 0))

        try:
            result = trainer().train_now(say, kinds=kinds, actor=COMMAND_LINE)
        finally:
            trainer().close()
    console.print(result["message"])
    if result["outcome"] not in ("published", "rejected"):  # rejected: models came out, but better ones serve
        raise typer.Exit(1)


@app.command()
def versions(
    kind: KindName = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The trained models, newest first: which answers, how good each is on tasks it was not fitted on, and why."""
    from app.cli import versions_view
    from app.core.database import new_session
    from app.crud import model_versions

    _kinds(kind)
    usable_engine()
    with explained(), new_session().begin() as db:
        found = model_versions.latest(db, limit, kind)
    if as_json:
        print(versions_view.as_json(found))
    elif found:
        console.print(versions_view.table(found))
    else:
        console.print(f"No {kind} has been trained yet." if kind else versions_view.NOTHING)


@app.command()
def inputs(
    task: Annotated[UUID, typer.Argument(metavar="TASK_ID", help="As the API names it.", show_default=False)],
    kind: Annotated[
        str | None, typer.Option("--kind", help="A network, such as embedding_v2; the one that predicted without it.")
    ] = None,
) -> None:
    """Print, as JSON, what a network was told of a task: what its `.keras` files take in a notebook.

    `version` and `folder` are those of the version that predicted the task, while its files are kept, or of the one of
    its kind that serves now. `inputs` are as of the moment the task was created, in the order in which
    `keras.models.load_model(...)` of that folder takes them; `answer` is what the version says to them, before the
    service keeps it within its limits; `task` is what the API shows.
    """
    from app.core.database import new_session
    from app.ml.explanation.network_inputs import task_inputs
    from app.ml.serving.model_order import serving_models

    _kinds(kind)
    usable_engine()
    with explained():
        serving_models().refresh()
        with new_session().begin() as db:
            found = task_inputs(db, serving_models(), task, kind)
    print(json.dumps(found.as_dict(), allow_nan=False))


@app.command()
def promote(version: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="See `smartstudy versions`.")]) -> None:
    """Let this version answer; a later training replaces it only by one that is clearly better."""
    from app.crud import serving_acts

    _change_who_serves(lambda db: serving_acts.promote(db, version, COMMAND_LINE))


@app.command()
def rollback() -> None:
    """Go back to the version that answered before; called again, it goes back one more."""
    from app.crud import serving_acts

    _change_who_serves(lambda db: serving_acts.roll_back(db, COMMAND_LINE))


@app.command()
def pause(reason: Annotated[str, typer.Option(help="Shown to whoever asks why.")] = "A person wanted it so.") -> None:
    """Let no training begin by itself until `smartstudy resume`; predictions go on."""
    from app.core.database import new_session
    from app.crud import training_acts

    usable_engine()
    with explained(), new_session().begin() as db:
        done = training_acts.pause(db, COMMAND_LINE, reason)
    console.print("Trainings are paused." if done else "Trainings were paused already.")


@app.command()
def resume() -> None:
    """Let trainings begin by themselves again, after a pause or after failures; the service begins one that is due."""
    from app.core.database import new_session
    from app.crud import training_acts

    usable_engine()
    with explained(), new_session().begin() as db:
        done = training_acts.resume(db, COMMAND_LINE)
    console.print("Trainings go on." if done else "Nothing held trainings up.")


@app.command()
def comparison(
    days: Annotated[int, typer.Option(min=1, max=366, help="Whole days, UTC; today is the last.")] = 30,
    as_json: AsJson = False,
) -> None:
    """How good the predictions of each kind and version were, on tasks that have been completed since."""
    from app.cli import versions_view
    from app.core.database import new_session
    from app.monitoring.comparison import comparison as compare

    usable_engine()
    with explained(), new_session().begin() as db:
        found = compare(db, days)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    if found.kinds:
        console.print(versions_view.compared(found))
    console.print(found.text, soft_wrap=True)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who serves, the counter to the next training, the run at work with its epochs, versions, errors."""
    from app.cli import status_view
    from app.core.database import new_session

    usable_engine()
    with explained():
        if as_json:
            with new_session().begin() as db:
                print(status_view.as_json(db))
        elif watch:
            status_view.watch(new_session(), console)
        else:
            with new_session().begin() as db:
                console.print(status_view.table(db))


def _kinds(name: str | None) -> list[str] | None:
    """The kinds to train; a name that is none is refused with those that are."""
    from app.ml.registry import BY_NAME

    if name is None:
        return None
    if name not in BY_NAME:
        raise typer.BadParameter(f"there is no kind {name!r}; there are {', '.join(BY_NAME)}", param_hint="--kind")
    return [name]


def _change_who_serves(change: "Callable[[Session], str]") -> None:
    """Make the change, and say who answers now."""
    from app.core.database import new_session
    from app.crud import model_versions
    from app.ml.serving.model_order import serving_models
    from app.monitoring.version_text import outcome

    usable_engine()
    with explained():
        with new_session().begin() as db:
            message = change(db)
            first = next(iter(model_versions.serving(db).values()))
        serving_models().refresh()
    console.print(outcome(message, first, serving_models()), soft_wrap=True, markup=False)

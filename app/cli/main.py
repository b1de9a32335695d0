"""The command line."""

import os
from pathlib import Path
from typing import Annotated

import typer

from app import __version__
from app.cli import data, evaluation, keys, models, service, topics, users

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""**SmartStudy** says, before a practice task, how likely a student is to get it right and how long it takes.

    Settings come from the environment, or from a file: `.env` in the folder where the command is started, or the one
    that `--env-file` or ENV_FILE names. `.env.example` has them all: DATABASE_URL (none: a PostgreSQL of its own in
    DATA_DIR), DATA_DIR, MODEL_DIR, SECRET_KEY, RETRAIN_EVERY, MIN_TRAINING_TASKS and more.""",
)
app.add_typer(service.app)
app.add_typer(keys.app)
app.add_typer(users.app)
app.add_typer(topics.app)
app.add_typer(data.app)
app.add_typer(models.app)
app.add_typer(evaluation.app)


def main() -> None:
    app()


def _say_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def common(
    env_file: Annotated[
        Path | None, typer.Option(help="Read settings from this file, not from `.env` [ENV_FILE].", show_default=False)
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print it.")] = False,
) -> None:
    if env_file is not None:
        os.environ["ENV_FILE"] = str(env_file.absolute())  # web and training processes read the same one

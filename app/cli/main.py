"""The command line."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from app import __version__
from app.cli.progress_view import Watch, progress_bar, stopped, watched
from app.core.one_thread import use_one_thread
from app.domain.actors import COMMAND_LINE
from app.domain.kinds import KINDS, NETWORKS

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from app.cli.research import DataSet
    from app.domain.attempts import Attempts
    from app.domain.interactions import Interaction, Interactions

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
keys = typer.Typer(no_args_is_help=True, help="Service keys: how a school's own back end calls.")
app.add_typer(keys, name="key")
admins = typer.Typer(no_args_is_help=True, help="Admins: who may see and change which model serves.")
app.add_typer(admins, name="admin")
console = Console()
SHOW_AFTER_SECONDS = 2.0

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False)]
KindName = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help=f"{', '.join(KINDS)}; without it those that the setting KINDS names.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the figures here too.")]
RowsFile = Annotated[
    Path | None,
    typer.Option(
        "--rows", dir_okay=False, help="Write a CSV with a row per prediction and what happened here; `.gz` is zipped."
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Skip rows that can't be used, and count them.")]


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


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Port; 4008 unless PORT says otherwise.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for everybody's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Web processes.")] = 1,
    guided: Annotated[bool, typer.Option(help="On an empty database, show the main job first.")] = False,
    access_log: Annotated[bool, typer.Option(help="Log every request, not only those that fail.")] = False,
) -> None:
    """Run the web service.

    The embedded database is started and brought up to date; one of your own (DATABASE_URL) must be migrated before
    (`smartstudy migrate`); while it is away the service waits for it. Ctrl-C ends it; an embedded database nobody else
    uses is stopped then.

    It logs to stderr: lines for people on a terminal, JSON everywhere else (LOG_FORMAT, LOG_LEVEL).
    """
    import signal

    import uvicorn

    from app.core.observability import logs
    from app.core.settings import settings

    use_one_thread()  # an explanation's matrices are just large enough to be shared out, and wait for busy cores
    _set_for_all_processes(guided, access_log)
    given = settings()
    host, port = host or given.host, given.port if port is None else port
    logs.configure()
    _refuse_other_tables()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn passes it on at the end: leave by the front door
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
    if guided:
        from app.cli import guided_run

        guided_run.in_background(address, Console(soft_wrap=True))
    else:
        _say_where(address)
    with _counting_together(workers):
        uvicorn.run(
            "app.main:app",
            host=host,
            port=port,
            workers=workers,
            access_log=False,  # app/core/http/access_log.py has one without queries
            log_config=logs.as_dict(),
            log_level=None,
            timeout_graceful_shutdown=5,
            forwarded_allow_ips=given.forwarded_allow_ips,
        )


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date. Harmless when they are; two at once take turns."""
    from app.core.database import database_url, engine_for
    from app.core.db import migrations

    with _explained():
        engine = engine_for(database_url())
        before = migrations.revision(engine)
        migrations.migrate(engine)
    now = migrations.revision(engine)
    console.print(f"The database stands at revision {now}" + (", as before." if now == before else "."))


@keys.command("create")
def create_key(name: Annotated[str, typer.Argument(help="Whose key it is, such as the school's name.")]) -> None:
    """Make a service key and print it, this once: only its hash is stored."""
    from app.core.database import new_session
    from app.crud import service_keys

    _usable_engine()
    with _explained(), new_session().begin() as db:
        key = service_keys.create(db, name, COMMAND_LINE)
    print(key)
    console.print("Keep it: it is not shown again. Send it as `Authorization: Bearer KEY`.", style="dim")


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """All service keys, newest first: whose, how each begins, whether it is in use."""
    from app.cli import keys_view
    from app.core.database import new_session
    from app.crud import service_keys

    _usable_engine()
    with _explained(), new_session().begin() as db:
        found = service_keys.listed(db)
    if as_json:
        print(keys_view.as_json(found))
    else:
        console.print(keys_view.table(found) if found else keys_view.NOTHING)


@keys.command("rotate")
def rotate_key(
    name: Annotated[str, typer.Argument(help="The name of the key to replace.", show_default=False)],
    keep_old: Annotated[
        float, typer.Option(min=0, max=24 * 365, metavar="HOURS", help="How long the old one goes on; 0: ends at once.")
    ] = 24,
) -> None:
    """Make a new key of the same name and print it, this once; the old one goes on until everybody has the new one."""
    from app.core.database import new_session
    from app.crud import service_keys

    if keep_old != keep_old:
        raise typer.BadParameter("must be a number of hours", param_hint="--keep-old")
    _usable_engine()
    with _explained(), new_session().begin() as db:
        key = service_keys.rotate(db, name, keep_old, COMMAND_LINE)
    print(key)
    old = f"is valid for another {keep_old:g} h" if keep_old else "has ended"
    console.print(f"Keep it: it is not shown again. The old key {old}.", style="dim")


@keys.command("revoke")
def revoke_key(
    which: Annotated[
        str, typer.Argument(metavar="NAME_OR_PREFIX", help="See `smartstudy key list`.", show_default=False)
    ],
) -> None:
    """Let nobody in with a key any more, at once."""
    from app.core.database import new_session
    from app.crud import service_keys

    _usable_engine()
    with _explained(), new_session().begin() as db:
        said = service_keys.revoke(db, which, COMMAND_LINE)
    console.print(said, highlight=False, markup=False, soft_wrap=True)


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """What was done that only admins may do: when, by whom, to what."""
    from app.cli import audit_view
    from app.core.database import new_session
    from app.crud import audit as entries

    _usable_engine()
    with _explained(), new_session().begin() as db:
        found = entries.newest(db, limit)
    if as_json:
        print(audit_view.as_json(found))
    else:
        console.print(audit_view.table(found) if found else audit_view.NOTHING)


@admins.command("create")
def create_admin(
    email: Annotated[str, typer.Argument(help="The address to sign in with; nothing is sent there.")],
    name: Annotated[str | None, typer.Option(help="How to call the person, for a new account.")] = None,
) -> None:
    """Make somebody an admin.

    Who has an account keeps its password. For a new account the password is asked for; where nobody can be asked (no
    terminal) it is taken from ADMIN_PASSWORD, and without that one is made and printed, this once.
    """
    from app.cli import admin_accounts
    from app.core.database import new_session

    _usable_engine()
    with _explained(), new_session().begin() as db:
        said = admin_accounts.create(db, email, name)
    console.print(said, highlight=False, markup=False, soft_wrap=True)


@app.command("import")
def import_file(file: File, skip_bad: SkipBad = False) -> None:
    """Import finished tasks from a CSV file, all or nothing.

    Columns: student_id, item_id, topic, difficulty, correct, time_seconds, timestamp (UTC epoch seconds); more are
    ignored; `.gz` is unzipped. Student ids that are no UUIDs become stable ones. A column `difficulty` that is empty
    throughout counts as medium, an empty `timestamp` as one task after another. Importing the same file again changes
    nothing. A row that can't be used is named by its line, and nothing is imported.
    """
    from app.core.database import new_session
    from app.crud import imports
    from app.domain.interactions import Interactions, opened

    _usable_engine()
    with _explained(), opened(file) as (text, raw), new_session().begin() as db, progress_bar() as progress:
        shown = progress.add_task(f"Reading {file.name}", total=file.stat().st_size, detail="")
        interactions = Interactions(text, skip_bad)

        def say(read: int, step: str) -> None:
            progress.update(shown, description=step, completed=raw.tell(), detail=f"{read:,} rows")

        watched = _Watched(interactions, say, f"Reading {file.name}")
        added = imports.add(db, watched)
    console.print(f"Imported {added:,} tasks; {watched.read - added:,} were there already.")
    if interactions.bad:
        console.print(f"Skipped {interactions.bad:,} rows that can't be used, the first: {interactions.first_bad}")


@app.command()
def sample() -> None:
    """Load made-up students into an empty installation, to look around with: 40 who did 30 tasks each.

    The running service trains on them when it sees them, within seconds; `smartstudy train` does it now.
    """
    from app.core.database import new_session
    from app.ml.evaluation import sample as made_up

    _usable_engine()
    with _explained(), new_session().begin() as db:
        added = made_up.load(db)
    console.print(f"Loaded {added:,} tasks of {made_up.STUDENTS} made-up students.")


@app.command()
def erase(
    student: Annotated[str, typer.Argument(help="The student's id, as service keys or an imported file name them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Erase all that is stored about a student, and their account if they have one. It can't be undone.

    Tasks, totals and what was worked out from them go at once; the next training begins anew without them.
    """
    from app.cli import erasing_view
    from app.core.database import new_session
    from app.crud import erasures
    from app.domain.interactions import student_uuid
    from app.privacy.erasure import erase as erase_all

    student_id = UUID(bytes=student_uuid(student))
    _usable_engine()
    with _explained():
        with new_session().begin() as db:
            found = erasures.find(db, student_id)
        if not found.anything:
            raise SystemExit(f"Nothing is stored about the student {student}.")
        if not yes:
            typer.confirm(erasing_view.question(student, found), abort=True)
        with new_session()() as db:
            erased = erase_all(db, student_id, COMMAND_LINE)
            said = erasing_view.done(student, erased, erasures.pending(db))
    console.print(said, highlight=False, markup=False, soft_wrap=True)


@app.command()
def train(kind: KindName = None) -> None:
    """Train now on all finished tasks, and wait for it (the service goes on answering meanwhile)."""
    from app.ml.embedding_service import describe
    from app.ml.training.scheduler import trainer

    kinds = _kinds(kind)
    _usable_engine()
    with _explained(), progress_bar() as progress:
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
    _usable_engine()
    with _explained(), new_session().begin() as db:
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
    _usable_engine()
    with _explained():
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

    _usable_engine()
    with _explained(), new_session().begin() as db:
        done = training_acts.pause(db, COMMAND_LINE, reason)
    console.print("Trainings are paused." if done else "Trainings were paused already.")


@app.command()
def resume() -> None:
    """Let trainings begin by themselves again, after a pause or after failures; the service begins one that is due."""
    from app.core.database import new_session
    from app.crud import training_acts

    _usable_engine()
    with _explained(), new_session().begin() as db:
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

    _usable_engine()
    with _explained(), new_session().begin() as db:
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

    _usable_engine()
    with _explained():
        if as_json:
            with new_session().begin() as db:
                print(status_view.as_json(db))
        elif watch:
            status_view.watch(new_session(), console)
        else:
            with new_session().begin() as db:
                console.print(status_view.table(db))


@app.command()
def replay(
    file: File,
    retrain_every: Annotated[int | None, typer.Option(min=1, help="Train after so many tasks [RETRAIN_EVERY].")] = None,
    json_file: JsonFile = None,
    rows: RowsFile = None,
    early: Annotated[bool, typer.Option(help="While there are few tasks, train whenever they have doubled.")] = True,
    lstm: Annotated[bool, typer.Option("--lstm", help="The LSTM too; its trainings take far longer.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every training from scratch; takes far longer, too.")] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Replay a CSV file as the service would have lived through it, and compare the models with simple baselines.

    Each task is predicted at its moment by what had been learned until then, its result comes when it was finished,
    and after every N finished tasks the model trains anew. Nothing is stored; no database is needed.

    The service trains every 5 tasks; a large N spares trainings that change little. While there are few tasks each
    changes much, so the first trainings come after 10, 20, 40, ... tasks, until that is every N. With `--no-early` the
    first comes after N too, and everything before it is answered by the prior. From 5,000 tasks on the networks go on
    from where they stood, as in the service, and begin anew when the tasks have grown by FULL_TRAINING_GROWTH.

    `served` is what students would have been told: the first answers, trainings, gate and mixture of the service, by
    the same code; with the LSTM, as a service trains it unless KINDS says otherwise, where `--lstm` is given.

    Columns as for `evaluate`. Ctrl-C keeps the figures of the models that have finished.
    """
    use_one_thread()
    from app.cli import replay_view, research
    from app.core.settings import settings
    from app.ml.evaluation.prequential import replay as run
    from app.ml.evaluation.served import contestants

    with _explained():
        _check_outputs(file, json_file, rows)
        data = _data_set(file, skip_bad)
        those = contestants(lstm=lstm, growth=None if full else settings().full_training_growth)
        given = replay_view.arguments(retrain_every, early)
        with (
            research.rows_file(rows, data.attempts, data.names) as said_by,
            watched("Replaying") as watch,
        ):
            report = run(data.attempts, **given, contestants=those, progress=watch, said_by=said_by)
    replay_view.show(report, console)
    _write_json(json_file, report.as_dict() | {"files": [data.facts()]})
    _end(report.interrupted, watch)


@app.command()
def evaluate(
    file: File,
    test: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Judge on this file's students.")
    ] = None,
    json_file: JsonFile = None,
    rows: RowsFile = None,
    ablation: Annotated[bool, typer.Option("--ablation", help="V2 and boosting with fewer inputs too.")] = False,
    only: Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be repeated.")] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Train every model on some students of a CSV file and judge it on others whom it never saw.

    Without `--test` a fifth of the students judges, always the same ones; with it, all of FILE trains and the students
    of the other file judge, each task answered from what its student had finished before. Beside the service's own
    models stand the prior, simple baselines and, where scikit-learn is installed, gradient boosting and logistic
    regression on the same inputs. Nothing is stored; no database is needed. Ctrl-C keeps the figures of the models that
    have finished.

    Columns as for `import`, of which only student_id (or person) and correct are needed; the item may be called item.
    A time_seconds, topic or item_id may be missing, the whole column or single cells (empty or NA): times are judged
    where there are some, and tasks without a topic count as one topic. A row without a result is left out.
    """
    use_one_thread()
    from app.cli import evaluation_view, research
    from app.ml.evaluation import benchmark

    with _explained():
        _check_outputs(file, json_file, rows)
        sets = [_data_set(each, skip_bad) for each in (file, test) if each]
        train, judges = (sets[0].attempts, sets[1].attempts) if test else benchmark.split_by_student(sets[0].attempts)
        contestants = evaluation_view.chosen(benchmark.contestants(ablation), only)
        with research.rows_file(rows, judges, sets[-1].names) as said_by, watched("Training") as watch:
            found = benchmark.evaluate(train, judges, contestants, watch, said_by)
    facts = benchmark.as_dict(found, train, judges) | {"files": [each.facts() for each in sets]}
    evaluation_view.show(found, facts, console)
    _write_json(json_file, facts)
    _end(found.interrupted, watch)
    if not found.scores:
        raise typer.Exit(1)


@app.command()
def tune(
    file: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
            help="A CSV file; without it the installation's finished tasks.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=0, help="How many more; 0: only judge the best so far.")] = 50,
    kind: Annotated[str, typer.Option(help="The kind of network.")] = "embedding_v2",
    study: Annotated[str | None, typer.Option(help="The study to begin or go on with.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, max=10_000, help="Of trainings and of what is tried.")] = 0,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="KIND", help="Only remove the stored settings of this kind.")
    ] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Search the settings with which a network learns best: units, dropout, rates, epochs, lengths of vectors.

    Each trial trains on the older tasks of most students and is judged on unseen students and on the newest tasks. At
    the end the best settings and the defaults are judged on hidden students, a fifth, who were in no trial. Settings
    that are clearly better there are stored: trainings from scratch take them up, and the gate decides as always.

    Tasks come from a CSV file as for `import`, or from the installation. Optuna keeps the study in the service's
    database: the same command goes on with it after Ctrl-C, and several processes or machines share it, each doing its
    own number of trials. Needs `pip install 'smartstudy[tune]'`.
    """
    use_one_thread()
    if forget is not None:
        _forget_tuning(forget)
        return
    from app.cli import tuning_view
    from app.core.database import database_url, new_session
    from app.crud import network_settings
    from app.ml.evaluation import tuning_study

    if kind not in NETWORKS:
        raise typer.BadParameter(f"there is no network {kind!r}: {', '.join(NETWORKS)}", param_hint="--kind")
    engine = _usable_engine()
    with _explained():
        data = _attempts(file, skip_bad) if file else _finished()
        opened = tuning_study.opened(engine, database_url(), kind, data, name=study, seed=seed, grows=file is None)
        console.print(tuning_view.opening(opened), highlight=False, soft_wrap=True)
        try:
            with progress_bar() as progress:
                shown = tuning_view.Shown(progress, trials, console)
                opened.run(trials, shown.ended, shown.epoch)
                verdict = opened.verdict(shown.epoch)
        except KeyboardInterrupt:
            again = " ".join(
                ["smartstudy tune", *([str(file)] if file else []), f"--kind {kind} --study {opened.name}"]
            )
            console.print(tuning_view.stopped(opened, again), highlight=False, soft_wrap=True)
            raise typer.Exit(130) from None
        if verdict and verdict.is_better:
            with new_session().begin() as db:
                network_settings.put(db, opened.tuned(verdict), COMMAND_LINE)
    tuning_view.show(opened, verdict, console)


def _finished() -> "Attempts":
    """The installation's finished tasks."""
    from sqlalchemy import text

    from app.core.database import new_session
    from app.crud import attempts

    with new_session().begin() as db:
        db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        return attempts.read_all(db)


def _forget_tuning(kind: str) -> None:
    from app.core.database import new_session
    from app.crud import network_settings

    _usable_engine()
    with _explained(), new_session().begin() as db:
        found = network_settings.forget(db, kind, COMMAND_LINE)
    done = "are forgotten; trainings from scratch use the defaults again" if found else "were the defaults already"
    console.print(f"The settings of {kind} {done}.", highlight=False, markup=False, soft_wrap=True)


@app.command("fit-lnirt")
def fit_lnirt(
    file: File,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the results.", show_default=False)],
    limit_seconds: Annotated[
        float | None, typer.Option(min=0, help="Times at or above it were cut off there (right-censored).")
    ] = None,
) -> None:
    """Fit the log-normal response time IRT model to a CSV file, as R's package LNIRT does, in a fraction of a second.

    Columns: person (or student_id), item (or item_id), correct, time_seconds; an empty cell is missing; a column
    `censored` may mark times that were cut off. Writes items.csv (alpha, beta, phi, lambda, sigma2 and their standard
    errors), persons.csv (theta, zeta and their sds) and population.csv, in R LNIRT's identification (ident = 2).
    """
    use_one_thread()
    from time import perf_counter

    from app.domain.interactions import opened
    from app.domain.responses import read_responses
    from app.ml.lnirt.estimation import fit

    with _explained(), console.status(f"Reading {file.name}") as shown:
        with opened(file) as (text, _):
            answers = read_responses(text, limit_seconds)
        shown.update(f"Fitting {len(answers.person):,} answers")
        started = perf_counter()
        fitted = fit(answers.person, answers.item, answers.correct, answers.seconds, censored=answers.censored)
        seconds = perf_counter() - started
        fitted.write_csv(out)
    if answers.empty:
        console.print(f"{answers.empty:,} rows hold neither a mark nor a time and were left out.")
    cut_off = f", {sum(answers.censored):,} times cut off" if any(answers.censored) else ""
    console.print(
        f"{len(answers.person):,} answers of {len(fitted.persons):,} persons to {len(fitted.items):,} items{cut_off}: "
        f"fitted in {seconds:.2f} s. items.csv, persons.csv and population.csv are in {out}.",
        soft_wrap=True,
    )
    if not fitted.converged:
        console.print("The fit came to rest short of the tolerance: take the figures with care.", style="yellow")


@app.command()
def backup(
    file: Annotated[
        Path, typer.Argument(dir_okay=False, show_default=False, help="Where to; it must not be there yet.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write the database and the files of all models that are kept into one FILE, while the service goes on.

    Everything is of one moment, also in the middle of a training. FILE appears when it is whole and on the disk; only
    its owner can read it (0600), for it holds secrets: password hashes and, unless SECRET_KEY gives it, the key that
    tokens are signed with. `smartstudy restore FILE` is the way back.
    """
    from app.cli import backup_view

    _usable_engine()
    _end_on_sigterm()
    with _explained(), _bytes_progress(f"Backing up to {file.name}") as (say, _):
        done = backup_view.back_up(file, force, say)
        _audited("backed up", file)
        warnings = backup_view.warnings(file)
    console.print(done, soft_wrap=True, highlight=False, markup=False)
    for warning in warnings:
        console.print(warning, soft_wrap=True, highlight=False, markup=False, style="yellow")


@app.command()
def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if the database holds something: it is lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Put a backup that `smartstudy backup` made into an empty database, all of it or nothing.

    The service must not run on it. FILE is checked to the last byte before anything is changed; a backup of an earlier
    SmartStudy is migrated, one of a later is refused. Model files go to MODEL_DIR, the key that tokens are signed with
    to DATA_DIR unless SECRET_KEY gives it. Restore only files that you trust: who can write one, can make themselves an
    admin in it.
    """
    from app.cli import backup_view

    _end_on_sigterm()
    with _explained(), _bytes_progress(f"Restoring {file.name}") as (say, pause):
        done = backup_view.restore(file, replace, yes, say, pause)
        _audited("restored", file)
    console.print(done, soft_wrap=True, highlight=False, markup=False)


@app.command()
def stop() -> None:
    """End the embedded database of this DATA_DIR, should one be left running."""
    from app.core.database import is_embedded
    from app.core.db import embedded_postgres
    from app.core.settings import settings

    if not is_embedded():
        raise SystemExit("DATABASE_URL names a database of your own; SmartStudy doesn't stop that.")
    with _explained():
        ended = embedded_postgres.stop(settings().data_dir)
    console.print("The embedded database is stopped." if ended else "No embedded database was running.")


@app.command()
def url() -> None:
    """Print the database's URL, for psql, a notebook or `create_engine`. It holds the password."""
    from app.core.database import engine

    _usable_engine()
    print(engine().url.render_as_string(hide_password=False))


def _audited(act: str, file: Path) -> None:
    from app.core.database import new_session
    from app.crud import audit

    with new_session().begin() as db:
        audit.record(db, COMMAND_LINE, act, file.name)


def _usable_engine() -> "Engine":
    """The database, up and at the schema this code needs."""
    from app.core.database import engine
    from app.core.db import migrations

    with _explained():
        made = engine()
        migrations.check(made)
        return made


def _refuse_other_tables() -> None:
    """A service may start before its database, but not on one with other tables than its own."""
    from sqlalchemy.exc import DBAPIError

    from app.core.database import engine
    from app.core.db import migrations
    from app.core.db.outages import outage, reason

    with _explained():
        try:
            migrations.check(engine())
        except DBAPIError as error:
            if outage(error) is None:
                raise
            print(
                f"The database does not answer; the service starts all the same and waits for it: {reason(error)}",
                file=sys.stderr,
            )


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

    _usable_engine()
    with _explained():
        with new_session().begin() as db:
            message = change(db)
            first = next(iter(model_versions.serving(db).values()))
        serving_models().refresh()
    console.print(outcome(message, first, serving_models()), soft_wrap=True, markup=False)


@contextmanager
def _explained() -> Iterator[None]:
    """What a person can mend is one line, not a traceback."""
    import csv

    import psycopg2
    from sqlalchemy.exc import DBAPIError

    from app.core.db.embedded_postgres import EmbeddedPostgresError
    from app.core.db.migrations import SchemaMismatch
    from app.core.db.outages import code_of, outage, reason
    from app.domain.errors import AppError

    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        why = outage(error)
        if why is None and not isinstance(error, psycopg2.OperationalError):
            raise
        said = why.detail.split(".")[0] if why and code_of(error) else "The database does not answer"
        raise SystemExit(f"{said}: {reason(error)}") from None
    except (AppError, SchemaMismatch, EmbeddedPostgresError, ValueError, OSError, EOFError, csv.Error) as error:
        raise SystemExit(str(error)) from None


def _check_outputs(file: Path, *outputs: Path | None) -> None:
    """Raises ValueError, before hours of work and not after, where an output has no folder or is the file to read."""
    for each in outputs:
        if each and not each.parent.is_dir():
            raise ValueError(f"There is no folder {each.parent} to write {each.name} to.")
        if each and each.exists() and each.samefile(file):
            raise ValueError(f"{each} is the file to read; write to another one.")


def _data_set(file: Path, skip_bad: bool) -> "DataSet":
    """The tasks of a CSV file that may have gaps; says which it has."""
    from app.cli import research

    with watched(f"Reading {file.name}"):
        data = research.read(file, skip_bad)
    for line in data.remarks():
        console.print(f"{file.name}: {line}", highlight=False, markup=False, soft_wrap=True)
    if len(data.attempts) == 0:
        raise ValueError(f"{file.name} holds no finished task.")
    return data


def _write_json(file: Path | None, facts: Any) -> None:
    if file:
        file.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n")


def _end(interrupted: list[str], watch: Watch) -> None:
    """Where Ctrl-C ended it, what it ended."""
    if interrupted:
        console.print(stopped(interrupted, watch), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130)


def _attempts(file: Path, skip_bad: bool) -> "Attempts":
    """The tasks of a CSV file in the common form."""
    from app.domain.interactions import Interactions, attempts_of, opened

    with opened(file) as (text, _):
        interactions = Interactions(text, skip_bad)
        data = attempts_of(interactions)
    if interactions.bad:
        console.print(f"Skipped {interactions.bad:,} rows that can't be used, the first: {interactions.first_bad}")
    return data


class _Watched:
    """Rows that say how many have been read."""

    def __init__(self, rows: "Interactions", say: Callable[[int, str], None], step: str) -> None:
        self._rows, self._say, self._step = rows, say, step
        self.read = 0

    def __iter__(self) -> "Iterator[Interaction]":
        self.read = 0
        for row in self._rows:
            self.read += 1
            if self.read % 5000 == 0:
                self._say(self.read, self._step)
            yield row
        self._say(self.read, "Storing")


@contextmanager
def _bytes_progress(what: str) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """To be told of bytes done, and to be stopped for a question; shown once it takes long enough to wonder."""
    from time import monotonic

    progress, started, done = progress_bar(), monotonic(), 0
    shown = progress.add_task(what, total=None, detail="")

    def say(more: int) -> None:
        nonlocal done
        done += more
        if not progress.live.is_started and monotonic() - started > SHOW_AFTER_SECONDS:
            progress.start()
        progress.update(shown, detail=f"{done / 1e6:,.0f} MB")

    def pause() -> None:
        if progress.live.is_started:  # else it would print an empty line
            progress.stop()

    try:
        yield say, pause
    finally:
        pause()


def _end_on_sigterm() -> None:
    """By the front door, so that nothing half done is left lying about."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _set_for_all_processes(guided: bool, access_log: bool) -> None:
    """Web and training processes inherit the environment."""
    os.environ["PYTHONSAFEPATH"] = "1"  # whatever modules lie in the folder that we stand in, they are not ours
    if access_log:
        os.environ["ACCESS_LOG"] = "true"
    if guided:  # it tells of the trainings itself
        os.environ.setdefault("LOG_FORMAT", "console")
        os.environ.setdefault("LOG_LEVEL", "WARNING")


def _say_where(address: str) -> None:
    from app.core.observability import logs

    if logs.is_json():
        logs.log.info("SmartStudy on %s, its API at %s/docs.", address, address)
    else:
        console.print(f"SmartStudy on [link]{address}[/link], its API at {address}/docs. Ctrl-C ends it.")


@contextmanager
def _counting_together(workers: int) -> Iterator[None]:
    """Several web processes count for Prometheus in a folder of theirs, so that each of them can answer for all."""
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="smartstudy-counters-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield

"""Commands for researchers: replay, evaluate, tune, fit-lnirt."""

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.lazily import lazily
from app.cli.progress import ProgressWatch, progress_bar, stopped, watched
from app.cli.shared import (
    File,
    JsonFile,
    RowsFile,
    SkipBad,
    check_outputs,
    console,
    explained,
    in_transaction,
    say,
    to_json,
    usable_engine,
)
from app.core.one_thread import use_one_thread
from app.domain.actors import COMMAND_LINE
from app.domain.kinds import NETWORKS

with lazily():
    from app.cli import figures, research
    from app.core import database, settings
    from app.crud import attempts, network_settings
    from app.domain import interactions, responses
    from app.ml.evaluation import benchmark, prequential, served, tuning_study
    from app.ml.lnirt import estimation, misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import Session

    from app.domain.attempts import Attempts
    from app.domain.interactions import Interactions
    from app.ml.engine.local import Engine

app = typer.Typer(rich_markup_mode="markdown")


@app.command()
@explained()
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
    check_outputs(file, json_file, rows)
    tasks, source = _read(file, skip_bad)
    given = settings.settings()
    with (
        research.rows_file(rows, tasks, source.names) as said_by,
        watched("Replaying") as watch,
    ):
        report = prequential.replay(
            tasks,
            retrain_every=retrain_every or given.retrain_every,
            min_training=given.min_training_tasks,
            early=early,
            p_limits=(given.min_probability, given.max_probability),
            seconds_limits=(given.min_seconds, given.max_seconds),
            contestants=served.contestants(lstm=lstm, growth=None if full else given.full_training_growth),
            progress=watch,
            said_by=said_by,
        )
    say(figures.replayed(report))
    _write_json(json_file, asdict(report) | {"files": [asdict(source.gaps)]})
    _end(report.interrupted, watch)


@app.command()
@explained()
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
    have finished. With `ENGINE=dask` the models are trained side by side, by Dask's workers.

    Columns as for `import`, of which only student_id (or person) and correct are needed; the item may be called item.
    A time_seconds, topic or item_id may be missing, the whole column or single cells (empty or NA): times are judged
    where there are some, and tasks without a topic count as one topic. A row without a result is left out.
    """
    use_one_thread()
    check_outputs(file, json_file, rows)
    train, source = _read(file, skip_bad)
    sources = [source]
    if test:
        judges, source = _read(test, skip_bad)
        sources.append(source)
    else:
        train, judges = benchmark.split_by_student(train)
    contestants = _named(benchmark.contestants(ablation), only)
    with (
        research.rows_file(rows, judges, source.names) as said_by,
        watched("Training") as watch,
        _engine(watch) as engine,
    ):
        found = benchmark.evaluate(train, judges, contestants, said_by=said_by, engine=engine)
    facts = benchmark.as_dict(found, train, judges) | {"files": [asdict(each.gaps) for each in sources]}
    say(figures.evaluated(found, facts))
    _write_json(json_file, facts)
    _end(found.interrupted, watch)
    if not found.scores:
        raise typer.Exit(1)


@contextmanager
def _engine(progress: "Callable[[Any], None]") -> "Iterator[Engine]":
    """This process, or the workers that ENGINE names. Raises ValueError where these can't be reached or are lost."""
    from app.ml.engine.local import EngineLost, LocalEngine

    if (scheduler := settings.settings().scheduler()) is None:
        yield LocalEngine(progress)
        return
    from app.ml.engine.on_dask import DaskEngine

    try:
        with DaskEngine(scheduler, progress) as engine:
            yield engine
    except EngineLost as why:
        raise ValueError(f"{str(why).rstrip('.')}. ENGINE=local works without.") from None


def _named(
    contestants: list["benchmark.FittedContestant"], names: list[str] | None
) -> list["benchmark.FittedContestant"]:
    """Those that were asked for, or all. Raises ValueError with the names there are."""
    there = [each.name for each in contestants]
    for name in names or ():
        if name not in there:
            raise ValueError(f"There is no model {name!r}; there are {', '.join(there)}.")
    return [each for each in contestants if not names or each.name in names]


@app.command()
@explained()
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
    own number of trials; with `ENGINE=dask` trials run side by side, at Dask's workers. Needs `pip install
    'smartstudy[tune]'`.
    """
    use_one_thread()
    if forget is not None:
        _forget_tuning(forget)
        return
    if kind not in NETWORKS:
        raise typer.BadParameter(f"there is no network {kind!r}: {', '.join(NETWORKS)}", param_hint="--kind")
    engine = usable_engine()
    tasks = _read(file, skip_bad, gaps_allowed=False)[0] if file else _finished()
    url = database.database_url()
    opened = tuning_study.opened(engine, url, kind, tasks, name=study, seed=seed, grows=file is None)
    say(figures.study_begins(opened))
    try:
        with progress_bar() as progress:
            bar, best = progress.add_task("Trials", total=trials, detail=""), ""

            def ended(trial: "tuning_study.Trial") -> None:
                nonlocal best
                best = figures.best_trial(trial)
                progress.advance(bar)
                if not sys.stderr.isatty():
                    say(figures.trial_ended(trial))

            def epoch(step: dict[str, Any]) -> None:
                which = f"trial {step['trial']}" if "trial" in step else "on the hidden students"
                progress.update(bar, detail=f"{which}, epoch {step['epoch']} of {step['epochs']}{best}")

            with _engine(epoch) as workers:
                opened.run(trials, ended, epoch, workers)
                verdict = opened.verdict(epoch, workers)
    except KeyboardInterrupt:
        given = [str(file)] if file else []
        say(
            figures.study_stopped(opened, " ".join(["smartstudy tune", *given, f"--kind {kind} --study {opened.name}"]))
        )
        raise typer.Exit(130) from None
    if verdict and verdict.is_better:
        with database.new_session().begin() as db:
            network_settings.put(db, opened.tuned(verdict), COMMAND_LINE)
    say(figures.tuned(opened, verdict))


def _finished() -> "Attempts":
    """The installation's finished tasks, of one moment."""
    with database.new_session().begin() as db:
        db.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return attempts.read_all(db)


@in_transaction
def _forget_tuning(db: "Session", kind: str) -> str:
    found = network_settings.forget(db, kind, COMMAND_LINE)
    done = "are forgotten; trainings from scratch use the defaults again" if found else "were the defaults already"
    return f"The settings of {kind} {done}."


@app.command("fit-lnirt")
@explained()
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

    alpha is above 0 whatever the answers are. So items that persons who do better on the others get wrong more often
    are named: their key may be wrong. So are answers of a person to an item that they had answered before.
    """
    use_one_thread()
    with console.status(f"Reading {file.name}") as shown:
        with interactions.opened(file) as (text, _):
            answers = responses.read_responses(text, limit_seconds)
        shown.update(f"Fitting {len(answers.person):,} answers")
        started = perf_counter()
        fitted = estimation.fit(
            answers.person, answers.item, answers.correct, answers.seconds, censored=answers.censored
        )
        seconds = perf_counter() - started
        fitted.write_csv(out)
    if answers.empty:
        say(f"{answers.empty:,} rows hold neither a mark nor a time and were left out.")
    cut_off = f", {sum(answers.censored):,} times cut off" if any(answers.censored) else ""
    say(
        f"{len(answers.person):,} answers of {len(fitted.persons):,} persons to {len(fitted.items):,} items{cut_off}: "
        f"fitted in {seconds:.2f} s. items.csv, persons.csv and population.csv are in {out}."
    )
    if not fitted.converged:
        say("The fit came to rest short of the tolerance: take the figures with care.", style="yellow")
    for remark in misfit.remarks(answers):
        say(remark, style="yellow")


def _read(file: Path, skip_bad: bool, gaps_allowed: bool = True) -> "tuple[Attempts, Interactions]":
    """The tasks of a CSV file, and what else it says; what a reader should know of it is said."""
    with watched(f"Reading {file.name}"), interactions.opened(file) as (text, _):
        rows = interactions.Interactions(text, skip_bad, gaps_allowed)
        tasks = interactions.attempts_of(rows)
    for line in research.remarks(rows):
        say(f"{file.name}: {line}")
    if len(tasks) == 0:
        raise ValueError(f"{file.name} holds no finished task.")
    return tasks, rows


def _write_json(file: Path | None, facts: Any) -> None:
    if file:
        file.write_text(to_json(facts) + "\n")


def _end(interrupted: list[str], watch: ProgressWatch) -> None:
    """Where Ctrl-C ended it, what it ended."""
    if interrupted:
        say(stopped(interrupted, watch))
        raise typer.Exit(130)

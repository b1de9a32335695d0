"""Commands that run the service and its database."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from app.cli.lazily import lazily
from app.cli.shared import console, explained, say, usable_engine
from app.core.one_thread import use_one_thread

with lazily():
    from app import supervisor
    from app.cli import guided_run
    from app.core import database, settings
    from app.core.db import embedded_postgres, migrations, outages, preflight
    from app.core.http import availability
    from app.core.observability import logs
    from app.ml.serving import model_order
    from app.ml.training import scheduler

app = typer.Typer(rich_markup_mode="markdown")
BACKLOG = 2048  # connections that wait to be accepted


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
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from app.core.http.connections import BoundedProtocol, raise_file_limit

    raise_file_limit()
    use_one_thread()  # an explanation's matrices are just large enough to be shared out, and wait for busy cores
    _set_for_all_processes(guided, access_log)
    given = settings.settings()
    host, port = host or given.host, given.port if port is None else port
    os.environ["HOST"] = host  # which names web processes answer to depends on it
    settings.settings.cache_clear()
    logs.configure()
    listening = _listen(host, port)  # before anything is announced, or sent there
    port = listening.getsockname()[1]
    _refuse_unfit_surroundings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn passes it on at the end: leave by the front door
    address = f"http://{_as_called(host)}:{port}"
    if guided:
        guided_run.in_background(address, Console(soft_wrap=True))
    elif logs.is_json():
        logs.log.info("SmartStudy on %s, its API at %s/docs.", address, address)
    else:
        console.print(f"SmartStudy on [link]{address}[/link], its API at {address}/docs. Ctrl-C ends it.")
    config = uvicorn.Config(
        "app.main:app",
        http=BoundedProtocol,
        ws="none",
        workers=workers,
        access_log=False,  # app/core/http/access_log.py has one without queries
        log_config=logs.as_dict(),
        log_level=None,
        timeout_graceful_shutdown=5,
        forwarded_allow_ips=given.forwarded_allow_ips,
    )
    server = uvicorn.Server(config)
    with _shared_metrics(workers):
        if workers > 1:
            Multiprocess(config, [listening]).run()
        else:
            server.run([listening])
            if not server.started:
                sys.exit(3)  # uvicorn has said why


@app.command()
def trainer() -> None:
    """Train models for web processes anywhere that use the same database and versions; serves no pages and no API.

    Any number of them, and of web processes that train (TRAINER=here), take turns: one run at a time, what was ordered
    first. When one dies, another takes over. It waits for a database that is away. Ctrl-C or SIGTERM ends it; a run at
    work is given up then, and what was ordered waits for the next trainer.

    `smartstudy status` shows who trains. It logs to stderr, as `serve` does.
    """
    over = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: over.set())
    use_one_thread()
    _set_for_all_processes(guided=False, access_log=False)
    logs.configure()
    _refuse_unfit_surroundings()
    at_work = scheduler.Trainer()
    watch = supervisor.Supervisor([model_order.serving_models().sweep, at_work.poll], availability.Availability())
    logs.log.info("Trainer %s waits for trainings. Ctrl-C ends it.", at_work.name)
    try:
        while not over.is_set():
            watch.poll()
            over.wait(supervisor.POLL_SECONDS)
    finally:
        at_work.close()
    logs.log.info("Trainer %s has ended.", at_work.name)


@app.command()
@explained()
def migrate() -> None:
    """Bring the database's tables up to date. Harmless when they are; two at once take turns."""
    engine = database.engine_for(database.database_url())
    _warn(preflight.check(engine, database.database_url()))
    full, scarce = preflight.disk(settings.settings().folders())
    if full:
        raise preflight.UnfitSurroundings(" ".join(full))
    _warn(scarce)
    before = migrations.revision(engine)
    migrations.migrate(engine)
    with engine.connect() as connection:
        preflight.check_write(connection)
    now = migrations.revision(engine)
    say(f"The database stands at revision {now}" + (", as before." if now == before else "."))


@app.command()
@explained()
def stop() -> None:
    """End the embedded database of this DATA_DIR, should one be left running; not beneath a service that runs."""
    if not database.is_embedded():
        raise SystemExit("DATABASE_URL names a database of your own; SmartStudy doesn't stop that.")
    if embedded_postgres.is_used(settings.settings().data_dir):
        raise SystemExit(
            "A running SmartStudy uses the embedded database: end that first (Ctrl-C); the last to go stops it."
        )
    ended = embedded_postgres.stop(settings.settings().data_dir)
    say("The embedded database is stopped." if ended else "No embedded database was running.")


@app.command()
@explained()
def url() -> None:
    """Print the database's URL, for psql or a notebook. It holds the password."""
    usable_engine()
    say(database.database_url())


def _listen(host: str, port: int) -> socket.socket:
    """Take the port. Raises SystemExit, with a sentence, where it can't be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as why:
        taken = "another program has it; --port or PORT names another" if why.errno == EADDRINUSE else why.strerror
        raise SystemExit(f"SmartStudy can't listen on {host}, port {port}: {taken}.") from None
    listening.set_inheritable(True)
    return listening


def _as_called(host: str) -> str:
    """Return what stands in the address of a service that listens there."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{here}]" if ":" in here else here


@explained()
def _refuse_unfit_surroundings() -> None:
    """A service may start before its database, but not on one that it can't work with, nor on other tables."""
    full, scarce = preflight.disk(settings.settings().folders())
    _warn([*full, *scarce])
    try:
        _warn(preflight.check(database.engine(), database.database_url()))
        usable_engine()
        with database.engine().connect() as connection:
            preflight.check_write(connection)
    except outages.NO_DATABASE as error:
        if outages.will_stay(error):
            raise
        _warn([f"{outages.meaning(error)}; the service starts all the same and waits for it: {outages.reason(error)}"])


def _warn(sentences: list[str]) -> None:
    """Say each on stderr."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)


def _set_for_all_processes(guided: bool, access_log: bool) -> None:
    """Web and training processes inherit the environment."""
    os.environ["PYTHONSAFEPATH"] = "1"  # whatever modules lie in the folder that we stand in, they are not ours
    if access_log:
        os.environ["ACCESS_LOG"] = "true"
    if guided:  # it tells of the trainings itself
        os.environ.setdefault("LOG_FORMAT", "console")
        os.environ.setdefault("LOG_LEVEL", "WARNING")


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """Several web processes count for Prometheus in a folder of theirs, so that each of them can answer for all."""
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="smartstudy-counters-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield

"""A study: trials of settings that Optuna keeps in the service's PostgreSQL, to go on with and to share."""

import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg2.extensions
from sqlalchemy import Engine as Database
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.db import timeouts
from app.crud.network_settings import Tuned
from app.domain.attempts import Attempts
from app.ml import registry
from app.ml.engine.local import Engine, LocalEngine, at_work
from app.ml.evaluation import tuning
from app.ml.evaluation.tuning import Parts, Range, Verdict
from app.ml.registry import Progress

if TYPE_CHECKING:
    import optuna

SCHEMA = "optuna"  # of PostgreSQL, for Optuna's tables: in no backup of ours and no migration
LOCK = 7_809_061_155  # of whoever creates tables, a study or its first trial
HEARTBEAT_SECONDS = 30  # a trial whose process has been silent for twice as long has failed
DEFAULT = "default"  # marks the trial of the settings that hold without tuning


@dataclass(frozen=True, slots=True)
class Trial:
    """One that has ended."""

    number: int
    score: float | None  # none where no model came out
    failure: str | None
    best: int | None  # number of the best one so far
    best_score: float | None
    seconds: float


class Study:
    """The trials of one kind of network on the same tasks."""

    def __init__(self, study: "optuna.Study", kind: str, parts: Parts, seed: int) -> None:
        self._study, self._kind, self.parts, self._seed = study, kind, parts, seed
        self._network = registry.network(kind)
        self._space = tuning.space(self._network)

    @property
    def name(self) -> str:
        return str(self._study.study_name)

    def completed(self) -> int:
        """How many trials came to a score, of all processes."""
        return sum(trial.state.name == "COMPLETE" for trial in self._study.trials)

    def run(
        self, trials: int, ended: Callable[[Trial], None], progress: Progress, engine: Engine | None = None
    ) -> None:
        """So many more trials, as many at a time as the engine does pieces; one from which no model comes is pruned. An
        exception or Ctrl-C ends them."""
        engine = engine or LocalEngine(progress)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's heartbeat calls itself experimental
            if engine.width == 1:
                for _ in range(trials):
                    ended(self._trial(engine))
                return
            pool = ThreadPoolExecutor(engine.width)
            try:
                for done in as_completed([pool.submit(self._trial, engine) for _ in range(trials)]):
                    ended(done.result())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _trial(self, engine: Engine) -> Trial:
        """One more, by a study object of its own: each trial has its own sampler."""
        import optuna

        begun, last = perf_counter(), list[Any]()
        study = optuna.load_study(study_name=self.name, storage=self._study._storage)
        study.optimize(
            lambda trial: self._tried(study, trial, engine),
            n_trials=1,
            callbacks=[lambda _, trial: last.append(trial)],
        )
        return self._ended(last.pop(), perf_counter() - begun)

    def _tried(self, study: "optuna.Study", trial: "optuna.Trial", engine: Engine) -> float:
        import optuna

        from app.ml.networks.checkpoint import TrainingFailed

        study.sampler = optuna.samplers.TPESampler(seed=self._seed * 100_003 + trial.number, multivariate=False)
        parameters = {name: _suggested(trial, name, within) for name, within in self._space.items()}
        try:
            settings = tuning.settings_of(self._network, parameters)
            with at_work(engine):
                piece = trial.number, settings
                (score,) = engine.map(tuning.tried_piece, [piece], self._kind, self.parts, self._seed)
            if not math.isfinite(score.value):
                raise TrainingFailed("the answers are no finite numbers")
        except TrainingFailed as why:
            trial.set_user_attr("failure", str(why))
            raise optuna.TrialPruned(str(why)) from None
        trial.set_user_attr("unseen", score.unseen)
        trial.set_user_attr("newest", score.newest)
        return float(score.value)

    def _ended(self, trial: "optuna.trial.FrozenTrial", seconds: float) -> Trial:
        best, failure = self._best(), trial.user_attrs.get("failure")
        number, score = (best.number, best.value) if best else (None, None)
        return Trial(trial.number, None if failure else trial.value, failure, number, score, seconds)

    def _best(self) -> "optuna.trial.FrozenTrial | None":
        completed = [trial for trial in self._study.trials if trial.state.name == "COMPLETE"]
        return min(completed, key=lambda trial: (trial.value, trial.number), default=None)

    def verdict(self, progress: Progress, engine: Engine | None = None) -> Verdict | None:
        """The best trial beside the defaults on the hidden students; none while the defaults are the best.

        It is reached once for each best trial: a second look would only seek a lucky one. Raises ValueError while no
        trial has a score.
        """
        best = self._best()
        if best is None:
            raise ValueError("No trial has come to a score yet.")
        if best.user_attrs.get(DEFAULT):
            return None
        known = self._study.user_attrs.get("verdict")
        if known and known["trial"] == best.number:
            return Verdict(**known)
        settings = tuning.settings_of(self._network, best.params)
        found = tuning.compared(
            self._kind, settings, best.number, self.parts, self._seed, engine or LocalEngine(progress)
        )
        self._study.set_user_attr("verdict", asdict(found))
        return found

    def tuned(self, verdict: Verdict) -> Tuned:
        """What trainings are to take up."""
        trial = next(each for each in self._study.trials if each.number == verdict.trial)
        settings = tuning.settings_of(self._network, trial.params)
        return Tuned(self._kind, settings, self.name, trial.number, verdict.best, verdict.default)


def opened(
    engine: Database, url: str, kind: str, attempts: Attempts, *, name: str | None, seed: int, grows: bool
) -> Study:
    """The study of this name, begun if it isn't there. Its tasks stay those that it began with: where they `grow`, as
    an installation's do, later ones are left out.

    Raises ValueError where Optuna is missing, or the study is about another kind or other tasks.
    """
    if find_spec("optuna") is None:
        raise ValueError("Optuna is not installed, which tuning needs: pip install 'smartstudy[tune]'")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuning.parted(attempts)
    name = name or (kind if grows else f"{kind}-{fingerprint(attempts)[:8]}")
    with _alone(engine), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the heartbeat calls itself experimental
        study = optuna.create_study(storage=_storage(url), study_name=name, direction="minimize", load_if_exists=True)
        parts = tuning.parted(_tasks_of(study, kind, attempts, grows))
        optuna.storages.fail_stale_trials(study)
        _with_default(study, tuning.defaults(registry.network(kind)))
    return Study(study, kind, parts, seed)


def fingerprint(attempts: Attempts) -> str:
    """Of the tasks, whatever others there were when they were read."""
    found = sha256()
    for column in (attempts.started, attempts.finished, attempts.correct, attempts.seconds, attempts.difficulty):
        found.update(column.tobytes())
    names = np.array(attempts.students, "S36")
    found.update(names[attempts.student].tobytes())
    return found.hexdigest()


def _tasks_of(study: "optuna.Study", kind: str, attempts: Attempts, grows: bool) -> Attempts:
    known = study.user_attrs
    if not known:
        study.set_user_attr("kind", kind)
        study.set_user_attr("through", int(attempts.finished[-1]))  # microseconds
        study.set_user_attr("tasks", fingerprint(attempts))
        return attempts
    if known["kind"] != kind:
        raise ValueError(f"The study {study.study_name} is about {known['kind']}; name another with --study.")
    if grows:
        attempts = attempts.take(attempts.finished <= known["through"])
    if fingerprint(attempts) != known["tasks"]:
        raise ValueError(f"The study {study.study_name} was begun on other tasks; name another with --study.")
    return attempts


def _with_default(study: "optuna.Study", parameters: dict[str, float]) -> None:
    """See that the settings without tuning are among the trials: the first one, or again if that one was cut off."""
    there = {trial.state.name for trial in study.trials if trial.user_attrs.get(DEFAULT)}
    if not there - {"FAIL"}:
        study.enqueue_trial(parameters, user_attrs={DEFAULT: True})


def _suggested(trial: "optuna.Trial", name: str, within: Range) -> float:
    if isinstance(within.step, int):
        return trial.suggest_int(name, int(within.least), int(within.most), step=within.step)
    return trial.suggest_float(name, within.least, within.most, step=within.step, log=within.step is None)


class InSchema(psycopg2.extensions.cursor):  # type: ignore[misc]  # psycopg2 has no types
    """A cursor whose transactions look for tables in our schema: behind a pooler no setting of a session holds."""

    def execute(self, query: Any, vars: Any = None) -> None:
        if self.connection.status == psycopg2.extensions.STATUS_READY and not self.connection.autocommit:
            super().execute(f"SET LOCAL search_path = {SCHEMA}")
        super().execute(query, vars)


def _storage(url: str) -> "optuna.storages.RDBStorage":
    import optuna

    wait = {"connect_timeout": timeouts.CONNECT_SECONDS, "application_name": "smartstudy", **timeouts.KEEPALIVE}
    return optuna.storages.RDBStorage(
        url.replace("postgresql://", "postgresql+psycopg2://", 1),
        {"connect_args": {**wait, "cursor_factory": InSchema}, "pool_pre_ping": True, "hide_parameters": True},
        heartbeat_interval=HEARTBEAT_SECONDS,
        grace_period=2 * HEARTBEAT_SECONDS,
    )


@contextmanager
def _alone(engine: Database) -> Iterator[None]:
    """With the schema there, and no other process in here: each would create what it doesn't see yet."""
    with engine.begin() as turn, engine.connect() as connection:
        turn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
            _create(connection)
        connection.commit()
        yield


def _create(connection: Any) -> None:
    try:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    except ProgrammingError:
        raise ValueError(
            f"The database's user may not create the schema {SCHEMA}, where studies are kept: have its owner run "
            f"`CREATE SCHEMA {SCHEMA} AUTHORIZATION user` once."
        ) from None

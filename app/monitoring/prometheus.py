"""The database's part of /metrics: read now and then, so that it holds for all processes and after a restart."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.core.database import new_session
from app.core.settings import settings
from app.crud import service_state
from app.crud.model_versions import Version
from app.monitoring.drift import VERDICTS, drift
from app.monitoring.live_quality import live_quality
from app.schemas.live import DriftOut, LiveOut

STATES = ("idle", "at_work", "waiting", "paused")


@dataclass(frozen=True, slots=True, eq=False)  # a registry looks collectors up by identity
class StoredFigures:
    """What the database says of one moment."""

    trainings: service_state.TrainingState
    tasks: service_state.TaskCounts
    serving: list[tuple[Version, float]]  # with its age in seconds, best first
    live: LiveOut
    drift: DriftOut

    def collect(self) -> Iterator[Metric]:
        yield from self._trainings()
        yield from self._tasks()
        yield from self._models()
        yield from self._live()
        yield from self._drift()

    def _trainings(self) -> Iterator[Metric]:
        of = self.trainings
        runs = CounterMetricFamily("smartstudy_training_runs", "Training runs, by how they ended.", labels=["outcome"])
        for outcome, n in of.by_outcome.items():
            runs.add_metric([outcome], n)
        yield runs
        states = ((name, of.state == name) for name in STATES)
        yield _gauges("trainer_state", "1 for what the trainer is doing.", "state", states)
        yield _gauge("trainers", "Processes that train, on whatever machine, seen lately.", of.trainers)
        yield _gauge("trainings_paused", "1 while no training begins by itself.", of.control.is_paused)
        yield _gauge("training_seconds", "Since the run at work began; 0 without one.", of.at_work_seconds or 0)
        yield _gauge("training_failures_in_a_row", "Runs that failed since the last success.", of.control.failures)

    def _tasks(self) -> Iterator[Metric]:
        yield _gauge("tasks_completed", "Tasks with a result.", self.tasks.completed)
        yield _gauge("n_samples_since_training", "Completed tasks that no training took.", self.tasks.since_training)
        yield _gauge("retrain_every", "So many completed tasks ask for a training.", settings().retrain_every)

    def _models(self) -> Iterator[Metric]:
        ages = ((version.kind, age) for version, age in self.serving)
        tasks = ((version.kind, version.n_tasks) for version, _ in self.serving)
        first = ((version.kind, place == 0) for place, (version, _) in enumerate(self.serving))
        learned = "Tasks that there were when the serving version was trained."
        answers = "1 for the kind that answers first, 0 for those that stand by."
        yield _gauges("serving_model_age_seconds", "Since the serving version was published.", "model", ages)
        yield _gauges("serving_model_trained_tasks", learned, "model", tasks)
        yield _gauges("serving_model_answers", answers, "model", first)

    def _live(self) -> Iterator[Metric]:
        for name, text in LIVE.items():
            values = ((kind.kind, getattr(kind, "n" if name == "tasks" else name)) for kind in self.live.kinds)
            yield _gauges(f"live_{name}", text, "model", values)

    def _drift(self) -> Iterator[Metric]:
        if self.drift.verdict is None:
            return
        yield _gauge("drift", "0 steady, 1 shifted, 2 strongly shifted.", VERDICTS.index(self.drift.verdict))
        moved = ((each.name, each.psi) for each in self.drift.inputs)
        yield _gauges("drift_psi", "How far each input has moved.", "input", moved)


LIVE = {
    "tasks": "Newest completed predictions that the live figures are of.",
    "log_loss": "Of these, nats.",
    "log_loss_of_base_rate": "Of always saying the share that was right.",
    "log_loss_at_training": "Of the newest version, on tasks that it was not fitted on.",
    "calibration_error": "Expected calibration error.",
    "mean_predicted": "Mean predicted chance.",
    "observed": "Share that was right.",
    "rmse_log_time": "Root mean squared error of log seconds.",
    "time_interval_coverage": "Share of times within the 80 % interval.",
}


def figures() -> StoredFigures:
    """Ask the database; blocks."""
    with new_session().begin() as db:
        service_state.limit_statements(db)
        serving = service_state.serving(db)
        compared = drift(db, serving[0][0] if serving else None)
        trainings = service_state.trainings(db, settings().trainer_silent_seconds)
        return StoredFigures(trainings, service_state.tasks(db), serving, live_quality(db), compared)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"smartstudy_{name}", text, value=value)


def _gauges(name: str, text: str, label: str, values: Iterable[tuple[str, float | None]]) -> GaugeMetricFamily:
    """Make one gauge for each value of the label; those that are not known are left out."""
    family = GaugeMetricFamily(f"smartstudy_{name}", text, labels=[label])
    for key, value in values:
        if value is not None:
            family.add_metric([key], value)
    return family

"""What is counted for Prometheus. With several web processes, `serve` names a folder where they count together.

prometheus_client looks for that folder (PROMETHEUS_MULTIPROC_DIR) when it is imported.
"""

import os
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, multiprocess
from prometheus_client.core import Metric

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER, UNMATCHED = "other", "unmatched"  # so that callers can't make up labels
NOT_ADDED = ("process_start_time_seconds", "process_max_fds")  # of all processes, the least

REGISTRY = CollectorRegistry()
REQUESTS = Counter("smartstudy_http_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY)
DURATIONS = Histogram(
    "smartstudy_http_request_duration_seconds",
    "From the request to the last byte of its answer.",
    ("method", "route"),
    buckets=SECONDS,
    registry=REGISTRY,
)
PREDICTIONS = Counter(
    "smartstudy_predictions",
    "Tasks predicted, by the kind of model that answered and why no better one did.",
    ("model", "cause"),
    registry=REGISTRY,
)
CONNECTIONS = Gauge(
    "smartstudy_database_connections",
    "Connections to the database, by pool and state.",
    ("pool", "state"),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count an answered request and its time."""
    requests, durations = _of_request(method if method in METHODS else OTHER, route or UNMATCHED, status)
    requests.inc()
    durations.observe(seconds)


@lru_cache(4096)  # finding them takes longer than counting
def _of_request(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, str(status)), DURATIONS.labels(method, route)


def count_prediction(model: str, cause: str) -> None:
    """Count a task that was predicted and stored."""
    _of_prediction(model, cause).inc()


@lru_cache
def _of_prediction(model: str, cause: str) -> Counter:
    return PREDICTIONS.labels(model, cause)


def shared_folder() -> Path | None:
    """Return the folder where the web processes count together; None where there is only one process."""
    return Path(folder) if (folder := os.environ.get(FOLDER)) else None


def aggregated() -> CollectorRegistry:
    """Return what all web processes of this service counted."""
    folder = shared_folder()
    if folder is None:
        return REGISTRY
    for process in processes() - alive(processes()):
        multiprocess.mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call]
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]
    return together


def processes() -> set[int]:
    """Return the web processes, also those that have ended."""
    folder = shared_folder()
    if folder is None:
        return {os.getpid()}
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("*_*.db")} | {os.getpid()}


def alive(found: set[int]) -> set[int]:
    return {process for process in found if _is_alive(process)}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Processes:
    """Memory, processor time and open files of all web processes together, as one process would report itself."""

    def collect(self) -> Iterator[Metric]:
        together: dict[str, Metric] = {}
        for process in sorted(alive(processes())):
            for family in ProcessCollector(pid=partial(int, process), registry=None).collect():
                known = together.get(family.name)
                together[family.name] = _added(known, family) if known else family
        yield from together.values()


def _added(known: Metric, other: Metric) -> Metric:
    values = [known.samples[0].value, other.samples[0].value]
    known.samples = [known.samples[0]._replace(value=min(values) if known.name in NOT_ADDED else sum(values))]
    return known

"""LNIRT and features by two workers of Dask beside this process: equality, overhead a task, bytes, peak memory.

    python -m benchmarks.dask [rows]

Scheduler and workers run on 127.0.0.1, each on one thread. On Linux run it in a network namespace of its own, and what
goes over loopback is what they sent:

    unshare -n sh -c 'ip link set lo up; python -m benchmarks.dask'
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.core.one_thread import use_one_thread
from app.domain.attempts import Attempts
from app.ml.engine.local import at_work
from app.ml.engine.on_dask import DaskEngine
from tests.dask_cluster import Cluster, cluster

PER_STUDENT, TOPICS, SMALL = 100, 60, 500
INTERFACES = Path("/proc/net/dev")  # of this network namespace


class Counting(DaskEngine):
    """Counts what it has done."""

    rounds = tasks = 0

    def map(self, work: Callable[..., Any], pieces: Iterable[Any], *shared: Any) -> Iterator[Any]:
        pieces = list(pieces)
        self.rounds, self.tasks = self.rounds + 1, self.tasks + len(pieces)
        return super().map(work, pieces, *shared)

    def peaks(self) -> list[float]:
        """MB of each worker's process at its highest."""
        return sorted(self._client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024).values())


def main(rows: int) -> None:
    from app.ml.evaluation.simulated import school, simulate

    topics = tuple(f"Topic {number}" for number in range(TOPICS))
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as made:
        attempts = simulate(school(rows // PER_STUDENT, topics, learning=0.2, seed=1), PER_STUDENT, seed=1).attempts
        for measure in (overhead, lnirt, features):
            measure(attempts, made, Path(folder) / measure.__name__)


def engine(made: Cluster, store: Path) -> Counting:
    store.mkdir()
    found = Counting(made.address, lambda step: None, store.as_uri(), "shards")
    list(found.map(abs, range(50)))  # so that both workers have imported what they need
    return found


def overhead(attempts: Attempts, made: Cluster, store: Path) -> None:
    """Of tasks that do nothing, asked for two at a time as for two shards."""
    with engine(made, store) as dask:
        begun = time.perf_counter()
        for _ in range(SMALL // 2):
            list(dask.map(abs, [1, 2]))
        say("a round of two tasks that do nothing", f"{(time.perf_counter() - begun) / SMALL * 2e3:.1f} ms")


def lnirt(attempts: Attempts, made: Cluster, store: Path) -> None:
    from app.ml.lnirt.model import fitted_items

    here, seconds = timed(lambda: fitted_items(attempts))
    with engine(made, store) as dask, at_work(dask):
        list(dask.map(_imports_lnirt, range(10)))
        dask.rounds = dask.tasks = 0
        sent = moved()
        there, took = timed(lambda: fitted_items(attempts))
        sent = moved() - sent
        off = max(
            float(np.abs(np.array([*here.bank.items[name]]) - np.array([*there.bank.items[name]])).max())
            for name in here.bank.items
        )
        say("LNIRT: tasks", f"{len(attempts):,}")
        say("in this process; by two workers", f"{seconds:.1f} s; {took:.1f} s")
        say("largest difference of a parameter", f"{off:.1g}")
        say("rounds; tasks of Dask", f"{dask.rounds}; {dask.tasks}")
        say(
            "shards in the store",
            f"{sum(file.stat().st_size for file in store.rglob('*.npz')) / len(attempts):.0f} bytes a task",
        )
        say("sent between the processes", f"{sent / 1e6:.1f} MB")
        say("peak memory of each worker", ", ".join(f"{peak:.0f} MB" for peak in dask.peaks()))


def features(attempts: Attempts, made: Cluster, store: Path) -> None:
    from app.ml.features.inputs import inputs_at
    from app.ml.networks import side_by_side

    here, seconds = timed(lambda: inputs_at(attempts, np.arange(len(attempts))))
    with engine(made, store) as dask, at_work(dask):
        list(dask.map(_imports_lnirt, range(10)))

        def shared_out() -> list[Any]:
            shards = side_by_side.shards(attempts)
            return list(dask.map(_size, shards))

        _, took = timed(shared_out)
        sent = moved()
        parts = list(dask.map(_itself, side_by_side.shards(attempts)))
        sent = moved() - sent
        _, past = side_by_side.joined(parts, (attempts.students, attempts.topics, attempts.items))
        say(
            "features: in this process; by two workers, written to the store and read too",
            f"{seconds:.1f} s; {took:.1f} s",
        )
        say("equal to the bit", str(np.array_equal(here, past)))
        say(
            "shards in the store",
            f"{sum(file.stat().st_size for file in store.rglob('*.npz')) / 2 / len(attempts):.0f} bytes a task",
        )
        say("sent where a network is fitted", f"{sent / len(attempts):.0f} bytes a task")
        say("peak memory of each worker", ", ".join(f"{peak:.0f} MB" for peak in dask.peaks()))


def _imports_lnirt(_: int) -> None:
    import app.ml.lnirt.model
    import app.ml.networks.side_by_side  # noqa: F401 — what the work needs


def _size(part: Any) -> int:
    return len(part["row"])


def _itself(part: Any) -> Any:
    return part


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def moved() -> int:
    """Bytes that have come over loopback."""
    lines = INTERFACES.read_text().splitlines() if INTERFACES.exists() else []
    return next((int(line.split()[1]) for line in lines if line.strip().startswith("lo:")), 0)


def say(what: str, found: str) -> None:
    print(f"{what:80} {found}", flush=True)


if __name__ == "__main__":
    use_one_thread()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

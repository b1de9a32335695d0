"""Memory, processor time and open files, of all web processes together."""

from collections.abc import Iterator
from functools import partial

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric

from app.core.observability.metrics import alive, processes

NOT_ADDED = ("process_start_time_seconds", "process_max_fds")  # the least of them holds for all


class Processes:
    """As one process would report itself."""

    def collect(self) -> Iterator[Metric]:
        together: dict[str, Metric] = {}
        for process in sorted(alive(processes())):
            for family in ProcessCollector(pid=partial(int, process), registry=None).collect():
                known = together.get(family.name)
                together[family.name] = _added(known, family) if known else family
        yield from together.values()


def _added(known: Metric, other: Metric) -> Metric:
    name, values = known.name, [known.samples[0].value, other.samples[0].value]
    value = min(values) if name in NOT_ADDED else sum(values)
    known.samples = [known.samples[0]._replace(value=value)]
    return known

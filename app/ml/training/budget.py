"""What a run may take, seconds of work and bytes of memory, and what of the tasks fits into that.

A run that would take too much takes fewer tasks; a network for which no time is left learns from fewer, stops early or
is left out. Should a run overrun all the same, the next ones go down a ladder: half of the tasks, then LNIRT alone on a
quarter, on an eighth. Each that comes to models climbs a rung again; where that was too early, it takes more of them.
"""

import math
import os
import re
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.crud import model_versions, training_runs
from app.domain.attempts import Attempts, some_students
from app.domain.kinds import BASE, NETWORKS
from app.domain.reasons import Said
from app.ml.registry import network
from app.ml.training.reasons import RunReason

BEGINS = {"begins": True}  # what a run says when its seconds begin to count
IDLE = "idle"  # seconds that it waited for a store, in a message
PLANNED = 0.85  # of the seconds: a machine is not always as quick as before
OVERDUE, OVERDUE_AT_LEAST = 1.5, 10.0  # times the seconds, and seconds: then a run is ended
FREE = 0.8  # of the memory that is free: others need some too
SECONDS_PER_TASK = 1e-4  # of all that can't be left out, until a run has measured it: reading, LNIRT, evaluation
WITH_LNIRT = 3  # times what LNIRT takes to be fitted
NETWORK_SECONDS, NETWORK_SECONDS_PER_TASK = 3.0, 2e-4  # of a network, until one has been measured
BYTES_PER_TASK = 200  # at the peak, until a run has measured it
MEASURABLE, MEASURABLE_BYTES = 20_000, 1_000_000  # tasks: what fewer take is hardly more than what a run takes anyway
NETWORKS_BYTES = 1000 << 20  # with TensorFlow, whatever the tasks
NETWORKS_ADDRESSES = 4 << 30  # of `ulimit -v`: TensorFlow asks for many more than it touches
LEAST_ROWS, LEAST_OF_A_NETWORK = 1_000, 1_000  # tasks
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
LIMITS = {  # of a control group, and what it holds, by version
    "": (("memory.max", "memory.high"), "memory.current"),
    "memory": (("memory.limit_in_bytes",), "memory.usage_in_bytes"),
}
LNIRT_ALONE = 2  # the rung from which no network is trained


class WorkClock:
    """Seconds that a process has worked. Those in which it was ready, and others had the processor, don't count: on a
    busy machine a training comes last."""

    def __init__(self, pid: int | str = "self") -> None:
        self._threads = Path(f"/proc/{pid}/task")
        self._held_up = dict[str, int]()  # nanoseconds, by thread: also of those that have ended
        self._before = self._held_seconds()
        self._begun = time.monotonic()

    def seconds(self) -> float:
        return max(time.monotonic() - self._begun - (self._held_seconds() - self._before), 0.0)

    def idle(self, seconds: float) -> None:
        """These were no work."""
        self._begun += seconds

    def _held_seconds(self) -> float:
        """0 where the system doesn't say: then every second counts."""
        for each in self._threads.glob("*/schedstat"):
            with suppress(OSError, IndexError):
                self._held_up[each.parent.name] = int(each.read_text().split()[1])
        return sum(self._held_up.values()) / 1e9


def is_ready(pid: int) -> bool:
    """Whether a thread of the process has a processor or waits for one; False where the system doesn't say."""
    states = list[str]()
    for each in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended
            states += _of_stat(each)[:1]
    return "R" in states


def processor_seconds(pid: int) -> float:
    """Seconds of a processor that the process has had; 0 where the system doesn't say."""
    with suppress(OSError):
        return sum(map(int, _of_stat(Path(f"/proc/{pid}/stat"))[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _of_stat(file: Path) -> list[str]:
    """What stands behind the name, which may hold anything: the state first."""
    return file.read_text(errors="replace").rpartition(")")[2].split()


def overdue(seconds: float) -> float:
    """After how many seconds of work a run that should take so many is ended: the smallest one needs some too."""
    return max(OVERDUE * seconds, OVERDUE_AT_LEAST)


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds; 0 where the system doesn't say."""
    return _from_status("VmRSS", pid)


def begin_peak() -> None:
    """Forget what this process held at most so far."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes that this process held at most since `begin_peak`."""
    return _from_status("VmHWM", "self") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _from_status(name: str, pid: int | str) -> int:
    with suppress(OSError):
        if found := re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1]) << 10
    return 0


def memory_limit(given_mb: int | None, held: int = 0) -> int | None:
    """Bytes that a training process, which holds some already, may hold: as given, or most of what the machine and our
    control groups have left for it; none where the system doesn't say."""
    limits = (
        [given_mb << 20] if given_mb else [round(FREE * (free + held)) for free in (_free(), _free_in_groups()) if free]
    )
    if (addresses := address_limit()) is not None:
        limits.append(addresses)
    return min(limits, default=None)


def address_limit() -> int | None:
    """Bytes that `ulimit -v` lets this process and its children ask for; none where they may ask for any."""
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if most == resource.RLIM_INFINITY else most


def _addresses_left() -> float:
    most = address_limit()
    return math.inf if most is None else most - _from_status("VmSize", "self")


def _free() -> int | None:
    with suppress(OSError):
        if found := re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text()):
            return int(found[1]) << 10
    return None


def _free_in_groups() -> int | None:
    """What the control group of this process, and each that it lies in, may still hold, of either version; none where
    they may hold anything."""
    found = list[int]()
    with suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            top = GROUPS / controllers
            limits, used = LIMITS[controllers]
            for folder in (top / path.lstrip("/"), *(top / path.lstrip("/")).parents):
                if folder.is_relative_to(top):
                    found += [max(each, 1) for name in limits for each in _free_below(folder, name, used)]
    return min(found, default=None)


def _free_below(folder: Path, limit: str, used: str) -> Iterator[int]:
    """What this limit of a control group leaves; nothing where there is none. Cached files count as free."""
    with suppress(OSError, ValueError):
        most, held = int((folder / limit).read_text()), int((folder / used).read_text())
        cached = re.findall(r"^(?:total_)?inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
        yield most - held + max(map(int, cached), default=0)


def killed_for_memory() -> int:
    """How many processes the system has ended since it began, for it was out of memory."""
    with suppress(OSError):
        if found := re.search(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text(), re.MULTILINE):
            return int(found[1])
    return 0


def networks_fit(given: int | None) -> bool:
    """Whether so many bytes, none being as many as there are, are enough for what learns networks."""
    return why_no_networks(given) is None


def why_no_networks(given: int | None) -> Said | None:
    """Why so many bytes are too few for what learns networks, where they are."""
    addresses = address_limit()
    if addresses is not None and addresses < NETWORKS_ADDRESSES:
        return RunReason.NETWORKS_ASK.said(least=NETWORKS_ADDRESSES >> 20, given=addresses >> 20)
    if given is not None and given < NETWORKS_BYTES:
        return RunReason.NETWORKS_NEED.said(least=NETWORKS_BYTES >> 20, given=given >> 20)
    return None


@dataclass
class Share:
    """What the network at work may take."""

    kind: str
    until: float  # of the clock
    begun: float
    first: float | None = None  # when the first epoch ended, which has the compiling in it
    is_cut: bool = False

    def is_over(self, step: Mapping[str, Any], now: float) -> bool:
        """Whether one more epoch, and all epochs anew from all tasks, would take too long."""
        epoch: int = step["epoch"]
        if step.get("again"):
            return now > self.until
        self.first = now if self.first is None else self.first
        each = (now - self.first) / (epoch - 1) if epoch > 1 else (self.first - self.begun) / 10
        return epoch < int(step["epochs"]) and now + (epoch + 1) * each > self.until


class Budget:
    """Of one run at work; `told` says what it had to do without."""

    def __init__(self, seconds: float, limit: int | None, kinds: Sequence[str] = ()) -> None:
        begin_peak()
        self.clock = WorkClock()
        self.rung = 0
        self.told: list[str] = []
        self._seconds, self._limit = seconds, limit
        self._networks = sum(kind in NETWORKS for kind in kinds)  # that are still to have their share
        self._share: Share | None = None
        self._after = 0.0  # seconds that have to be left when the last network ends

    @property
    def lnirt_alone(self) -> bool:
        """Whether no network is trained."""
        return self.rung >= LNIRT_ALONE or not networks_fit(self._limit)

    def tell(self, reason: RunReason, **values: object) -> None:
        said = reason.said(**values).text
        self.told += [said] if said not in self.told else []  # a snapshot may be read twice

    def rows(self, db: Session, tasks: int) -> tuple[int, str]:
        """How many of the finished tasks a run may read, and why not all: by what the last run from scratch took, and
        by how far down the ladder this one stands."""
        self.rung, overran = training_runs.rung(db)
        last = training_runs.last_from_scratch(db)
        lnirt, held = model_versions.cost(db, BASE, MEASURABLE), BYTES_PER_TASK
        each = WITH_LNIRT * lnirt if lnirt else SECONDS_PER_TASK
        if last and (last.n_read or 0) >= MEASURABLE_BYTES:
            held = max((last.peak_bytes or 0) - NETWORKS_BYTES, 0) // (last.n_read or 1) or held
        seconds, more = each * tasks, held * tasks
        left, addresses = (self._limit - resident() if self._limit else more), _addresses_left()
        bounds = {
            tasks >> self.rung: RunReason.AN_EARLIER_ONE.said(scarce=overran),
            _fitting(tasks, seconds, PLANNED * self._seconds): RunReason.TOO_MANY_SECONDS.said(
                needed=seconds, given=self._seconds
            ),
            _fitting(tasks, more, left): RunReason.TOO_MANY_BYTES.said(
                needed=more + resident() >> 20, given=(self._limit or 0) >> 20
            ),
            _fitting(tasks, more, addresses): RunReason.TOO_MANY_ADDRESSES.said(
                needed=more >> 20, left=max(addresses, 0) / (1 << 20)
            ),
        }
        rows = min(bounds)
        return max(rows, min(LEAST_ROWS, tasks)), bounds[rows].text

    def taken(self, db: Session, kind: str, older: Attempts) -> Attempts | None:
        """Of these tasks, those that this kind learns from: whole students; none where it is left out."""
        self._share = None
        if kind not in NETWORKS:
            return older
        if not self.may_go_on(kind):
            return None
        now, rows = self.clock.seconds(), min(len(older), network(kind).schedule.most_rows)
        self._after = self._after or now  # evaluation and LNIRT of all tasks take as long as what came before
        left = PLANNED * self._seconds - now - self._after
        mine = left / max(self._networks, 1)
        self._networks -= 1
        each = model_versions.cost(db, kind, MEASURABLE)
        unmeasured = (mine - NETWORK_SECONDS) / NETWORK_SECONDS_PER_TASK
        fits = mine / each if each else unmeasured
        fits = max(fits, min(unmeasured, LEAST_OF_A_NETWORK))  # else one odd measurement leaves it out for good
        if fits < min(rows, LEAST_OF_A_NETWORK):
            self._left_out(kind, RunReason.NO_TIME.said(given=self._seconds))
            return None
        self._share = Share(kind, now + mine, now)
        if fits >= rows:
            return older
        some = older.take(some_students(older, round(fits), seed=len(older)))
        self.tell(RunReason.FEWER_ROWS, kind=kind, rows=len(some), tasks=len(older))
        return some

    def may_go_on(self, kind: str) -> bool:
        """Whether a network of this kind can be trained at all; why not is told."""
        if why := why_no_networks(self._limit):
            self._left_out(kind, why)
        elif self.lnirt_alone:
            self._left_out(kind, RunReason.LNIRT_ALONE.said())
        elif not self.is_left():
            self._left_out(kind, RunReason.NO_TIME.said(given=self._seconds))
        else:
            return True
        return False

    def _left_out(self, kind: str, why: Said) -> None:
        self.tell(RunReason.LEFT_OUT, kind=kind, why=why.text)

    def is_over(self, step: Mapping[str, Any]) -> bool:
        """Whether the network at work, which has got so far, has to stop."""
        share = self._share
        if share is None or "epoch" not in step or not share.is_over(step, self.clock.seconds()):
            return False
        if not share.is_cut:
            self.tell(RunReason.STOPPED_EARLY, kind=share.kind, epoch=step["epoch"], epochs=step["epochs"])
        share.is_cut = True
        return True

    def cut_short(self) -> dict[str, bool]:
        """For the report of what was fitted last."""
        return {"cut_short": True} if self._share and self._share.is_cut else {}

    def is_left(self) -> bool:
        """Whether there is time for what can be done without."""
        return 1.25 * self.clock.seconds() < self._seconds


def _fitting(tasks: int, needed: float, given: float) -> int:
    """How many of the tasks, where all need so much."""
    return tasks if needed <= given else max(int(tasks * given / needed), 0)

"""The engine of Dask: pieces go to the workers of a cluster, data by way of the object store.

A shard is written to the store and loaded by a task, so that what a dead worker held is made again by another. Dask's
messages are pickles: whoever reaches the scheduler runs code on the workers and here (docs/security.md).
"""

import asyncio
import io
import pickle
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np

from app import __version__
from app.core.object_store import ObjectStore
from app.core.one_thread import use_one_thread
from app.domain.errors import StoreAway
from app.ml.engine.local import Arrays, EngineLost, LocalEngine, Say, Work, at_work

if TYPE_CHECKING:
    from distributed import Future

CONNECT_SECONDS = 30.0
POLL_SECONDS, LOOK_SECONDS = 0.5, 5.0  # for results; for whether scheduler and workers still live
LOOKS = 12  # a minute without a sign of life, then a worker is dead: it gives some every second, whatever it works at
HUNG_SECONDS = 30.0  # that a scheduler may take to say who works for it
LARGE = 50_000  # bytes
SAME = ("numpy", "scipy", "keras", "tensorflow", "tensorflow-cpu")  # packages whose version changes what comes out


class DaskEngine:
    """The workers of a scheduler, for one run."""

    def __init__(self, address: str, say: Say, store_url: str = "", folder: str = "") -> None:
        """`folder`: where shards lie below the store's URL. Raises EngineLost where there is no scheduler or worker."""
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise EngineLost("Dask is not installed here: pip install 'smartstudy[dask]'") from None
        self.say, self._address = say, address
        self._url, self._folder, self._written = store_url, folder, 0
        self._topic, self._steps = f"smartstudy-{uuid4().hex}", SimpleQueue[Mapping[str, Any]]()
        self._next_look, self._looks_alone = 0.0, 0  # of them, those in a row that found nobody who could do it
        self._last_seen, self._unheard = dict[str, float](), dict[str, int]()  # of each worker; looks since
        try:
            asyncio.run(_greeted(address))
            self._client = Client(address, timeout=CONNECT_SECONDS, name="smartstudy")
        except (OSError, ValueError, TypeError) as why:  # a TypeError: certificates are missing
            raise EngineLost(f"Dask's scheduler {address} can't be reached: {_first_line(why)}") from None
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            # it reads tasks before it hands them on, and needs our code for that
            _compare(f"Dask's scheduler {address}", self._client.run_on_scheduler(versions))
        except (TimeoutError, ImportError, AttributeError, EngineLost) as why:
            self._client.close()
            raise EngineLost(_unfit(address, why)) from None
        self._client.subscribe_topic(self._topic, lambda event: self._steps.put(event[1]))

    @property
    def width(self) -> int:
        return max(1, sum(int(worker["nthreads"]) for worker in self._workers().values()))

    def _workers(self) -> dict[str, Any]:
        """What the scheduler knows of each, by its address."""
        return dict(self._asked(self._client.scheduler.identity)["workers"])

    def _asked(self, ask: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Raises EngineLost where the scheduler is stuck: whatever is asked without a bound waits for good."""
        try:
            return self._client.sync(ask, *args, callback_timeout=HUNG_SECONDS, **more)
        except TimeoutError:
            raise EngineLost(f"Dask's scheduler {self._address} has not answered for {HUNG_SECONDS:g} s.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the workers go; whatever they hold for us is forgotten."""
        self._client.close()

    def map(self, work: Work, pieces: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """Side by side. What an error of the work was, comes here as it was raised there."""
        packed: Any = pickle.dumps(shared)
        if len(packed) > LARGE:  # sent once, and between workers: as a task's result, so that it outlives the worker
            packed = self._client.submit(bytes, packed, pure=False)
        done, pieces = partial(_done, work, versions(), self._topic), list(pieces)
        return self._results(self._client.map(done, pieces, [packed] * len(pieces), pure=False))

    def shards(self, make: Callable[[Arrays], Any], parts: Iterable[Arrays]) -> Sequence[Any]:
        """Written one after another, loaded by tasks at once."""
        made = []
        for part in parts:
            packed, file = io.BytesIO(), f"{self._folder}/{self._written}.npz"
            np.savez(packed, allow_pickle=False, **part)
            try:
                _store(self._url).create(file, packed.getvalue())
            except StoreAway as why:
                raise EngineLost(str(why)) from None
            self._written += 1
            load = partial(_loaded, make, self._url)
            made.append(self._client.submit(_done, load, versions(), self._topic, file, pickle.dumps(()), pure=False))
        return made

    def _results(self, futures: "list[Future]") -> Iterator[Any]:
        from distributed import CancelledError, wait
        from distributed.scheduler import KilledWorker

        try:
            while futures:
                try:
                    wait(futures[0], timeout=POLL_SECONDS)
                except TimeoutError:
                    self._tell()
                    self._look()
                    continue
                ready = list(takewhile(lambda future: future.done(), futures))
                results = self._watched(self._client.gather(ready, asynchronous=True))
                del futures[: len(ready)]
                self._tell()
                yield from results
        except KilledWorker as why:
            raise EngineLost(f"Workers of Dask's scheduler {self._address} died of it: {_first_line(why)}") from None
        except (ImportError, AttributeError, MemoryError, RuntimeError) as why:  # a fault of ours shows here too
            if isinstance(why, EngineLost):
                raise
            raise EngineLost(f"Workers of Dask's scheduler {self._address} can't do it: {_first_line(why)}") from None
        except (CancelledError, OSError, TimeoutError) as why:
            if self._client.status == "running" and not isinstance(why, CancelledError):
                raise
            raise EngineLost(f"Dask's scheduler {self._address} was lost: {_first_line(why)}") from None

    def _watched(self, asked: "Coroutine[Any, Any, list[Any]]") -> list[Any]:
        """What comes of it; who holds that may freeze too."""
        coming = asyncio.run_coroutine_threadsafe(asked, self._client.loop.asyncio_loop)
        try:
            while not coming.done():
                try:
                    return coming.result(POLL_SECONDS)
                except TimeoutError:
                    self._look()
            return coming.result()
        finally:
            coming.cancel()

    def _look(self) -> None:
        """Have the scheduler give up workers that are not heard of: their sockets stay open when they freeze, or when a
        network swallows everything. Raises EngineLost where nobody else is there to do their work."""
        if time.monotonic() < self._next_look:
            return
        workers = self._workers()
        self._unheard = {
            address: self._unheard.get(address, 0) + 1 if worker["last_seen"] == self._last_seen.get(address) else 0
            for address, worker in workers.items()
        }
        self._last_seen = {address: worker["last_seen"] for address, worker in workers.items()}
        can_work = any(not self._unheard[address] and _can_work(worker) for address, worker in workers.items())
        dead = [address for address, looks in self._unheard.items() if looks and looks % LOOKS == 0]
        if dead and can_work:  # else they may be of use to the next run, should they wake
            self._asked(self._client._run_on_scheduler, _restarted, dead, wait=False)
        self._looks_alone = 0 if can_work else self._looks_alone + 1
        if self._looks_alone > LOOKS:
            raise EngineLost(f"Dask's scheduler {self._address} has had no worker for a minute that could do it.")
        self._next_look = time.monotonic() + LOOK_SECONDS

    def _tell(self) -> None:
        """Pass on what workers said meanwhile."""
        while True:
            try:
                self.say(self._steps.get_nowait())
            except Empty:
                return


async def _greeted(address: str) -> None:
    """Raises TimeoutError where a scheduler takes connections and says nothing: a client would wait for good."""
    from distributed.comm import connect
    from distributed.security import Security

    async with asyncio.timeout(CONNECT_SECONDS + HUNG_SECONDS):
        comm = await connect(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
        await comm.close()


def _can_work(worker: Mapping[str, Any]) -> bool:
    """One that is paused, for it holds too much, begins nothing; what it does it may end."""
    return worker["status"] == "running" or bool(worker["metrics"].get("task_counts", {}).get("executing"))


async def _restarted(addresses: list[str], dask_scheduler: Any) -> None:
    """At the scheduler, which does so by itself after five to ten minutes (`distributed.scheduler.worker-ttl`)."""
    await dask_scheduler.restart_workers(
        addresses, wait_for_workers=False, on_error="return", stimulus_id=f"smartstudy-not-heard-of-{time.time()}"
    )


def _done(work: Work, of_driver: Mapping[str, str], topic: str, piece: Any, shared: bytes) -> Any:
    """A piece of work, at a worker."""
    from distributed import get_worker

    worker = get_worker()
    use_one_thread()  # before the work imports TensorFlow: as the training process does, whose numbers these are to be
    _compare(f"Dask's worker {worker.address}", versions(), of_driver)
    with at_work(LocalEngine(lambda step: worker.log_event(topic, dict(step)))):
        return work(piece, *pickle.loads(shared))  # noqa: S301 — who may send this may have us run anything


def _unfit(address: str, why: Exception) -> str:
    if isinstance(why, EngineLost):
        return str(why)
    if isinstance(why, TimeoutError):
        return f"Dask's scheduler {address} has no worker."
    return f"Dask's scheduler {address} has no SmartStudy of our version: {_first_line(why)}"


def _compare(who: str, theirs: Mapping[str, str], of_driver: Mapping[str, str] | None = None) -> None:
    """Raise EngineLost where they have other versions than who drives the run, which is us where nobody is named."""
    ours = versions() if of_driver is None else of_driver
    for name, version_there in theirs.items():
        if ours.get(name) != version_there:
            raise EngineLost(
                f"{who} has {name} {version_there}, the training process {ours.get(name)}: install the same on both."
            )


def _loaded(make: Callable[[Arrays], Any], store_url: str, file: str) -> Any:
    try:
        packed = io.BytesIO(b"".join(_store(store_url).read(file)))
    except (StoreAway, FileNotFoundError) as why:
        said = why if isinstance(why, StoreAway) else "it is not there."
        raise EngineLost(f"A Dask worker can't read {file}, for all machines must reach MODEL_URL: {said}") from None
    try:
        with np.load(packed, allow_pickle=False) as found:
            arrays = dict(found)
    except (BadZipFile, EOFError, ValueError):
        raise EngineLost(f"What a Dask worker reads of {file} is not what was written there.") from None
    return make(arrays)


_store = lru_cache(ObjectStore)


@lru_cache
def versions() -> dict[str, str]:
    """What has to be the same everywhere, by name."""
    found = {"smartstudy": __version__, "Python": "{}.{}".format(*sys.version_info)}
    for package in SAME:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _first_line(why: BaseException) -> str:
    if isinstance(why, TimeoutError) and not str(why):
        return "it does not answer"
    return (str(why).splitlines() or [type(why).__name__])[0]

"""The model that this process answers with, and how it changes without anybody waiting."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.core.settings import settings
from app.crud import model_versions
from app.crud.model_versions import Version
from app.ml import artifacts
from app.ml.numpy_v2 import NumpyV2

log = logging.getLogger("smartstudy.serving")
RETRY_SECONDS = 30.0  # files that could not be loaded may be put back


class TaskModel(Protocol):
    """What can answer: n tasks in, n probabilities and n times in seconds out."""

    def predict(
        self,
        students: Sequence[str],
        topics: Sequence[str],
        difficulties: Sequence[str],
        features: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory."""

    version: Version
    model: TaskModel


class ServingModel:
    """Holds the serving version; `current` is read by requests and swapped in one assignment."""

    def __init__(self, open_session: Callable[[], AbstractContextManager[Session]], model_dir: Path) -> None:
        self.current: Loaded | None = None
        self.problem: str | None = None  # why the version that should serve does not
        self._open_session = open_session
        self._model_dir = model_dir
        self._turn = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._failed: tuple[int | None, float] = (None, 0.0)  # version, and when to try it again

    def notice(self, serving: int | None) -> None:
        """A request saw which version should serve: fetch it, but don't wait for it."""
        if not self._is_current(serving) and not self._turn.locked():
            self._loader.submit(self._refresh_quietly)

    def refresh(self) -> None:
        """Load the version that should serve now, if it is another; blocks. What can't be loaded is told once."""
        with self._turn:
            with self._open_session() as db:
                wanted = model_versions.serving(db)
            if not self._is_current(wanted.id if wanted else None):
                self._switch_to(wanted)

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)

    def _is_current(self, serving: int | None) -> bool:
        failed, again_at = self._failed
        if serving is not None and serving == failed:
            return time.monotonic() < again_at
        return serving == (self.current.version.id if self.current else None)

    def _switch_to(self, wanted: Version | None) -> None:
        try:
            self.current = load(self._model_dir, wanted) if wanted else None
            self.problem, self._failed = None, (None, 0.0)
            if wanted:
                log.info("version %s of %s serves", wanted.id, wanted.kind)
        except (artifacts.DamagedFiles, OSError, ValueError, KeyError) as why:
            self._told(f"Version {wanted.id if wanted else '?'} can't be loaded: {why}.")
            self._failed = (wanted.id if wanted else None, time.monotonic() + RETRY_SECONDS)

    def _told(self, problem: str) -> None:
        if problem != self.problem:
            answers = f"version {self.current.version.id} goes on" if self.current else "the prior answers"
            log.error("%s Meanwhile %s.", problem, answers)
        self.problem = problem

    def _refresh_quietly(self) -> None:
        try:
            self.refresh()
        except Exception:
            log.exception("the serving version could not be looked up")


def load(model_dir: Path, version: Version) -> Loaded:
    """The version in memory; its files are checked before anything opens them."""
    folder = model_dir / version.folder
    artifacts.verify(folder, version.files)
    return Loaded(version, NumpyV2.load(folder))


@lru_cache
def serving_model() -> ServingModel:
    """The one of this process."""
    return ServingModel(lambda: new_session().begin(), settings().model_dir)  # no database before it is needed

"""Who does the heavy work of a run: the workers of a Dask cluster; without one, or once it is lost, this process."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from app.ml.engine.local import Engine, EngineLost, LocalEngine, Say, at_work

log = logging.getLogger("smartstudy.training")
P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Of one run."""

    def __init__(self, say: Say) -> None:
        self._engine: Engine = LocalEngine(say)
        self._here = self._engine
        self.lost: str | None = None  # why this process does what workers should

    @property
    def are_here(self) -> bool:
        return self._engine is self._here

    @contextmanager
    def hired(self, scheduler: str, store_url: str, folder: str) -> Iterator[None]:
        """Yield with the workers of this scheduler, which find their shards in this folder of the store."""
        from app.ml.engine.on_dask import DaskEngine  # here, for who works locally needs nothing of Dask

        try:
            engine = DaskEngine(scheduler, self._here.say, store_url, folder)
        except EngineLost as why:
            self._lose(why)
            yield
            return
        with engine:
            self._engine = engine
            yield

    def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the work gives, whose pieces go to the workers; where they get lost, it is done anew in this process."""
        try:
            with at_work(self._engine):
                return work(*args, **kwargs)
        except EngineLost as why:
            if self.are_here:
                raise
            self._lose(why)
            return self.do(work, *args, **kwargs)

    def _lose(self, why: Exception) -> None:
        log.warning("Dask is given up for this run, this process goes on: %s", why)
        self._engine, self.lost = self._here, str(why)

"""Imports that stand at the top of a file and cost nothing until they are used."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any


class _WhenUsed(Loader):
    """Runs a module when it is first used: of several threads one does, and the others wait until it is whole.

    Before Python 3.12.3 `importlib.util.LazyLoader` shows it to them half run, and a request fails.
    """

    def __init__(self, plain: Loader) -> None:
        self._plain, self._turn, self._begun = plain, RLock(), False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._plain.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__:
            module.__spec__.loader = module.__loader__ = self._plain  # for whoever looks for its source
        module.__dict__["__when_used__"] = self
        module.__class__ = _Unused

    def run(self, module: ModuleType) -> None:
        with self._turn:
            if not self._begun:  # while it runs, it comes here itself
                self._begun = True
                self._plain.exec_module(module)
                module.__class__ = ModuleType


class _Unused(ModuleType):
    """A module that has not run."""

    def __getattribute__(self, name: str) -> Any:
        object.__getattribute__(self, "__when_used__").run(self)
        return object.__getattribute__(self, name)


class _LazyFinder:
    """Finds modules of ours as usual, and leaves running them to whoever first takes something out of them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name.startswith("app.") else None
        if spec and spec.loader:
            spec.loader = _WhenUsed(spec.loader)
        return spec


@contextmanager
def lazily() -> Iterator[None]:
    """Within it, `from app.crud import audit` binds a module that is run when it is first used.

    So every command names at the top of its file what it works with, and `smartstudy --help` still loads neither
    SQLAlchemy nor NumPy. Only for modules (`import app.x`, `from app import x`): to take a class out of one runs it.
    """
    sys.meta_path.insert(0, _LazyFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(_LazyFinder)

"""Imports that stand at the top of a file and cost nothing until they are used."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


class _LazyFinder:
    """Finds modules of ours as usual, and leaves running them to whoever first takes something out of them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name.startswith("app.") else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
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

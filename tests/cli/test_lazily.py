"""Imports of the command line that wait for their use."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from threading import Event
from types import ModuleType

from app.cli.lazily import _WhenUsed

CODE = """
import sys
from app.cli.lazily import lazily

with lazily():
    from app.crud import audit
assert "sqlalchemy" not in sys.modules
assert callable(audit.record)
assert "sqlalchemy" in sys.modules
from app.crud.audit import record
assert record is audit.record
"""


def test_a_module_is_run_when_something_is_taken_out_of_it() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=60)


class Slow(Loader):
    """Runs a module until another thread is about to use it."""

    def __init__(self) -> None:
        self.runs, self.somebody_waits = 0, Event()

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.runs += 1
        assert self.somebody_waits.wait(60)
        module.__dict__["whole"] = True


def test_two_threads_that_use_a_module_first_both_find_it_whole() -> None:
    slow = Slow()
    module = module_from_spec(ModuleSpec("unused", _WhenUsed(slow)))
    module.__spec__.loader.exec_module(module)  # type: ignore[union-attr]

    def use(_: int) -> bool:
        if slow.runs:
            slow.somebody_waits.set()
        return bool(module.whole)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(use, 1)
        while not slow.runs:
            pass
        assert threads.submit(use, 2).result(60)
        assert (first.result(60), slow.runs) == (True, 1)

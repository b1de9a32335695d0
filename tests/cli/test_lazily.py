"""Imports of the command line that wait for their use."""

import subprocess
import sys

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

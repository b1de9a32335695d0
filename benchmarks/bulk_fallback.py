"""Import, reading and features in bulk, until benchmarks/bulk.py is there: the same three names."""

import subprocess
import sys
import time
from pathlib import Path

from app.domain.attempts import Attempts
from app.ml.features import history_features, totals_before
from app.ml.simulated import school, simulate
from benchmarks.service import Service, wait_until_ready, write

EACH = 1000  # tasks of a student at most


def world(rows: int) -> Attempts:
    each = min(EACH, rows)
    return simulate(school(-(-rows // each), seed=4), each, seed=4).attempts


def import_rate(rows: int, folder: Path) -> dict[str, float]:
    """Rows a second of the import command on an empty database, and its peak MB."""
    service = Service(folder)
    try:
        with service.client() as client:
            wait_until_ready(client, service.process)
        write(world(rows), folder / "tasks.csv")
        code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
        command = [sys.executable, "-c", code, sys.executable, "-m", "app", "import", "tasks.csv"]
        begun = time.perf_counter()
        out = subprocess.run(
            command, env=service.environment, cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        rate = rows / (time.perf_counter() - begun)
    finally:
        service.end()
    return {"rows_per_second": rate, "peak_megabytes": float(out.splitlines()[-1])}


def features_seconds(rows: int) -> float:
    """The eleven features of all rows."""
    attempts = world(rows)
    begun = time.perf_counter()
    history_features(totals_before(attempts))
    return time.perf_counter() - begun


def read_seconds(url: str) -> float:
    """All finished tasks of the database, as columns."""
    from sqlalchemy.orm import Session

    from app.core.database import engine_for
    from app.crud import attempts

    with Session(engine_for(url)) as db:
        begun = time.perf_counter()
        attempts.read_all(db)
        return time.perf_counter() - begun

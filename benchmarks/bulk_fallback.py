"""Import, reading and features in bulk, until benchmarks/bulk.py is there: the same three names."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from app.core import embedded_postgres
from app.domain.attempts import Attempts
from app.ml.inputs import inputs_of, known_before
from app.ml.simulated import school, simulate
from benchmarks.service import write

EACH = 1000  # tasks of a student at most


def world(rows: int) -> Attempts:
    each = min(EACH, rows)
    return simulate(school(-(-rows // each), seed=4), each, seed=4).attempts.take(slice(rows))


def import_rate(rows: int, folder: Path) -> dict[str, float]:
    """Rows a second and peak MB of `smartstudy import`, into a new database in `folder`; it stays there."""
    write(world(rows), folder / "tasks.csv")
    environment = {**os.environ, "DATA_DIR": str(folder / "database"), "MODEL_DIR": str(folder / "models")}
    environment.pop("DATABASE_URL", None)
    embedded_postgres.start(folder / "database")
    try:
        subprocess.run([sys.executable, "-m", "app", "migrate"], env=environment, check=True, capture_output=True)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "app", "import", str(folder / "tasks.csv")]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        rate = rows / (time.perf_counter() - begun)
    finally:
        embedded_postgres.stop(folder / "database")
    return {"rows_per_second": rate, "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000}


def read_seconds(folder: Path) -> float:
    """Reading all finished tasks of the database that `import_rate` left."""
    from sqlalchemy.orm import Session

    from app.core.database import engine_for
    from app.crud import attempts

    with Session(engine_for(embedded_postgres.start(folder / "database"))) as db:
        begun = time.perf_counter()
        attempts.read_all(db)
        seconds = time.perf_counter() - begun
    embedded_postgres.stop(folder / "database")
    return seconds


def features_seconds(rows: int) -> float:
    """All inputs of all rows."""
    attempts = world(rows)
    begun = time.perf_counter()
    inputs_of(known_before(attempts))
    return time.perf_counter() - begun

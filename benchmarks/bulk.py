"""In bulk: an import, reading everything for a training, the features of all rows.

    python -m benchmarks.bulk [--rows 1000000] [--per-student 1000] [--items 500]

The import is the command itself with a new embedded database, in a folder that is thrown away; its rate counts all of
its wall time but the making of that database, its memory is the peak of the command, not of the database.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.core.database import engine_for
from app.core.db import embedded_postgres, migrations
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import inputs_of, known_before
from benchmarks.service import peak_of, write

PER_STUDENT = 1_000  # tasks
ITEMS = 500


def attempts(rows: int, per_student: int = PER_STUDENT, items: int = ITEMS) -> Attempts:
    """Simulated tasks, ordered by time, each on one of the items."""
    made = simulate(school(max(rows // per_student, 1), seed=4), min(rows, per_student), seed=4).attempts
    item = np.random.default_rng(4).integers(0, items, len(made)).astype(np.int32)
    return replace(made, items=tuple(f"item {k}" for k in range(items)), item=item)


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The URL of a new, migrated embedded database; stopped at the end."""
    url = embedded_postgres.start(folder)
    engine = engine_for(url)
    migrations.migrate(engine)
    engine.dispose()
    yield url
    embedded_postgres.stop(folder)


def import_rate(rows: int, folder: Path, per_student: int = PER_STUDENT, items: int = ITEMS) -> dict[str, float]:
    """Rows a second and peak MB of `smartstudy import`, into a new database in `folder`; it stays there."""
    data = attempts(rows, per_student, items)
    write(data, folder / "tasks.csv")
    with database(folder / "database"):
        environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        environment |= {"DATA_DIR": str(folder / "database"), "MODEL_DIR": str(folder / "models")}
        command = [sys.executable, "-m", "app", "import", str(folder / "tasks.csv")]
        begun = time.perf_counter()
        at_work = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak_mb = peak_of(at_work)
        seconds = time.perf_counter() - begun
    if at_work.returncode:
        raise RuntimeError(f"the import ended with {at_work.returncode}")
    return {"rows_per_second": len(data) / seconds, "peak_mb": peak_mb}


def read_seconds(folder: Path) -> float:
    """Reading all finished tasks of the database that `import_rate` left."""
    from sqlalchemy.orm import Session

    from app.crud.attempts import read_all

    with database(folder / "database") as url:
        engine = engine_for(url)
        with Session(engine) as db:
            begun = time.perf_counter()
            read_all(db)
            seconds = time.perf_counter() - begun
        engine.dispose()
    return seconds


def features_seconds(rows: int) -> float:
    """All inputs of all rows; the best of three."""
    data = attempts(rows)

    def once() -> float:
        begun = time.perf_counter()
        inputs_of(known_before(data))
        return time.perf_counter() - begun

    return min(once() for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--per-student", type=int, default=PER_STUDENT, help="tasks of each student")
    parser.add_argument("--items", type=int, default=ITEMS, help="different exercises")
    given = parser.parse_args()
    rows = given.rows
    with tempfile.TemporaryDirectory() as folder:
        rate = import_rate(rows, Path(folder), given.per_student, given.items)
        reading = read_seconds(Path(folder))
    print(f"{rows:,} rows")
    print(f"import    {rate['rows_per_second']:>9,.0f} rows/s, peak {rate['peak_mb']:,.0f} MB")
    print(f"reading   {reading:>9.2f} s")
    print(f"features  {features_seconds(rows):>9.2f} s")


if __name__ == "__main__":
    main()

"""Import, reading and features of many tasks."""

import time

from app.core import embedded_postgres
from app.domain.attempts import DIFFICULTIES
from app.ml.simulated import school, simulate
from benchmarks.bulk_fallback import features_seconds, import_rate, read_seconds
from benchmarks.findings import OURS, Found, Row, Target
from benchmarks.stage import Stage

MILLION = 1_000_000
SAMPLE = 500  # rows that the documents' way is given
DOCUMENTS = "documents"


def bulk(stage: Stage) -> Found:
    rows, folder = stage.sizes.bulk, stage.folder / "bulk"
    stage.say(f"importing {rows:,} tasks into an empty database")
    told = import_rate(rows, folder)
    stage.say(f"reading {rows:,} tasks")
    read = _read(stage, rows)
    stage.say(f"features of {stage.sizes.features:,} tasks")
    features = features_seconds(stage.sizes.features) * MILLION / stage.sizes.features
    rate, peak = told["rows_per_second"], told["peak_megabytes"]
    a_million = {OURS: features, DOCUMENTS: documents_seconds()}
    return Found(
        [
            Row("bulk", f"import of {rows:,} tasks", "rows/s", {OURS: rate}, Target(">=", 50_000, "rows/s", rate)),
            Row("bulk", f"import of {rows:,} tasks, peak", "MB", {OURS: peak}),
            Row("bulk", f"reading {rows:,} tasks, a million", "s", {OURS: read}, Target("<=", 5, "s", read)),
            Row("bulk", "features of a million tasks", "s", a_million, Target("<=", 2, "s", features)),
        ]
    )


def _read(stage: Stage, rows: int) -> float:
    """Seconds for a million, from the database that was imported into."""
    data = stage.folder / "bulk" / "data"
    try:
        return read_seconds(embedded_postgres.start(data)) * MILLION / rows
    finally:
        embedded_postgres.stop(data)


def documents_seconds() -> float:
    """Seconds for a million rows, reckoned from those of a student with a thousand tasks: each scans all before it."""
    from uuid import UUID

    from benchmarks.reference.web_documents import NewTask, PracticeTask, features

    attempts = simulate(school(1, seed=6), 1000, seed=6).attempts
    past = [
        PracticeTask(
            topic=attempts.topics[attempts.topic[row]],
            difficulty=DIFFICULTIES[attempts.difficulty[row]],
            is_correct=bool(attempts.correct[row]),
            actual_time_seconds=float(attempts.seconds[row]),
        )
        for row in range(len(attempts))
    ]
    asked = [NewTask(user_id=UUID(int=1), topic=task.topic, difficulty=task.difficulty) for task in past]
    begun = time.perf_counter()
    for row in range(0, len(past), len(past) // SAMPLE):
        features(past[:row], asked[row])
    return (time.perf_counter() - begun) / SAMPLE * MILLION

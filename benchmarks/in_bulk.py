"""Import, reading and features of many tasks."""

import json
import sys
import time
from pathlib import Path
from uuid import UUID

from app.domain.attempts import DIFFICULTIES
from app.ml.evaluation.simulated import school, simulate
from benchmarks.bulk import features_seconds, import_rate, read_seconds
from benchmarks.child import told_by
from benchmarks.findings import OURS, Found, Row, Target
from benchmarks.stage import Stage

MILLION = 1_000_000
SAMPLE = 500  # rows that the documents' way is given
DOCUMENTS = "documents"


def bulk(stage: Stage) -> Found:
    """In a process of its own, so that the peak of the memory is the command's."""
    rows, folder = stage.sizes.bulk, stage.folder / "bulk"
    folder.mkdir()
    folder.chmod(0o711)
    stage.say(f"importing and reading {rows:,} tasks, features of {stage.sizes.features:,}")
    told = told_by("benchmarks.in_bulk", rows, stage.sizes.features, folder)
    rate, read = told["rows_per_second"], told["read_seconds"]
    features = {OURS: told["features_seconds"], DOCUMENTS: documents_seconds()}
    return Found(
        [
            Row("bulk", f"import of {rows:,} tasks", "rows/s", {OURS: rate}, Target(">=", 50_000, "rows/s", rate)),
            Row("bulk", f"import of {rows:,} tasks, peak", "MB", {OURS: told["peak_mb"]}),
            Row("bulk", f"reading, a million tasks ({rows:,} read)", "s", {OURS: read}, Target("<=", 5, "s", read)),
            Row("bulk", "features, a million tasks", "s", features, Target("<=", 2, "s", features[OURS])),
        ]
    )


def measured(rows: int, featured: int, folder: Path) -> dict[str, float]:
    """Seconds are for a million."""
    told = import_rate(rows, folder)
    read = read_seconds(folder) * MILLION / rows
    return {**told, "read_seconds": read, "features_seconds": features_seconds(featured) * MILLION / featured}


def documents_seconds() -> float:
    """Seconds for a million rows, reckoned from those of a student with a thousand tasks: each scans all before it."""
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


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))

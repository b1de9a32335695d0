"""What each group of V2's inputs is worth: answers about students that the model was not trained on.

    python -m benchmarks.ablation FILE [--folds 5] [--json OUT]

FILE is a table of interactions as `smartstudy import` reads it. Students are divided into five parts at random; each
part is answered by a model trained on the others, calibrated and not clipped. `--folds 2` does only the first two.
"""

import os

from app.core.one_thread import ONE_THREAD

os.environ.update(ONE_THREAD)

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.domain.attempts import Attempts
from app.domain.interactions import Interactions, attempts_of, opened
from app.ml import metrics
from app.ml.answers import Answers
from app.ml.networks.fit import fit
from app.ml.registry import network

Floats = NDArray[np.float64]
PARTS = 5

VARIANTS: dict[str, tuple[str, ...]] = {
    "eleven": ("eleven",),
    "eleven, context": ("eleven", "context"),
    "eleven, item": ("eleven", "item"),
    "all": ("eleven", "context", "item"),
}


@dataclass(frozen=True, slots=True)
class Result(metrics.Scores):
    """How one choice of inputs did on the students left out."""

    inputs: str
    rows: int
    more_log_loss: float  # than with all inputs
    more_error: float  # standard error of that, students drawn anew
    seconds: float  # of one training, wall time


def read(path: Path) -> Attempts:
    with opened(path) as (file, _):
        return attempts_of(Interactions(file, False))


def parts_of(attempts: Attempts) -> NDArray[np.int64]:
    """In which of the five parts each row's student is, (n,)."""
    parts = np.random.default_rng(0).permutation(len(attempts.students)) % PARTS
    return np.asarray(parts[attempts.student])


def answered(attempts: Attempts, groups: Sequence[str], folds: Iterable[int]) -> tuple[Answers, float]:
    """What is said of the rows of these parts, one part after the other, and the seconds of a training."""
    part, said, spent = parts_of(attempts), [], []
    for fold in folds:
        begun = time.perf_counter()
        model = fit(replace(network("embedding_v2"), groups=tuple(groups)), attempts.take(part != fold)).served()
        spent.append(time.perf_counter() - begun)
        said.append(model.answers(attempts, np.flatnonzero(part == fold)))
    columns = {name: np.concatenate([getattr(each, name) for each in said]) for name in Answers.__slots__}
    return Answers(**columns), float(np.mean(spent))


def by_student(students: NDArray[np.int32], more: Floats) -> float:
    """Standard error of a mean over rows, of which those of a student belong together."""
    sums = np.bincount(students, more - more.mean())
    return float(np.sqrt(np.square(sums).sum()) / len(more))


def scored(name: str, asked: Attempts, said: Answers, best: Answers, seconds: float) -> Result:
    more = metrics.losses(asked.correct, said.probability) - metrics.losses(asked.correct, best.probability)
    times = (asked.seconds, said.seconds, said.seconds_low, said.seconds_high)
    found = metrics.summary(asked.correct, said.probability, *times)
    beside = {"more_log_loss": float(more.mean()), "more_error": by_student(asked.student, more)}
    return Result(**asdict(found), **beside, inputs=name, rows=len(asked), seconds=seconds)


def ablation(attempts: Attempts, folds: Sequence[int]) -> list[Result]:
    part = parts_of(attempts)
    asked = attempts.take(np.concatenate([np.flatnonzero(part == fold) for fold in folds]))
    said = {name: answered(attempts, groups, folds) for name, groups in VARIANTS.items()}
    best = said["all"][0]
    return [scored(name, asked, answers, best, seconds) for name, (answers, seconds) in said.items()]


def shown(results: Iterable[Result]) -> Table:
    table = Table(
        "inputs", "AUC", "log-loss", "more than with all", "calibration error", "RMSE log time", "80 % covers", "s"
    )
    for r in results:
        more = f"{r.more_log_loss:+.4f} ± {r.more_error:.4f}" if r.more_error else ""
        scores = [f"{score:.4f}" for score in (r.calibration_error, r.rmse_log_time)]
        table.add_row(
            r.inputs,
            f"{r.auc:.4f}",
            f"{r.log_loss:.4f}",
            more,
            *scores,
            f"{r.time_interval_coverage:.1%}",
            f"{r.seconds:.0f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--folds", type=int, default=PARTS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results = ablation(read(given.file), range(given.folds))
    Console(width=120).print(shown(results))
    if given.json:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What `evaluate` and `replay` share: remarks on data sets with gaps, and a file with a row per prediction."""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from math import isnan
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from app.cli.shared import skipped
from app.core.files import open_private
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.interactions import NO_TOPIC, Interactions
from app.ml.answers import Answers
from app.ml.baselines import timed

ROW = (
    *("model", "student_id", "item_id", "topic", "difficulty", "timestamp"),
    *("probability", "probability_low", "probability_high", "seconds", "seconds_low", "seconds_high"),
    *("correct", "time_seconds"),
)
DIGITS = 6
SaidBy = Callable[[str, Answers], None]


def remarks(rows: Interactions) -> list[str]:
    """A line for everything that a reader of the figures should know of the file that was read."""
    gaps, lines = rows.gaps, [skipped(rows)] if rows.bad else []
    if gaps.no_result:
        lines.append(f"{gaps.no_result:,} rows have no result (correct is empty) and were left out.")
    if gaps.rows and gaps.no_time == gaps.rows:
        lines.append("No row has a time, so times are not judged.")
    elif gaps.no_time:
        lines.append(f"{gaps.no_time:,} of {gaps.rows:,} rows have no time; times are judged on the others.")
    if gaps.rows and gaps.no_topic == gaps.rows:
        lines.append("No row names a topic, so all tasks count as one topic.")
    elif gaps.no_topic:
        lines.append(f"{gaps.no_topic:,} of {gaps.rows:,} rows name no topic; these count as one topic.")
    return lines


@contextmanager
def rows_file(file: Path | None, attempts: Attempts, names: Mapping[str, str]) -> Iterator[SaidBy]:
    """To be given each model's answers, which are written at once; without a file nothing is."""
    if file is None:
        yield lambda model, said: None
        return
    with open_private(file) as plain, _zipped(plain) if file.suffix == ".gz" else nullcontext(plain) as out:
        csv.writer(out).writerow(ROW)
        task, results = _task(attempts, names), [attempts.correct.astype(int).tolist(), _cells(attempts.seconds)]

        def write(model: str, said: Answers) -> None:
            text = io.StringIO()  # a model's rows are all there or none
            columns = [[model] * len(said), *task, *_predicted(said, attempts), *results]
            csv.writer(text).writerows(zip(*columns, strict=True))
            out.write(text.getvalue())
            out.flush()

        yield write


def _zipped(file: TextIO) -> TextIO:
    return cast(TextIO, gzip.open(file.buffer, "wt", newline=""))


def _task(attempts: Attempts, names: Mapping[str, str]) -> list[list[Any]]:
    """Student, item, topic, difficulty and moment, as the file names them."""
    students = [names.get(student, student) for student in attempts.students]
    topics = ["" if topic == NO_TOPIC else topic for topic in attempts.topics]
    named = (
        (students, attempts.student),
        ((*attempts.items, ""), attempts.item),
        (topics, attempts.topic),
        (DIFFICULTIES, attempts.difficulty),
    )
    columns = [np.array(values, object)[codes].tolist() for values, codes in named]
    return [*columns, (attempts.started / 1e6).tolist()]


def _predicted(said: Answers, attempts: Attempts) -> list[list[Any]]:
    """Probability and seconds, each with its bounds; of times nothing where none is known."""
    times = np.array([said.seconds, said.seconds_low, said.seconds_high])
    known = times if timed(attempts).any() else np.full_like(times, np.nan)
    return [_cells(each) for each in (said.probability, said.probability_low, said.probability_high, *known)]


def _cells(column: NDArray[np.float64]) -> list[Any]:
    """Rounded; empty where there is no number."""
    return ["" if isnan(value) else value for value in np.round(column, DIGITS).tolist()]

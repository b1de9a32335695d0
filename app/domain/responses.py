"""Responses of persons to items as psychometricians keep them: long form, either half of an answer may be missing."""

import math
from dataclasses import dataclass, field
from typing import TextIO

from app.domain.interactions import MISSING, BadRow, Rows, errors_explained, positions

COLUMNS = ("person", "item", "correct", "time_seconds")
OTHER_NAMES = {"person": "student_id", "item": "item_id"}
MARKS = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0} | dict.fromkeys(MISSING, math.nan)


@dataclass(slots=True)
class Responses:
    """n answers; NaN where nothing was observed."""

    person: list[str] = field(default_factory=list)
    item: list[str] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)  # 1, 0 or NaN
    seconds: list[float] = field(default_factory=list)  # > 0 or NaN
    censored: list[bool] = field(default_factory=list)  # the time was cut off at `seconds`
    empty: int = 0  # rows left out, for they hold neither a mark nor a time


def read_responses(source: TextIO, limit_seconds: float | None = None) -> Responses:
    """Read columns person (student_id), item (item_id), correct, time_seconds and, if there is one, censored.

    Times at or above `limit_seconds` count as cut off there.

    Raises:
        BadRow: names the line and what is wrong with it.
    """
    rows = Rows(source)
    with errors_explained(rows):
        return _read(rows, limit_seconds)


def _read(rows: Rows, limit_seconds: float | None) -> Responses:
    places = positions(next(rows, []), COLUMNS, OTHER_NAMES, COLUMNS)
    at = {name: places[name] for name in (*COLUMNS, "censored") if name in places}
    found = Responses()
    width = 0
    for row in rows:
        line, width = rows.line, width or len(row)
        if len(row) != width or width <= max(at.values()):
            raise BadRow(line, f"{len(row)} cells; the rows need {max(at.values()) + 1} or more, and all as many")
        person, item = _label(row[at["person"]], "person", line), _label(row[at["item"]], "item", line)
        correct = _mark(row[at["correct"]].strip(), "correct", line)
        seconds = _seconds(row[at["time_seconds"]].strip(), line)
        if math.isnan(correct) and math.isnan(seconds):
            found.empty += 1
            continue
        found.person.append(person)
        found.item.append(item)
        found.correct.append(correct)
        limited = limit_seconds is not None and seconds >= limit_seconds
        found.seconds.append(limit_seconds if limited and limit_seconds is not None else seconds)
        flagged = "censored" in at and _mark(row[at["censored"]].strip(), "censored", line) == 1
        found.censored.append(limited or flagged)
    return found


def _label(value: str, name: str, line: int) -> str:
    if not value.strip():
        raise BadRow(line, f"{name} is empty")
    return value.strip()


def _mark(value: str, name: str, line: int) -> float:
    if value not in MARKS:
        raise BadRow(line, f"{name} is {value!r}; it must be 0, 1 or empty")
    return MARKS[value]


def _seconds(value: str, line: int) -> float:
    if value in MISSING:
        return math.nan
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < math.inf:
        raise BadRow(line, f"time_seconds is {value!r}; it must be a number above 0, or empty")
    return seconds

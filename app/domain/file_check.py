"""What a dry run of an import tells of a file, before anything is stored."""

import math
from array import array
from datetime import UTC, datetime

import numpy as np

from app.domain.interactions import NO_CLOCK, Interaction, Interactions, named_twice

LIKE_MILLISECONDS = 1_000.0  # most tasks take less, in seconds
LIKE_MINUTES = 2.0  # most tasks take more
FEW = 0.05  # of times may be odd without a word
TOPICS_NAMED = 10


class FileCheck:
    """Rows of a file as they pass by, summed up; memory grows by 8 bytes a row."""

    def __init__(self, rows: Interactions) -> None:
        self._rows = rows
        self._n = self._right = self._long = self._short = 0
        self._students: set[bytes] = set()
        self._topics: set[str] = set()
        self._times = self._moments = (math.inf, -math.inf)  # least, greatest
        self._contents = array("q")  # a hash of each row's

    def add(self, row: Interaction) -> None:
        """Take up one more row."""
        self._n += 1
        self._right += row.correct
        self._long += row.seconds > LIKE_MILLISECONDS
        self._short += row.seconds < LIKE_MINUTES
        self._students.add(row.student)
        self._topics.add(row.topic)
        self._times = (min(self._times[0], row.seconds), max(self._times[1], row.seconds))
        self._moments = (min(self._moments[0], row.started), max(self._moments[1], row.started))
        self._contents.append(hash((*row[1:7], row.started if self._dated else 0.0)))

    @property
    def _dated(self) -> bool:
        """Whether the file says when tasks were done; without that the first begins at NO_CLOCK."""
        return self._moments[0] != NO_CLOCK

    def told(self) -> list[str]:
        """What the file holds, a sentence each."""
        lines = [f"{self._n:,} rows can be imported: {len(self._students):,} students, {self._topics_told()}."]
        if self._n:
            lines += [self._dates(), self._results()]
        return lines

    def remarks(self) -> list[str]:
        """What a person should look at before importing it, though it can be imported."""
        found = []
        if self._n and self._right in (0, self._n):
            which = "right" if self._right else "wrong"
            found.append(f"Every answer is {which}: is 1 right and 0 wrong in the column correct?")
        if self._long > FEW * self._n:
            share = "Most" if 2 * self._long > self._n else f"{self._long / self._n:.0%} of the"
            found.append(f"{share} times are above {LIKE_MILLISECONDS:,.0f}: are they milliseconds?")
        if 2 * self._short > self._n:
            found.append(f"Most times are below {LIKE_MINUTES:g}: are they minutes?")
        if repeats := self._repeats():
            found.append(f"{repeats:,} rows repeat another one in all that is read of them.")
        if self._n and not self._dated:
            found.append("No row has a timestamp: they count as one after another, and again in every other file.")
        if self._rows.blank:
            found.append(f"{self._rows.blank:,} blank rows are skipped.")
        if twice := named_twice(self._rows.header):
            found.append(f"Named twice, and not read: {', '.join(twice)}.")
        return found

    def refused(self) -> list[str]:
        """What can't be imported: of each column how many rows, and the first."""
        counts = self._rows.bad_about
        return [
            f"{counts[about]:,} rows can't be used, the first: {first}." for about, first in self._rows.firsts.items()
        ]

    def _topics_told(self) -> str:
        named = f" ({', '.join(sorted(self._topics))})" if 0 < len(self._topics) <= TOPICS_NAMED else ""
        return f"{len(self._topics):,} topics{named}"

    def _dates(self) -> str:
        if not self._dated:
            return "They have no dates."
        first, last = (f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M}" for each in self._moments)
        return f"They begin at {first} and end at {last} UTC."

    def _results(self) -> str:
        least, greatest = self._times
        return f"{self._right / self._n:.1%} are right; they took {least:g} to {greatest:g} seconds."

    def _repeats(self) -> int:
        contents = np.array(self._contents, np.int64)
        contents.sort()
        return int((contents[1:] == contents[:-1]).sum())

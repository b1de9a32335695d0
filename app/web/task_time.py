"""How long a task took: what was typed, else what the clock of the page says, and what is asked about first."""

import re
from dataclasses import dataclass
from unicodedata import normalize

from app.core.languages import HOUR, MINUTE, Translator
from app.domain.attempts import LEAST_SECONDS
from app.domain.interactions import SECONDS_MAX
from app.domain.tasks import Task

FAR = 3  # times the upper bound of the predicted interval ...
FAR_SECONDS = 300.0  # ... and more than this: nobody is asked about minutes
STILL_SECONDS = 300.0  # without a key or a touch: the clock asks, unless the task may take longer
LONGEST = 50  # characters

_NUMBER = r"(\d+(?:[.,]\d+)?)"
_COLONS = re.compile(r"(?:(\d+):(?=[0-5]?\d:))?(\d+):([0-5]\d(?:[.,]\d+)?)")
_UNITS = re.compile(
    rf"(?:{_NUMBER}\s*(?:h|hrs?|hours?|std\.?|stunden?))?\s*(?:{_NUMBER}\s*(?:m|mins?\.?|minuten?|minutes?))?\s*"
    rf"(?:{_NUMBER}\s*(?:s|secs?\.?|seconds?|sek\.?|sekunden?))?"
)
_PLAIN = re.compile(rf"()(){_NUMBER}")
_THOUSANDS = re.compile(r"(?<!\d)[1-9]\d{0,2}[.,]\d{3}(?!\d)")


def seconds_of(typed: str) -> float:
    """Read a time as people write it: `90`, `1:30`, `1:02:03`, `90 s`, `1,5 min`, `1 h 10 min`.

    Raises:
        ValueError: it is none, or may be two (`1,000`).
    """
    text = normalize("NFKC", typed).strip().lower()
    found = _COLONS.fullmatch(text) or (
        None if _THOUSANDS.search(text) else _PLAIN.fullmatch(text) or _UNITS.fullmatch(text)
    )
    if not found or not text or len(text) > LONGEST:
        raise ValueError(f"{typed!r} is no time")
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in found.groups())
    return hours * HOUR + minutes * MINUTE + seconds


def in_colons(seconds: float) -> str:
    """Write a time as the field reads it: `0:42`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def still_seconds(task: Task) -> float:
    """After how long without a key or a touch the clock asks whether to count it."""
    return max(task.time_high_seconds or 0.0, STILL_SECONDS)


@dataclass(frozen=True, slots=True)
class Report:
    """What a student sent of a task, as it was sent."""

    result: str = ""
    seconds: str = ""  # typed
    clock: str = ""  # by the script of the page
    began: str = ""  # when Start was pressed where no script runs, in seconds since 1970
    sure: str = ""  # the time that was asked about

    @property
    def is_right(self) -> bool | None:
        return {"right": True, "wrong": False}.get(self.result)

    def took(self, now: float) -> float | None:
        """Return the seconds, typed before measured; none where nothing tells. Raises ValueError."""
        if self.seconds.strip():
            return seconds_of(self.seconds)
        if self.clock:
            return max(float(self.clock), LEAST_SECONDS)
        return max(now - float(self.began), LEAST_SECONDS) if self.began else None

    def is_to_be_asked(self, seconds: float, task: Task) -> bool:
        """Say whether it is far beyond what was predicted, and nobody has asked yet."""
        high = task.time_high_seconds or task.estimated_time_seconds or 0.0
        asked = seconds_of(self.sure) if self.sure else 0.0
        return seconds > max(FAR * high, FAR_SECONDS, asked + 1)


def what_is_wrong(translator: Translator, report: Report, seconds: float | None) -> str | None:
    """Say what of a report can't be recorded; none if all can."""
    if seconds is None:
        return translator(
            "How long did it take? Type it below, such as 90, 1:30 or 2 min; or press Start before you begin."
        )
    if not 0 < seconds <= SECONDS_MAX:
        most = translator.seconds(SECONDS_MAX)
        return translator("The time has to be more than 0 s and at most %(most)s.", most=most)
    if report.is_right is None:
        return translator("Was it right or wrong? Press one of the two buttons; your time is kept.")
    return None


def unreadable(translator: Translator, typed: str) -> str:
    return translator(
        "“%(typed)s” can't be read as a time. Write seconds (90), 1:30, 1:02:03, or 2 min 5 s; without separators in"
        " thousands.",
        typed=typed[:LONGEST],
    )

"""What a part of the benchmark found: rows with targets, curves, and how to keep them as JSON."""

import json
import operator
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

OURS = "ours"
PHASE = "phase"  # what grows along a curve that is none
COMPARED = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Target:
    """What has to be reached: `>= 0.5 of the raw insert`."""

    sign: Literal["<=", ">=", "<", "="]
    limit: float
    of: str = ""  # what the limit counts
    reached: float = float("nan")

    @property
    def met(self) -> bool:
        return bool(COMPARED[self.sign](self.reached, self.limit))  # false for NaN

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g} {self.of}".strip()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the same figure of several ways, ours among them."""

    part: str
    what: str
    unit: str
    figures: dict[str, float]  # way -> median
    target: Target | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a small picture."""

    panel: str  # what is shown, with its unit
    line: str  # whose it is
    along: str  # what grows
    x: list[float]
    y: list[float]


@dataclass(frozen=True, slots=True)
class Found:
    """All that one part found."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    stopped: str = ""  # why it did not get to its end


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run of the benchmark."""

    rows: list[Row]
    curves: list[Curve]
    failed: dict[str, str]  # part -> why
    facts: dict[str, Any]  # when, where, how large

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_finite(asdict(self)), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        told = json.loads(path.read_text())
        rows = [Row(**{**row, "target": _target(row["target"])}) for row in told["rows"]]
        return cls(rows, [Curve(**curve) for curve in told["curves"]], told["failed"], told["facts"])


def _target(told: dict[str, Any] | None) -> Target | None:
    if told is None:
        return None
    return Target(**{**told, "reached": float("nan") if told["reached"] is None else told["reached"]})


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def facts(full: bool, seconds: float, parts: dict[str, float]) -> dict[str, Any]:
    """When, where and how large; `parts` are the seconds that each took."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "full": full,
        "seconds": round(seconds),
        "parts": parts,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def medians(rounds: dict[str, Sequence[float]]) -> dict[str, float]:
    """Of each way's rounds."""
    return {way: median(found) for way, found in rounds.items() if found}


def ratio(rounds: dict[str, Sequence[float]], way: str, against: str) -> float:
    """Median of the ratios round by round: what disturbs a round disturbs both."""
    return median(one / other for one, other in zip(rounds[way], rounds[against], strict=True))

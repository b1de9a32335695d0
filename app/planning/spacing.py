"""When a topic is due again: a memory that halves in a time which grows with every day of good practice.

Recall after `days` is 2^(-days / half-life), the half-life 2^strength days: half-life regression (Settles & Meeder
2016, ACL, 1848-1858) with the fixed weights of its special case, the Leitner system: one step up for what went right,
one down for what went wrong. A step is a day of practice, for repeating within a day teaches far less than coming back
(spacing effect: Cepeda et al. 2006, Psychological Bulletin 132, 354-380).
"""

from collections.abc import Sequence
from datetime import datetime

from app.domain.planning import PractisedTask

WEAKEST, STRONGEST = -1.0, 5.0  # strength: half-lives from half a day to 32 days
DAY = 86_400.0  # seconds


def strength(recent: Sequence[PractisedTask]) -> float:
    """Add up the days of the last tasks on a topic, UTC, each from -1 (all wrong) to 1 (all right)."""
    days: dict[object, list[bool]] = {}
    for done in recent:
        days.setdefault(done.at.date(), []).append(done.is_correct)
    return within(sum(step(sum(results) / len(results)) for results in days.values()))


def step(share_right: float) -> float:
    """Return what a day with this share of right answers adds to the strength."""
    return 2 * share_right - 1


def within(strength: float) -> float:
    return min(max(strength, WEAKEST), STRONGEST)


def due(days: float | None, strength: float) -> float:
    """Return the share that is likely forgotten, 0-1, so many days after the last practice; 1 where there was none."""
    return 1.0 if days is None else 1 - 2.0 ** (-max(days, 0.0) / 2.0**strength)


def days_since(recent: Sequence[PractisedTask], now: datetime) -> float | None:
    """Count the days since the last task; none where there is none."""
    return max((now - recent[0].at).total_seconds(), 0.0) / DAY if recent else None

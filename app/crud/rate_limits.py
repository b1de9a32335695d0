"""How often something may be tried: counted in the database, so by all processes and replicas together.

Whoever tries is counted before it is known how it goes, so that many at once can't slip through together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import ceil

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

LONGEST_WINDOW_SECONDS = 3600
CLEANED_AT_ONCE = 1000  # rows

# `had` is what stood there. A moment ahead of us is another transaction's, a minute ahead is a clock set back.
STEP = """step{i} AS (
    INSERT INTO rate_limits AS had (key, since, n)
    SELECT :key{i}, now(), 1 WHERE {let_on}
    ON CONFLICT (key) DO UPDATE SET
        since = CASE WHEN {goes_on} THEN had.since ELSE now() END, n = CASE WHEN {goes_on} THEN had.n + 1 ELSE 1 END
    RETURNING n, :seconds{i} - extract(epoch FROM now() - since) AS wait)"""
GOES_ON = "had.since > now() - make_interval(secs => :seconds{i}) AND had.since < now() + interval '1 minute'"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many tries in so many seconds, each window counted from its first try."""

    key: str  # what is tried by whom, see `key_of`
    most: int  # 0: no limit
    seconds: float


def key_of(what: str, *who: str) -> str:
    """Who it is, is stored as a hash only."""
    return f"{what} {sha256(chr(0).join(who).encode(errors='surrogatepass')).hexdigest()}"


def count(db: Session, limits: Sequence[Limit]) -> int:
    """Count one try against all of these limits; the seconds to wait where one is reached, else 0.

    A try that one limit refuses is not counted against those after it.
    """
    held = [limit for limit in limits if limit.most]
    if not held:
        return 0
    values = {f"{name}{i}": getattr(limit, name) for i, limit in enumerate(held) for name in Limit.__slots__}
    wait = db.scalar(_counting(len(held)), values)
    return 0 if wait is None else max(1, ceil(wait))


def forget(db: Session, limit: Limit) -> None:
    """Nothing was tried."""
    db.execute(text("DELETE FROM rate_limits WHERE key = :key"), {"key": limit.key})


def give_back(db: Session, limit: Limit) -> None:
    """One try less."""
    db.execute(text("UPDATE rate_limits SET n = n - 1 WHERE key = :key AND n > 0"), {"key": limit.key})


def clean(db: Session) -> None:
    """Remove counts whose time is over; what somebody is just counting is left alone."""
    db.execute(
        text("""DELETE FROM rate_limits WHERE key IN (
                    SELECT key FROM rate_limits WHERE since < now() - make_interval(secs => :seconds)
                    LIMIT :most FOR UPDATE SKIP LOCKED)"""),
        {"seconds": LONGEST_WINDOW_SECONDS, "most": CLEANED_AT_ONCE},
    )


@lru_cache
def _counting(n: int) -> TextClause:
    """One statement: each step counts only if the one before lets it on."""
    steps = [
        STEP.format(
            i=i,
            let_on=f"(SELECT n <= :most{i - 1} FROM step{i - 1})" if i else "true",
            goes_on=GOES_ON.format(i=i),
        )
        for i in range(n)
    ]
    refused = " UNION ALL ".join(f"SELECT wait FROM step{i} WHERE n > :most{i}" for i in range(n))
    return text(f"WITH {', '.join(steps)} {refused}")

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

from app.crud.rows import execute

LONGEST_WINDOW_SECONDS = 3600
CLEANED_AT_ONCE = 1000  # rows

# `had` is what stood there. A moment ahead of us is another transaction's, a minute ahead is a clock set back.
GOES_ON = "had.since > now() - make_interval(secs => :seconds{i}) AND had.since < now() + interval '1 minute'"
WAIT = ":seconds{i} - extract(epoch FROM now() - had.since) AS wait"
REACHED = "SELECT {wait} FROM rate_limits AS had WHERE key = :key{i} AND n >= :most{i} AND {goes_on}"
STEP = """step{i} AS (
    INSERT INTO rate_limits AS had (key, since, n)
    SELECT :key{i}, now(), 1 WHERE {let_on}
    ON CONFLICT (key) DO UPDATE SET
        since = CASE WHEN {goes_on} THEN had.since ELSE now() END, n = CASE WHEN {goes_on} THEN had.n + 1 ELSE 1 END
    RETURNING n, {wait})"""
REFUSED = "SELECT wait FROM step{i} WHERE n > :most{i}"
CLEAN = """
    DELETE FROM rate_limits WHERE key IN (
        SELECT key FROM rate_limits WHERE since < now() - make_interval(secs => :seconds)
        LIMIT :most FOR UPDATE SKIP LOCKED)"""
UNION = " UNION ALL "


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

    A try that is refused is not counted.
    """
    held = [limit for limit in limits if limit.most]
    if not held:
        return 0
    values = {f"{name}{i}": getattr(limit, name) for i, limit in enumerate(held) for name in Limit.__slots__}
    wait = db.scalar(_counting(len(held)), values)
    return 0 if wait is None else max(1, ceil(wait))


def forget(db: Session, limit: Limit) -> None:
    """Nothing was tried."""
    execute(db, "DELETE FROM rate_limits WHERE key = :key", key=limit.key)


def give_back(db: Session, limit: Limit) -> None:
    """One try less."""
    execute(db, "UPDATE rate_limits SET n = n - 1 WHERE key = :key AND n > 0", key=limit.key)


def clean(db: Session) -> None:
    """Remove counts whose time is over; what somebody is just counting is left alone."""
    execute(db, CLEAN, seconds=LONGEST_WINDOW_SECONDS, most=CLEANED_AT_ONCE)


@lru_cache
def _counting(n: int) -> TextClause:
    """One statement. Where a limit is reached nothing is written, so that a flood leaves nothing behind.

    Else each step counts, if the one before lets it on: of many that come at once each sees the count of the others.
    """
    reached = UNION.join(_written(REACHED, i) for i in range(n))
    let_on = ["NOT EXISTS (SELECT FROM reached)", *(f"(SELECT n <= :most{i} FROM step{i})" for i in range(n - 1))]
    steps = [_written(STEP, i, let_on[i]) for i in range(n)]
    refused = UNION.join(_written(REFUSED, i) for i in range(n))
    waits = f"SELECT max(wait) FROM (TABLE reached {UNION} {refused}) AS waits"
    return text(f"WITH reached AS ({reached}), {', '.join(steps)} {waits}")


def _written(part: str, i: int, let_on: str = "") -> str:
    return part.format(i=i, let_on=let_on, goes_on=GOES_ON.format(i=i), wait=WAIT.format(i=i))

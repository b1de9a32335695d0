"""Where a day begins: at midnight in a time zone."""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import available_timezones

NOT_PLACES = {"Factory", "localtime"}  # files beside the zones


@lru_cache
def zones() -> frozenset[str]:
    """The names of all time zones (IANA)."""
    return frozenset(available_timezones() - NOT_PLACES)


def checked_zone(name: str) -> str:
    """Return the name. Raises ValueError where no time zone has it."""
    if name not in zones():
        raise ValueError("must be the name of a time zone, such as Pacific/Auckland or UTC (IANA)")
    return name


def starts(zone: tzinfo, last: date, days: int) -> list[datetime]:
    """When each of so many days up to `last` begins in that zone, the last day first."""
    midnights = [datetime.combine(last - timedelta(day), time(), zone) for day in range(days)]
    return [midnight.astimezone(UTC) for midnight in midnights]


def starts_around(zone: tzinfo, now: datetime) -> list[datetime]:
    """When yesterday, today and tomorrow begin, by a clock that need not be the one that chooses among them."""
    return starts(zone, now.astimezone(zone).date() + timedelta(1), 3)

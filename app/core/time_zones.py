"""The time zone in which somebody's days begin and end."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from app.core.settings import settings
from app.domain.days import zones


def zone_of(name: str | None) -> ZoneInfo:
    """The zone of that name; the setting TIME_ZONE's where there is none, or no name."""
    return ZoneInfo(name if name in zones() else settings().time_zone)


def day_in(name: str | None, now: datetime) -> date:
    """The day that it is there."""
    return now.astimezone(zone_of(name)).date()

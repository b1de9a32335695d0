from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from app.domain.days import checked_zone, starts, starts_around, zones

NOW = datetime(2026, 11, 28, 20, 24, tzinfo=UTC)


def test_today_and_its_neighbours_begin_at_the_zones_own_midnights() -> None:
    assert starts_around(ZoneInfo("Pacific/Auckland"), NOW) == [
        datetime(2026, 11, day, 11, tzinfo=UTC)
        for day in (29, 28, 27)  # midnight is 13 hours before
    ]
    assert starts_around(ZoneInfo("Pacific/Honolulu"), NOW)[1] == datetime(2026, 11, 28, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "last", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 30), [23, 24]),  # clocks go forward on the 29th
        ("Europe/Berlin", date(2026, 10, 26), [25, 24]),
        ("Asia/Beirut", date(2026, 3, 30), [23, 24]),  # at midnight itself: the day begins at one o'clock
        ("America/Havana", date(2026, 11, 2), [25, 24]),  # midnight comes twice
    ],
)
def test_a_day_on_which_the_clocks_change_is_as_long_as_it_is(zone: str, last: date, hours: list[int]) -> None:
    begin = starts(ZoneInfo(zone), last, 3)
    assert [later - earlier for later, earlier in pairwise(begin)] == [timedelta(hours=each) for each in hours]


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "America", "localtime", "\x00", "+02:00"])
def test_what_is_no_time_zone_is_named_as_such(name: str) -> None:
    with pytest.raises(ValueError, match="name of a time zone, such as Pacific/Auckland"):
        checked_zone(name)


def test_every_zone_that_is_offered_can_be_reckoned_with() -> None:
    assert {"UTC", "Europe/Kyiv", "Asia/Calcutta", "Etc/GMT+12"} <= zones()
    for name in zones():
        assert len(starts_around(ZoneInfo(checked_zone(name)), NOW)) == 3

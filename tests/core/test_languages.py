import re
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from app.core import languages
from app.core.languages import Translator, chosen

APP = Path(languages.__file__).parents[1]
METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "translator": None,
    "ngettext": (1, 2),
    "many": (1, 2),
}
ENGLISH, GERMAN = Translator("en", UTC), Translator("de", ZoneInfo("Europe/Vienna"))


def sentences() -> set[str]:
    """All that the pages may say, as it stands in code and templates."""
    found = extract_from_dir(APP, METHODS, {"**.html": {"silent": "false"}}, KEYWORDS)
    return {message[0] if isinstance(message, tuple) else message for _, _, message, _, _ in found}


def values(said: Any) -> list[set[str]]:
    """What is filled in, by form: the same in both languages."""
    return [set(re.findall(r"%\((\w+)\)s", form)) for form in ([said] if isinstance(said, str) else said)]


def catalogue(language: str) -> Catalog:
    return read_po(BytesIO((languages.LOCALE / f"{language}.po").read_bytes()), locale=language)


@pytest.mark.parametrize("language", [name for name in languages.NAMES if name != languages.ENGLISH])
def test_every_sentence_is_there_in_every_language(language: str) -> None:
    kept = catalogue(language)
    known = {message.id[0] if isinstance(message.id, tuple) else message.id for message in kept if message.id}
    assert sorted(sentences() - known) == []
    assert sorted(known - sentences()) == []  # nothing that nobody says any more
    for message in kept:
        if message.id:
            assert all(message.string if isinstance(message.string, tuple) else [message.string]), message.id
            assert not message.fuzzy, message.id
            assert values(message.string) == values(message.id)


@pytest.mark.parametrize(
    ("preferred", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "de", "de"),
        (None, "de-CH,de;q=0.8,en;q=0.9", "de"),
        (None, "en-GB;q=0.9,de;q=0.5", "en"),
        (None, "fr,it;q=0.5", "en"),
        (None, "fr, de;q=0.1", "de"),
        ("de", "en", "de"),
        ("en", "de", "en"),
        ("xx", "de", "de"),
        (None, "de;q=nonsense, \x00", "en"),
    ],
)
def test_the_language_is_the_visitors(preferred: str | None, accepted: str, language: str) -> None:
    assert chosen(preferred, accepted) == language


def test_numbers_read_as_in_the_visitors_country() -> None:
    assert (ENGLISH.percent(0.637), GERMAN.percent(0.637)) == ("64%", "64\xa0%")
    assert (ENGLISH.number(12345.6), GERMAN.number(12345.6)) == ("12,346", "12.346")
    assert (ENGLISH.number(0.255, 2), GERMAN.number(0.255, 2)) == ("0.26", "0,26")
    assert GERMAN.today(datetime(2026, 11, 25, 23, 30, tzinfo=UTC)) == date(2026, 11, 26)
    assert (ENGLISH.short_day(date(2026, 11, 5)), GERMAN.short_day(date(2026, 11, 5))) == ("Nov 5", "5. Nov.")


@pytest.mark.parametrize(
    ("hours", "english", "german"),
    [
        (0, "today, 11:30\u202fPM", "heute, 00:30"),
        (-24, "yesterday, 11:30\u202fPM", "gestern, 00:30"),
        (1, "tomorrow, 12:30\u202fAM", "heute, 01:30"),
        (-72, "Nov 22, 2026, 11:30\u202fPM", "23.11.2026, 00:30"),
    ],
)
def test_a_moment_reads_the_same_everywhere_and_days_close_by_have_their_name(
    hours: int, english: str, german: str
) -> None:
    now = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
    at = now + timedelta(hours=hours)
    assert (ENGLISH.moment(at, now), GERMAN.moment(at, now)) == (english, german)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.44, "0.4 s"), (9.96, "10 s"), (45, "45 s"), (119.4, "119 s"), (120, "2 min"), (125, "2 min 5 s")),
        *((4200, "1 h 10 min"), (3600, "1 h")),
    ],
)
def test_a_time_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert ENGLISH.seconds(seconds) == text


def test_a_difference_has_its_sign() -> None:
    assert [ENGLISH.points(share) for share in (0.071, -0.029, 0.001, -0.001)] == ["+7", "−3", "0", "0"]

"""The languages of the pages: English as it stands in the code, the others from `locale/*.po`."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from pathlib import Path

from babel.dates import format_date, format_skeleton, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations

from app.core.http.content_negotiation import weight

LOCALE = Path(__file__).parent / "locale"
ENGLISH = "en"
NAMES = {ENGLISH: "English", "de": "Deutsch"}
MINUTE, HOUR = 60, 3600


def _(sentence: str) -> str:
    """Mark a sentence for the catalogues; it is translated when it is said."""
    return sentence


CLOSE_BY = {-1: _("yesterday"), 0: _("today"), 1: _("tomorrow")}  # days from today


def chosen(preferred: str | None, accept_language: str) -> str:
    """The language for a visitor: what they chose, else what the browser asks for, else English."""
    if preferred in NAMES:
        return preferred
    wanted = [(_wanted(accept_language, name), -place) for place, name in enumerate(NAMES)]
    best, place = max(wanted)
    return list(NAMES)[-place] if best > 0 else ENGLISH


def _wanted(accept_language: str, name: str) -> float:
    """How much, 0-1; `de-AT` counts for German (RFC 4647, section 3.3.1)."""
    tags = {part.partition(";")[0].strip().lower() for part in accept_language.split(",")}
    return max((weight(accept_language, tag) for tag in tags if tag.partition("-")[0] == name), default=0.0)


@lru_cache
def catalogue(language: str) -> Translations:
    """The sentences of a language, read from its .po file."""
    if language == ENGLISH:
        return Translations()
    compiled = io.BytesIO()
    with (LOCALE / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


@lru_cache
def sentences(language: str) -> dict[str, Callable[..., str]]:
    """What templates call: `_(sentence, name=...)` and `ngettext(one, several, n)`."""
    found = catalogue(language)

    def said(sentence: str, **values: object) -> str:
        told = found.gettext(sentence)
        return told % values if values else told

    def many(one: str, several: str, n: int, **values: object) -> str:
        return found.ngettext(one, several, n) % {"num": _decimal(n, language), **values}

    return {"_": said, "ngettext": many}


@lru_cache(4096)  # a page with charts says hundreds of numbers, mostly the same ones
def _decimal(value: float, language: str) -> str:
    return format_decimal(value, locale=language, decimal_quantization=False)


@lru_cache(4096)
def _percent(share: float, language: str) -> str:
    return format_percent(share, locale=language)


@dataclass(frozen=True, slots=True)
class Translator:
    """How a visitor is spoken to: sentences, numbers and dates in their language and time zone."""

    language: str
    zone: tzinfo

    def __call__(self, sentence: str, **values: object) -> str:
        return sentences(self.language)["_"](sentence, **values)

    def many(self, one: str, several: str, n: int, **values: object) -> str:
        """The singular or the plural, as n asks for."""
        return sentences(self.language)["ngettext"](one, several, n, **values)

    def number(self, value: float, digits: int = 0) -> str:
        return _decimal(round(value, digits) + 0.0, self.language)

    def percent(self, share: float) -> str:
        return _percent(round(share, 2) + 0.0, self.language)

    def signed(self, value: float) -> str:
        """A whole number with its sign."""
        return f"{round(value) or 0:+d}".replace("-", "−").replace("+0", "0")

    def points(self, share: float) -> str:
        """A difference of shares, in points."""
        return self.signed(100 * share)

    def seconds(self, value: float) -> str:
        """`45 s`, `2 min 5 s`, `1 h 10 min`."""
        whole = round(value)
        if whole < MINUTE * 2:
            return f"{self.number(value, 1 if value < 10 else 0)} s"
        if whole < HOUR:
            minutes, rest = divmod(whole, MINUTE)
            return f"{minutes} min {rest} s" if rest else f"{minutes} min"
        hours, rest = divmod(round(whole / MINUTE), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"

    def day(self, value: date) -> str:
        """`Nov 29, 2026`"""
        return format_date(value, "medium", locale=self.language)

    def short_day(self, value: date) -> str:
        """`Nov 29`, for an axis."""
        return format_skeleton("MMMd", datetime(value.year, value.month, value.day), locale=self.language)

    def weekday(self, value: date) -> str:
        """`Sun, Nov 29`, for a plan."""
        return format_skeleton("MMMEd", datetime(value.year, value.month, value.day), locale=self.language)

    def moment(self, value: datetime, now: datetime | None = None) -> str:
        """`today, 4:42 PM`, `Nov 27, 2026, 4:42 PM`"""
        there, here = self.today(value), self.today(now or datetime.now(UTC))
        close = CLOSE_BY.get((there - here).days)
        day = self(close) if close else self.day(there)
        return f"{day}, {format_time(value, 'short', tzinfo=self.zone, locale=self.language)}"

    def today(self, now: datetime) -> date:
        return now.astimezone(self.zone).date()


IN_ENGLISH = Translator(ENGLISH, UTC)

"""What single fields may hold, wherever they are given: in a request, on the command line, in a console."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from app.domain.characters import checked, tidy
from app.domain.days import checked_zone
from app.domain.interactions import SECONDS_MAX

LONGEST = 200  # characters


def _to_store(text: str) -> str:
    return _short(tidy(checked(text)))


def _as_imported(text: str) -> str:
    """A student's text means who an import makes of it, which leaves the spaces in it as they are."""
    return _short(checked(text))


def _to_look_up(text: str) -> str:
    """Texts that were stored before there were rules are found."""
    if "\x00" in text:
        raise ValueError("must not hold the character NUL")
    return _short(tidy(text))


def _short(text: str) -> str:
    if len(text) > LONGEST:  # a few letters take two characters in NFC
        raise ValueError(f"String should have at most {LONGEST} characters")
    return text


def _written_out(moment: object) -> object:
    """A bare number, which could be seconds or milliseconds, is no moment."""
    if isinstance(moment, str) and "T" not in moment.upper():
        raise ValueError("must be a date and a time with their zone, such as 2026-11-29T12:00:00Z")
    return moment


_Trimmed = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST)]
Text200 = Annotated[_Trimmed, AfterValidator(_to_store)]
StudentText = Annotated[_Trimmed, AfterValidator(_as_imported)]
StoredText = Annotated[_Trimmed, AfterValidator(_to_look_up)]
TimeZone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64), AfterValidator(checked_zone)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
RightOrWrong = Annotated[bool, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=SECONDS_MAX, allow_inf_nan=False)]

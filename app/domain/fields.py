"""What single fields may hold, wherever they are given: in a request, on the command line, in a console."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from app.domain.interactions import SECONDS_MAX


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character NUL")
    return text


Text200 = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_storable)
]
RightOrWrong = Annotated[bool, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=SECONDS_MAX, allow_inf_nan=False)]

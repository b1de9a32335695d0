"""Between which times answers stay: the documents' 5 to 600 s, and further where finished tasks took less or more."""

import numpy as np
from numpy.typing import NDArray

from app.core.settings import settings
from app.domain.attempts import LEAST_SECONDS, plausible
from app.domain.interactions import SECONDS_MAX

Floats = NDArray[np.float64]
Limits = tuple[float, float]  # seconds, the least and the most

USUAL: Limits = (5.0, 600.0)
RARE, FEW = 0.005, 2  # share and number of times at either end that may be slips, such as a window left open
BELOW, ABOVE = 2.0, 3.0  # how far beyond the others an answer may lie; long times vary more


def time_limits(seconds: Floats) -> Limits:
    """The limits that hold n finished times and some more, n >= 0; never narrower than 5 to 600 s."""
    if len(seconds) == 0:
        return USUAL
    rare = min(max(RARE, FEW / len(seconds)), 0.5)
    least, most = np.quantile(plausible(seconds), [rare, 1 - rare])
    low, high = max(float(least) / BELOW, LEAST_SECONDS), min(float(most) * ABOVE, SECONDS_MAX)
    return min(low, USUAL[0]), max(high, USUAL[1])


def limits(found: Limits = USUAL) -> Limits:
    """Those that MIN_SECONDS and MAX_SECONDS set, and where one is not set, the one that was found."""
    return within(found, settings().min_seconds, settings().max_seconds)


def within(found: Limits, least: float | None, most: float | None) -> Limits:
    """The limits that are given; the others as found, but on the right side of these."""
    low, high = (found[0] if least is None else least), (found[1] if most is None else most)
    return (min(low, high), high) if least is None else (low, max(low, high))

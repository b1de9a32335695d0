"""What a fit does not show: items that contradict the others, hidden by alpha > 0, and answers that are there twice."""

import numpy as np
from numpy.typing import NDArray

from app.domain.responses import Responses
from app.ml.lnirt.data import Floats, Ints

CLEARLY = 2.0  # standard errors below what is usual among the items
NAMED = 10
TINY = 1e-12
MOST = 0.999999  # correlation of which Fisher's z is finite


def remarks(answers: Responses) -> list[str]:
    """A sentence for each thing that a reader of the figures should know."""
    return [*_contrary(answers), *_repeated(answers)]


def _contrary(answers: Responses) -> list[str]:
    items, correlations, persons = rest_correlations(answers)
    known = ~np.isnan(correlations) & (persons > 3)  # as Fisher's standard error asks
    z = np.arctanh(np.clip(correlations, -MOST, MOST))
    usual = np.median(z[known]) if known.any() else 0.0
    below = known & (correlations < 0) & ((usual - z) * np.sqrt(np.maximum(persons - 3, 0)) > CLEARLY)
    contrary = [(str(items[k]), float(correlations[k])) for k in np.argsort(correlations) if below[k]]
    if not contrary:
        return []
    named = ", ".join(f"{item} ({r:.2f})" for item, r in contrary[:NAMED])
    more = f" and {len(contrary) - NAMED:,} more" if len(contrary) > NAMED else ""
    return [
        f"Better persons get these items wrong more often (correlation with the rest of the answers): {named}{more}. "
        "Is the key right? alpha can't show it, being above 0."
    ]


def rest_correlations(answers: Responses) -> tuple[NDArray[np.str_], Floats, Ints]:
    """Correlate each item with how its persons did on their other items; NaN where nothing varies.

    Returns:
        The items (k,), their correlations (k,) and by how many answers (k,).

    An answer counts by how far it is from the item's share right, so persons may have met different items.
    """
    marked = ~np.isnan(answers.correct)
    items, item = np.unique(np.array(answers.item)[marked], return_inverse=True)
    _, person = np.unique(np.array(answers.person)[marked], return_inverse=True)
    correct = np.array(answers.correct)[marked]
    residual = correct - (np.bincount(item, correct) / np.bincount(item))[item]
    own = np.unique(person * len(items) + item, return_inverse=True)[1]  # a person's answers to one item
    others = np.bincount(person)[person] - np.bincount(own)[own]
    rest = (np.bincount(person, residual)[person] - np.bincount(own, residual)[own]) / np.maximum(others, 1)
    used = others > 0
    item, residual, rest = item[used], residual[used], rest[used]
    n = np.bincount(item, minlength=len(items))

    def mean(values: Floats) -> Floats:
        """Average by item."""
        return np.bincount(item, values, len(items)) / np.maximum(n, 1)

    residual, rest = residual - mean(residual)[item], rest - mean(rest)[item]
    spread = np.sqrt(mean(residual**2) * mean(rest**2))
    varies = spread > TINY
    return items, np.where(varies, mean(residual * rest) / np.where(varies, spread, 1.0), np.nan), n


def _repeated(answers: Responses) -> list[str]:
    """Say which answers are of a person to an item once more; LNIRT takes them as further answers."""
    before: dict[tuple[str, str], set[tuple[float, float]]] = {}
    again = same = 0
    first = ""
    for person, item, *said in zip(answers.person, answers.item, answers.correct, answers.seconds, strict=True):
        known, told = before.setdefault((person, item), set()), (said[0], said[1])
        again += bool(known)
        same += told in known
        if known and not first:
            first = f"{person} at {item}"
        known.add(told)
    if not again:
        return []
    alike = f", {same:,} of them with the same result and time" if same else ""
    return [f"{again:,} answers are of a person to an item that they had answered before{alike}; the first: {first}."]

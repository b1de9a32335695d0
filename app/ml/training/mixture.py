"""How much each kind has to say: shares of a linear pool of chances and of log times.

The shares are those under which the holdout rows were most likely (stacking: Yao, Vehtari, Simpson & Gelman 2018,
Bayesian Analysis 13, 917-1007), beside a Dirichlet prior that leaves nearly all to the base while there are few rows;
found by EM. A student counts for a bounded share of the rows. From one training to the next they move so far that the
answers change by little.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from app.domain.kinds import BASE
from app.domain.shares import Share, Shares
from app.ml.training.gate import Evaluation, HoldoutSet

Floats = NDArray[np.float64]

PRIOR_ROWS = 20.0  # rows that what is believed beforehand counts for
OF_BASE = 0.95  # share that the base has beforehand
LEAST = 0.08  # with a smaller share by the holdout rows a kind is to have no part
EM_STEPS = 60
SAME = 0.002, 0.005  # mean difference of chance, of log time: a kind that answers like the base has no part
FAR = 3.0  # standard deviations of the log time that an error counts for
MOST_MOVED = 0.04  # mean change of the chance by other shares, from one training to the next
MOST_SLOWED = 0.08  # the same of the log time
DIGITS = 3  # of a share


def shares(holdout: HoldoutSet, evaluations: Mapping[str, Evaluation], before: Shares) -> dict[str, Share]:
    """Of the kinds that serve from now on; `before` are those of the kinds that served until now.

    Where nearly all holdout rows are one student's, nothing changes hands.
    """
    usable = {kind: each for kind, each in evaluations.items() if each.is_finite}
    if BASE not in usable:
        return {}
    known = wanted = {kind: before.get(kind, Share()) for kind in usable}
    if holdout.of_several and not holdout.unfit:
        chance = _stacked(holdout, usable, _chances(usable), 0)
        time = _stacked(holdout, usable, _times(holdout, usable), 1)
        wanted = {kind: Share(chance[kind], time[kind]) for kind in usable}
    return _whole(_stepped(_whole(known), _whole(wanted), usable), DIGITS)


def _chances(evaluations: Mapping[str, Evaluation]) -> dict[str, Floats]:
    """Likelihood of right and wrong, (n,) by kind."""
    return {kind: np.exp(-each.losses) for kind, each in evaluations.items()}


def _times(holdout: HoldoutSet, evaluations: Mapping[str, Evaluation]) -> dict[str, Floats]:
    """Likelihood of the log times under normal distributions with each kind's own spread, up to a factor."""
    found = {}
    for kind, each in evaluations.items():
        spread = np.sqrt(holdout.mean(np.minimum(each.time_errors, FAR**2)) + 1e-6)
        squares = np.minimum(each.time_errors / spread**2, FAR**2)
        found[kind] = np.exp(-squares / 2) / spread
    return found


def _stacked(
    holdout: HoldoutSet, evaluations: Mapping[str, Evaluation], likelihood: Mapping[str, Floats], output: int
) -> dict[str, float]:
    """The share of each kind by EM; those that answer like the base, or clearly worse, have none."""
    base = evaluations[BASE]
    others = {kind: each for kind, each in evaluations.items() if kind != BASE}
    kinds = [BASE, *(kind for kind, each in others.items() if _differs(holdout, each, base, output))]
    rows = np.stack([likelihood[kind] for kind in kinds])  # (k, n)
    if len(kinds) == 1:
        return {kind: float(kind == BASE) for kind in evaluations}
    prior = PRIOR_ROWS * np.array([OF_BASE, *[(1 - OF_BASE) / (len(kinds) - 1)] * (len(kinds) - 1)])
    weight, share = holdout.weights * holdout.rows_in_effect, prior / prior.sum()
    for _ in range(EM_STEPS):
        parts = share[:, None] * rows
        share = (parts / np.maximum(parts.sum(axis=0), 1e-300)) @ weight + prior
        share /= share.sum()
    found = dict(zip(kinds, np.where(share < LEAST, 0.0, share).tolist(), strict=True))
    return {kind: found.get(kind, 0.0) for kind in evaluations}


def _differs(holdout: HoldoutSet, each: Evaluation, base: Evaluation, output: int) -> bool:
    if output == 0:
        off = np.abs(each.answers.probability - base.answers.probability)
        return bool(off.mean() > SAME[0]) and not holdout.clearly_greater(each.losses, base.losses)
    off = np.abs(np.log(each.answers.seconds / base.answers.seconds))
    return bool(off.mean() > SAME[1]) and not holdout.clearly_greater(each.time_errors, base.time_errors)


def _stepped(before: Shares, wanted: Shares, evaluations: Mapping[str, Evaluation]) -> dict[str, Share]:
    """As far from `before` to `wanted` as the answers to older and newer tasks may move."""

    def pooled(of: Shares, what: str) -> Floats:
        columns = ((evaluations[kind], getattr(share, what)) for kind, share in of.items())
        pairs = ((each.panel if what == "chance" else np.log(each.answers.seconds), share) for each, share in columns)
        return np.asarray(sum(values * share for values, share in pairs), np.float64)

    steps = {}
    for what, most in (("chance", MOST_MOVED), ("time", MOST_SLOWED)):
        moved = float(np.abs(pooled(wanted, what) - pooled(before, what)).mean())
        steps[what] = min(1.0, most / moved) if moved > 0 else 1.0
    return {
        kind: Share(*(_between(getattr(before[kind], w), getattr(wanted[kind], w), step) for w, step in steps.items()))
        for kind in wanted
    }


def _between(one: float, other: float, step: float) -> float:
    return one + step * (other - one)


def _whole(found: Shares, digits: int = 15) -> dict[str, Share]:
    """The same adding up to 1; where nobody has a part, all of it the base's."""
    columns = []
    for what in ("chance", "time"):
        values = {kind: getattr(share, what) for kind, share in found.items()}
        total = sum(values.values())
        columns.append({k: round(v / total, digits) if total else float(k == BASE) for k, v in values.items()})
    return {kind: Share(columns[0][kind], columns[1][kind]) for kind in found}

"""What items have in common: a topic, a level, and the cell of both.

Each group's part is drawn from a normal distribution whose variance is learnt, so that few answers leave an item near
its cell, and a cell near the sum of its topic and its level. Linear mixed model by mean-field EM (Neal & Hinton 1998).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.ml.lnirt.data import Floats, Ints

SWEEPS = 50
GROUP_WEIGHT = 3.0  # groups that the variances believed beforehand are worth


def groups_of(cells: Sequence[tuple[str, str]]) -> list[tuple[dict[Hashable, int], Ints]]:
    """Of K items' cells (topic, difficulty): for topic, difficulty and cell the groups, and each item's, (K,)."""
    return [codes_of([topic for topic, _ in cells]), codes_of([difficulty for _, difficulty in cells]), codes_of(cells)]


def codes_of(labels: Iterable[Hashable]) -> tuple[dict[Hashable, int], Ints]:
    """The distinct labels in the order in which they came, and each one's place among them."""
    index: dict[Hashable, int] = {}
    return index, np.array([index.setdefault(label, len(index)) for label in labels], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class MixedModel:
    """K items as mean + a part of each level's group + their own part, each column (P,) by itself."""

    mean: Floats  # (P,)
    mean_var: Floats
    groups: list[tuple[Floats, Floats, Floats]]  # means and variances (G, P), variance among groups (P,), a level
    spread: Floats  # (P,) variance among items of the same groups
    offset: Floats  # (K, P) sum of the means of each item's groups
    offset_var: Floats  # (K, P) sum of their variances


def mixed_model(estimate: Floats, precision: Floats, believed: Floats, codes: Sequence[Ints]) -> MixedModel:
    """Fit K items' estimates and their precisions (K, P); `codes` (K,) has each one's group on each level.

    Coordinate ascent: each group's mean given the others', then the variances from squares plus uncertainty, beside the
    variance (P,) among items that is `believed` beforehand.
    """
    share = believed / (len(codes) + 1)
    mean, mean_var, item_spread = estimate.mean(axis=0), share, share
    parts, spreads = [np.zeros_like(estimate) for _ in codes], [share for _ in codes]
    groups: list[tuple[Floats, Floats, Floats]] = []
    for _ in range(SWEEPS):
        weight = 1 / (1 / precision + item_spread)
        total = weight.sum(axis=0)
        mean, mean_var = (weight * (estimate - sum(parts))).sum(axis=0) / total, 1 / total
        groups = []
        for level, code in enumerate(codes):
            others = sum(part for place, part in enumerate(parts) if place != level)
            groups.append(_shrunken(estimate - mean - others, weight, code, spreads[level], share))
            parts[level], spreads[level] = groups[level][0][code], groups[level][2]
        off = estimate - mean - sum(parts)
        own = 1 / (precision + 1 / item_spread)
        squares = (own * precision * off) ** 2 + own
        item_spread = (squares.sum(axis=0) + GROUP_WEIGHT * share) / (len(estimate) + GROUP_WEIGHT)
    unsure = sum((group[1][code] for group, code in zip(groups, codes, strict=True)), np.zeros_like(estimate))
    return MixedModel(mean, mean_var, groups, item_spread, sum(parts, np.zeros_like(estimate)), unsure)


def _shrunken(rest: Floats, weight: Floats, code: Ints, spread: Floats, share: Floats) -> tuple[Floats, Floats, Floats]:
    """Posterior means and variances of one level's groups, and the variance among them."""
    size = int(code.max()) + 1
    total, pull = np.zeros((size, weight.shape[1])), np.zeros((size, weight.shape[1]))
    np.add.at(total, code, weight)
    np.add.at(pull, code, weight * rest)
    var = 1 / (total + 1 / spread)
    mean = var * pull
    spread = ((mean**2 + var).sum(axis=0) + GROUP_WEIGHT * share) / (size + GROUP_WEIGHT)
    return mean, var, spread

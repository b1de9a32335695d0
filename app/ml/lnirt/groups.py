"""What items have in common: a topic, a level, and the cell of both.

Each group's part is drawn from a normal distribution whose variance is learnt, so that few answers leave an item near
its cell, and a cell near the sum of its topic and its level.

Linear mixed model by mean-field EM (Neal & Hinton 1998).
"""

from collections.abc import Hashable, Sequence

import numpy as np

from app.ml.lnirt.data import Floats, Ints

SWEEPS = 50
GROUP_WEIGHT = 3.0  # groups that the variances believed beforehand are worth


def groups_of(cells: Sequence[tuple[str, str]]) -> list[tuple[dict[Hashable, int], Ints]]:
    """Of K items' cells (topic, difficulty): for topic, difficulty and cell the groups, and each item's, (K,)."""
    return [_codes([topic for topic, _ in cells]), _codes([difficulty for _, difficulty in cells]), _codes(cells)]


def _codes(labels: Sequence[Hashable]) -> tuple[dict[Hashable, int], Ints]:
    index: dict[Hashable, int] = {}
    return index, np.array([index.setdefault(label, len(index)) for label in labels], dtype=np.int64)


def mixed_model(
    estimate: Floats, precision: Floats, codes: list[Ints], believed: Floats
) -> tuple[Floats, Floats, list[tuple[Floats, Floats, Floats]], Floats]:
    """Mean, its variance, (means, variances, spread) of each level's groups, and the spread of items (all per column).

    Coordinate ascent: each group's mean given the others', then the variances from squares plus uncertainty.
    """
    share = believed / (len(codes) + 1)
    item_spread = share.copy()
    mean, mean_var = estimate.mean(axis=0), share
    sizes = [int(code.max()) + 1 for code in codes]
    groups = [(np.zeros((size, len(believed))), np.tile(share, (size, 1)), share.copy()) for size in sizes]
    for _ in range(SWEEPS):
        weight = 1 / (1 / precision + item_spread)
        rest = estimate - sum(group[0][code] for group, code in zip(groups, codes, strict=True))
        mean, mean_var = (weight * rest).sum(axis=0) / weight.sum(axis=0), 1 / weight.sum(axis=0)
        for level, code in enumerate(codes):
            others = [g[0][c] for i, (g, c) in enumerate(zip(groups, codes, strict=True)) if i != level]
            groups[level] = _shrunken(estimate - mean - sum(others), weight, code, groups[level][2], share)
        off = estimate - mean - sum(group[0][code] for group, code in zip(groups, codes, strict=True))
        own = 1 / (precision + 1 / item_spread)
        squares = (own * precision * off) ** 2 + own
        item_spread = (squares.sum(axis=0) + GROUP_WEIGHT * share) / (len(estimate) + GROUP_WEIGHT)
    return mean, mean_var, groups, item_spread


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

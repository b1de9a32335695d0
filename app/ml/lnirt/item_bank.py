"""Parameters for any task: the item itself, or what its topic and difficulty let us expect of it.

An item's parameters (alpha, beta, phi, lambda, log sigma2) are taken as

    population mean + topic + difficulty + (topic, difficulty) cell + the item's own part

each part drawn from a normal distribution whose variance is learnt from the fitted items. So an unseen item gets its
cell's mean, an unseen cell the sum of its topic and difficulty, an unseen topic the population's mean for that
difficulty: each shrunken towards the next wider group as far as the data leave it uncertain, and with that
uncertainty in its `ItemParameters`. Linear mixed model by mean-field EM (Neal & Hinton 1998).
"""

import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from app.ml.lnirt.ability import columns_of
from app.ml.lnirt.data import Floats
from app.ml.lnirt.estimation import LnirtFit
from app.ml.lnirt.groups import groups_of, mixed_model
from app.ml.lnirt.population import ItemParameters, Population

Cell = tuple[str, str]  # topic, difficulty

UNSEEN = object()  # no label of an item
LEAST_SLOPE = 0.1
SLIP = 2.5  # standard deviations of log times, students and items together
BANK_PARTS = ("topics", "difficulties", "by_cell")
LOG_SIGMA2_VAR = 0.25  # of log sigma2 between items, beforehand


@dataclass(frozen=True, slots=True)
class Effects:
    """One level's groups (G of them; P = 5 parameters): means and variances (G, P), variance among groups (P,)."""

    index: dict[Hashable, int]
    mean: Floats
    var: Floats
    spread: Floats

    def of(self, group: Hashable) -> tuple[Floats, Floats]:
        """Mean and variance of the group; one that was not seen is 0 and as wide as groups differ."""
        at = self.index.get(group)
        return (np.zeros_like(self.spread), self.spread) if at is None else (self.mean[at], self.var[at])


@dataclass(frozen=True)
class ItemBank:
    """Parameters of the fitted items, and of those that are not among them."""

    population: Population
    pattern: Floats  # (4, 4) covariance of alpha, beta, phi and lambda among items: only its correlations count
    items: dict[Hashable, ItemParameters]
    mean: Floats  # (5,)
    mean_var: Floats
    topics: Effects
    difficulties: Effects
    by_cell: Effects
    spread: Floats  # (5,) variance among items of a cell

    @classmethod
    def build(cls, fit: LnirtFit, cells: Sequence[Cell]) -> "ItemBank":
        """Learn the groups from a fit and the (topic, difficulty) of each of its items, in the order of `fit.items`."""
        if len(cells) != len(fit.items):
            raise ValueError(f"expected the cell of {len(fit.items)} items, got {len(cells)}")
        levels = groups_of([(str(topic), str(difficulty)) for topic, difficulty in cells])
        found = mixed_model(*_seen(fit), [code for _, code in levels])
        items = _known(fit, found.mean + found.offset, found.mean_var + found.offset_var + found.spread)
        topics, difficulties, by_cell = (
            Effects(index, *group) for (index, _), group in zip(levels, found.groups, strict=True)
        )
        return cls(
            fit.population, fit.prior_cov, items, found.mean, found.mean_var, topics, difficulties, by_cell,
            found.spread,
        )  # fmt: skip

    def find(self, item: Hashable | None, topic: str | None, difficulty: str | None) -> ItemParameters:
        """Parameters for a task; None or a new label = not known. A cell that is itself an item counts as one."""
        if item is None and topic is not None and difficulty is not None:
            item = cell_label(topic, difficulty)
        if item in self.items:
            return self.items[item]
        parts = self.topics.of(topic), self.difficulties.of(difficulty), self.by_cell.of((topic, difficulty))
        mean = self.mean + sum(part[0] for part in parts)
        var = self.mean_var + self.spread + sum(part[1] for part in parts)
        mean[[0, 2]] = np.maximum(mean[[0, 2]], LEAST_SLOPE)
        sigma2 = float(np.exp(mean[4] + 0.5 * var[4]))
        return ItemParameters.estimated(mean[:4], _correlated(var[:4], self.pattern), sigma2, self.population)

    def save(self, folder: Path, prefix: str = "") -> None:
        """Write lnirt.npz (plain arrays, no pickle) and lnirt.json (labels), with this before their names."""
        folder.mkdir(parents=True, exist_ok=True)
        groups = {name: getattr(self, name) for name in BANK_PARTS}
        arrays = {name: getattr(self, name) for name in ("pattern", "mean", "mean_var", "spread")}
        arrays["items"] = columns_of(list(self.items.values())).T
        arrays |= {
            f"{name}.{part}": getattr(each, part) for name, each in groups.items() for part in ("mean", "var", "spread")
        }
        with (folder / f"{prefix}lnirt.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        labels = {name: list(each.index) for name, each in groups.items()}
        labels["items"] = [str(each) for each in self.items]
        kept = {"population": asdict(self.population), "labels": labels}
        (folder / f"{prefix}lnirt.json").write_text(json.dumps(kept))

    @classmethod
    def load(cls, folder: Path, prefix: str = "") -> "ItemBank":
        """The inverse of `save`; ValueError or KeyError where something is missing or not finite."""
        kept = json.loads((folder / f"{prefix}lnirt.json").read_text())
        if "labels" not in kept:
            raise ValueError(f"{folder.name} was written by an earlier release; the next training replaces it")
        with np.load(folder / f"{prefix}lnirt.npz", allow_pickle=False) as file:
            arrays = dict(file)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("expected finite numbers in lnirt.npz")
        labels = kept["labels"]
        rows = zip(labels["items"], arrays["items"].tolist(), strict=True)
        items: dict[Hashable, ItemParameters] = {name: ItemParameters(*row) for name, row in rows}
        groups = []
        for name in BANK_PARTS:
            index = {tuple(each) if isinstance(each, list) else each: place for place, each in enumerate(labels[name])}
            groups.append(Effects(index, *(arrays[f"{name}.{part}"] for part in ("mean", "var", "spread"))))
        topics, difficulties, by_cell = groups
        return cls(
            Population(**kept["population"]), arrays["pattern"], items, arrays["mean"], arrays["mean_var"],
            topics, difficulties, by_cell, arrays["spread"],
        )  # fmt: skip


@lru_cache(1024)
def cell_label(topic: str, difficulty: str) -> str:
    """The item label of a task that names no exercise: its cell is the item."""
    return json.dumps([topic, difficulty], ensure_ascii=False)


def _seen(fit: LnirtFit) -> tuple[Floats, Floats, Floats]:
    """What the answers alone say of each item: estimates and precisions (K, 5), the fit's own prior taken out again.

    Also the variance (5,) among items that the fit believes.
    """
    believed = np.append(np.diag(fit.prior_cov), LOG_SIGMA2_VAR)
    centre = np.column_stack([fit.prior_mean + fit.offset, np.full(len(fit.items), np.log(fit.prior_sigma2))])
    value = np.column_stack([fit.alpha, fit.beta, fit.phi, fit.lambda_, np.log(fit.sigma2)])
    var = np.column_stack([fit.item_cov[:, range(4), range(4)], (fit.sigma2_se / fit.sigma2) ** 2])
    held = np.append(1 / believed[:4], 2.0)  # sigma2 enters a fit with four answers' weight: precision 4 / 2
    precision = np.maximum(1 / var - held, 1e-6)
    return centre + (value - centre) / (var * precision) * (1 / var > held + 1e-6), precision, believed


def _correlated(var: Floats, pattern: Floats) -> Floats:
    """A covariance with these variances (..., 4) and the correlations of `pattern` (4, 4)."""
    sd = np.sqrt(np.diag(pattern))
    root = np.sqrt(var)
    return np.asarray(root[..., :, None] * root[..., None, :] * (pattern / np.outer(sd, sd)))


def _known(fit: LnirtFit, expected: Floats, around: Floats) -> dict[Hashable, ItemParameters]:
    """The fitted items, each as its answers and its groups say together: few answers leave it near its cell."""
    held = np.linalg.inv(fit.prior_cov)
    value = np.column_stack([fit.alpha, fit.beta, fit.phi, fit.lambda_])
    precision = np.linalg.inv(fit.item_cov)
    group = np.linalg.inv(_correlated(around[:, :4], fit.prior_cov))
    cov = np.linalg.inv(precision - held + group)
    own = (fit.prior_mean + fit.offset)[:, :, None]
    pull = precision @ value[:, :, None] - held @ own + group @ expected[:, :4, None]
    mean = (cov @ pull)[:, :, 0]
    mean[:, [0, 2]] = np.maximum(mean[:, [0, 2]], LEAST_SLOPE)
    labels: list[Hashable] = fit.items.tolist()
    return {
        label: ItemParameters.estimated(mean[k], cov[k], float(fit.sigma2[k]), fit.population)
        for k, label in enumerate(labels)
    }

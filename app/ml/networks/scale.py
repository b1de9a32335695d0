"""How raw inputs become numbers around 0: logarithms of counts and times, then a Keras `Normalization`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.ml.features.history import COUNT_UNITS, FEATURES, SECONDS_UNIT
from app.ml.features.inputs import BLOCK_ROWS, INPUT_GROUPS, ITEM_UNIT, NETWORK_INPUTS, SESSION_UNIT

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
LEAST_VARIANCE = 0.01  # of a transformed input, where all rows have the same
OUTCOME = 3  # numbers of a finished task: right (1) or wrong (-1), log seconds, log seconds since the finish before

COUNTS: dict[str, float] = dict(zip(FEATURES[2::3], COUNT_UNITS.tolist(), strict=True))
COUNTS |= {"session_tasks": SESSION_UNIT, "item_task_count": ITEM_UNIT}


def unit_of(name: str) -> float:
    """What an input is multiplied by to be in tasks or seconds again; 0 for one that is no count, time or share."""
    if name.endswith("_time") and not name.startswith("base"):
        return SECONDS_UNIT
    return COUNTS.get(name, 1.0 if name.endswith(("_rate", "_result")) else 0.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """What is known of the rows before the training begins. An input x enters as log(1 + units x) + factors x."""

    low: Floats  # (26,) the least of each input; what lies beyond low and high counts as these
    high: Floats  # (26,)
    units: Floats  # (26,) of what enters as a logarithm, else 0
    factors: Floats  # (26,) of what enters as it is, else 0
    mean: Floats  # (26,) of the transformed inputs
    variance: Floats  # (26,)
    outcome_mean: Floats  # (3,)
    outcome_variance: Floats  # (3,)

    @classmethod
    def of(cls, inputs: Singles, outcomes: Floats, groups: Sequence[str]) -> "Scale":
        """From n rows to learn from: (n, 26), (n, 3). Inputs that no group names are 0 for all."""
        names = {name for group in groups for name in INPUT_GROUPS.get(group, (group,))}
        units = np.array([unit_of(name) if name in names else 0.0 for name in NETWORK_INPUTS])
        factors = np.array([float(name in names and unit_of(name) == 0) for name in NETWORK_INPUTS])
        low, high = inputs.min(axis=0).astype(np.float64), inputs.max(axis=0).astype(np.float64)
        ranges = low, high, units, factors
        moments = []
        for column, *of_column in zip(inputs.T, *ranges, strict=True):  # one after another: none is there twice
            x = transformed(column.astype(np.float64), *of_column)
            moments.append((x.mean(), x.var()))
        input_mean, input_variance = np.array(moments).T
        mean, variance = np.append(0.0, outcomes[:, 1:].mean(axis=0)), np.append(1.0, outcomes[:, 1:].var(axis=0))
        return cls(*ranges, input_mean, input_variance + LEAST_VARIANCE, mean, variance + LEAST_VARIANCE)

    def transformed(self, inputs: Floats | Singles) -> Floats:
        """The inputs (..., 26) before normalising."""
        return transformed(inputs, self.low, self.high, self.units, self.factors)

    def normalised(self, inputs: Floats | Singles) -> Floats:
        """As the first layer sees them, (..., 26)."""
        return np.asarray((self.transformed(inputs) - self.mean) / np.sqrt(self.variance))

    def singles(self, inputs: Singles, rows: NDArray[np.intp]) -> Singles:
        """`normalised`, in single precision, of m rows of the inputs (n, 26): (m, 26)."""
        found = np.empty((len(rows), inputs.shape[1]), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            found[part] = self.normalised(inputs[rows[part]])
        return found

    def normalised_outcomes(self, outcomes: Floats) -> Floats:
        """As the steps of a sequence see them, (..., 3)."""
        return np.asarray((outcomes - self.outcome_mean) / np.sqrt(self.outcome_variance))

    def layers(self, inputs: "keras.KerasTensor") -> "keras.KerasTensor":
        """`normalised` as layers of Keras: in doubles, as the served arrays do it, for a small variance magnifies."""
        from keras import layers, ops

        kept = self.to_dict()
        within = ops.clip(ops.cast(inputs, "float64"), kept["low"], kept["high"])
        logs = ops.log1p(layers.Rescaling(kept["units"], dtype="float64", name="units")(within))
        plain = layers.Rescaling(kept["factors"], dtype="float64", name="factors")(within)
        x = layers.Add(dtype="float64")([logs, plain])
        scale = layers.Normalization(mean=kept["mean"], variance=kept["variance"], dtype="float64", name="scale")
        return ops.cast(scale(x), "float32")

    def outcome_layers(self, outcomes: "keras.KerasTensor") -> "keras.KerasTensor":
        """`normalised_outcomes` as a layer of Keras."""
        from keras import layers

        mean, variance = self.outcome_mean.tolist(), self.outcome_variance.tolist()
        return layers.Normalization(mean=mean, variance=variance, name="outcome_scale")(outcomes)

    def to_dict(self) -> dict[str, list[float]]:
        return {name: getattr(self, name).tolist() for name in self.__slots__}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Sequence[float]]) -> "Scale":
        """Back from `to_dict`."""
        return cls(**{name: np.array(values) for name, values in kept.items()})


def transformed(inputs: Floats | Singles, low: Floats, high: Floats, units: Floats, factors: Floats) -> Floats:
    """The inputs (..., 26) before normalising, or one of them (n,); all else as in `Scale`, (26,) or one's number.

    Nothing is said of what was never seen: an input beyond what the training rows showed counts as the outermost.
    """
    within = np.minimum(np.maximum(inputs, low), high)
    logs: Floats = np.log1p(within * units)
    logs += within * factors
    return logs

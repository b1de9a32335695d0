"""What V2 has learnt and where its training stands: all weights of both networks in one vector, and their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.ml.embedding_model_v2 import EMBEDDING_START, IDS, LAYERS, NORMS, Sizes
from app.ml.inputs import INPUTS

Singles = NDArray[np.float32]
Arrays = dict[str, Singles]  # weights by name; the first axis is the network: correctness, time


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The learnt weights of one network and of its guess at the other's answer, by name."""
    tables = zip(IDS, sizes.rows, sizes.lengths, strict=True)
    made: dict[str, tuple[int, ...]] = {f"{name}_vector": (rows, length) for name, rows, length in tables}
    width = sum(sizes.lengths) + len(INPUTS)
    for units in LAYERS:
        made |= {f"dense_{units}_kernel": (width, units), f"dense_{units}_bias": (units,)}
        if f"norm_{units}" in NORMS:
            made |= {f"norm_{units}_gamma": (units,), f"norm_{units}_beta": (units,)}
        width = units
    return made | {"score_kernel": (width, 2), "score_bias": (2,)}  # chance and time: its own answer, and a guess


def statistics(units: Sequence[int] = LAYERS[: len(NORMS)]) -> dict[str, tuple[int, ...]]:
    """What the batch norms remember of the batches."""
    return {f"norm_{u}_{which}": (u,) for u in units for which in ("mean", "variance")}


def start(sizes: Sizes, seed: int) -> Arrays:
    """Weights that know nothing yet: small vectors, kernels after Glorot and Bengio (2010), no answer but the bias."""
    random = np.random.default_rng(seed)
    made: Arrays = {}
    for name, shape in shapes(sizes).items():
        if name.endswith("_vector"):  # close to nothing, so that an id seen twice hardly differs from one never seen
            value = random.uniform(-EMBEDDING_START, EMBEDDING_START, (2, *shape))
        elif name.endswith("_kernel") and not name.startswith("score"):
            most = np.sqrt(6 / sum(shape))
            value = random.uniform(-most, most, (2, *shape))
        else:
            value = np.full((2, *shape), float(name.endswith("_gamma")))
        made[name] = value.astype(np.float32)
    for name, shape in statistics().items():
        made[name] = np.full((2, *shape), float(name.endswith("_variance")), np.float32)
    return made


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands; each vector holds all that is learnt, in the order of `shapes`."""

    flat: Singles  # (w,) weights
    mean: Singles  # (w,) Adam's
    square: Singles  # (w,) Adam's
    calm: Singles  # (w,) running mean of the weights: what is judged and kept
    seen: Arrays  # of the batch norms
    calm_seen: Arrays
    step: int

    @classmethod
    def fresh(cls, weights: Arrays) -> "State":
        """Nothing learnt yet."""
        flat = np.concatenate([weights[name].ravel() for name in weights if name not in statistics()])
        seen = {name: weights[name] for name in statistics()}
        return cls(flat, np.zeros_like(flat), np.zeros_like(flat), flat, seen, seen, 0)

    def copy(self) -> "State":
        return State.of_arrays({name: part.copy() for name, part in self.arrays().items()})

    def arrays(self) -> Arrays:
        """For `np.savez`."""
        vectors: Arrays = {name: getattr(self, name) for name in VECTORS}
        memories = {f"{which}.{name}": part for which in MEMORIES for name, part in getattr(self, which).items()}
        return vectors | memories | {"step": np.array(self.step, np.float32)}

    @classmethod
    def of_arrays(cls, kept: Mapping[str, Singles]) -> "State":
        """Back from `arrays`."""
        flat, mean, square, calm = (kept[name] for name in VECTORS)
        seen, calm_seen = ({name: kept[f"{which}.{name}"] for name in statistics()} for which in MEMORIES)
        return cls(flat, mean, square, calm, seen, calm_seen, int(kept["step"]))

    def with_room(self, old: Sizes, new: Sizes) -> "State":
        """With more names, which begin as the unknown one's vector; lengths stay."""
        grown = {name: _grown(getattr(self, name), old, new, name in ("flat", "calm")) for name in VECTORS}
        return State.of_arrays(self.arrays() | grown)


VECTORS, MEMORIES = ("flat", "mean", "square", "calm"), ("seen", "calm_seen")


def _grown(vector: Singles, old: Sizes, new: Sizes, like_unknown: bool) -> Singles:
    """The vector with room for more names: in each table rows behind the last."""
    parts = named(vector, old)
    for name, rows in zip(IDS, new.rows, strict=True):
        table = parts[f"{name}_vector"]
        more = np.repeat(table[:, :1] * np.float32(like_unknown), rows - table.shape[1], axis=1)
        parts[f"{name}_vector"] = np.concatenate([table, more], axis=1)
    return np.concatenate([part.ravel() for part in parts.values()])


def joined(correctness: State, time: State, sizes: Sizes) -> State:
    """The one network of the first state and the other of the second."""
    both = correctness.copy()
    for name in VECTORS:
        theirs = named(getattr(time, name), sizes)
        for part, ours in named(getattr(both, name), sizes).items():
            ours[1] = theirs[part][1]
    for which in MEMORIES:
        for part, ours in getattr(both, which).items():
            ours[1] = getattr(time, which)[part][1]
    return replace(both, step=max(correctness.step, time.step))


def named(flat: Singles, sizes: Sizes) -> Arrays:
    """Views of the one vector by name, (2, ...) each."""
    ends = np.cumsum([2 * int(np.prod(shape)) for shape in shapes(sizes).values()])[:-1]
    parts = zip(shapes(sizes).items(), np.split(flat, ends), strict=True)
    return {name: part.reshape(2, *shape) for (name, shape), part in parts}


def weights_of(state: State, sizes: Sizes) -> Arrays:
    """What is kept of a training, by name."""
    return named(state.calm, sizes) | state.calm_seen

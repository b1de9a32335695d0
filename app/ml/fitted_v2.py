"""V2 fresh from its training: what serves, the Keras networks, and where a later training goes on, on disk."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.ml.networks.calibration import Calibration
from app.ml.embedding_model_v2 import OUTPUTS, Scale, Sizes, folded, network, set_weights
from app.ml.fitting import HeldOut, Names, TrainingFailed
from app.ml.inputs import INPUTS
from app.ml.kinds import GOES_ON_FROM
from app.ml.numpy_v2 import KIND, METADATA_FILE, WEIGHTS_FILE, NumpyV2
from app.ml.v2_state import State, weights_of

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Asked = tuple[list[str], list[str], list[str], list[str | None], Floats]  # what a version is asked, as columns of n

FILES = ("correctness_model.keras", "time_model.keras")
SAME_PROBABILITY = 1e-5
SAME_SECONDS = 1e-4  # relative


@dataclass(frozen=True)
class FittedV2:
    """Both networks after training, with the names and scales they were trained with."""

    state: State
    sizes: Sizes
    students: Names
    topics: Names
    difficulties: Names
    items: Names
    groups: tuple[str, ...]  # of the inputs
    scale: Scale
    held_out: HeldOut = field(default_factory=HeldOut)
    average: tuple[float, ...] = ()  # (24,) inputs of the tasks it was fitted on
    calibration: Calibration = field(default_factory=Calibration)
    report: dict[str, Any] = field(default_factory=dict)  # held-out scores

    def names(self) -> tuple[Names, Names, Names, Names]:
        """In the order of the networks' inputs."""
        return self.students, self.topics, self.difficulties, self.items

    def metadata(self) -> dict[str, Any]:
        """What the arrays need to be read: names in embedding order, inputs, calibration, scores."""
        return {
            "kind": KIND,
            "inputs": list(INPUTS),
            "groups": list(self.groups),
            "students": list(self.students.known),
            "topics": list(self.topics.known),
            "difficulties": list(self.difficulties.known),
            "items": list(self.items.known),
            "lengths": list(self.sizes.lengths),
            "scale": asdict(self.scale),
            "calibration": self.calibration.to_dict(),
            "average": list(self.average),
            "report": self.report,
        }

    def serving(self) -> NumpyV2:
        """The same model without TensorFlow."""
        return NumpyV2(folded(weights_of(self.state, self.sizes), self.scale), self.metadata())

    def models(self) -> tuple["keras.Model", "keras.Model"]:
        """The Keras networks."""
        weights, models = weights_of(self.state, self.sizes), [network(self.sizes, o, self.scale) for o in OUTPUTS]
        for which, model in enumerate(models):
            set_weights(model, weights, which)
        return models[0], models[1]

    def save(self, folder: Path) -> None:
        """Write both Keras models, the served arrays, metadata.json and where a training may go on; and check that the
        first two say the same.

        Raises TrainingFailed when the arrays differ from Keras on golden rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        models = self.models()
        for model, file in zip(models, FILES, strict=True):
            model.save(folder / file)
        folded(weights_of(self.state, self.sizes), self.scale).save(folder / WEIGHTS_FILE)
        np.savez(folder / GOES_ON_FROM, allow_pickle=False, **{**self.state.arrays(), **self.held_out.arrays()})
        (folder / METADATA_FILE).write_text(json.dumps(self.metadata(), indent=1, ensure_ascii=False), encoding="utf-8")
        self._compare(models, NumpyV2.load(folder))

    @classmethod
    def load(cls, folder: Path) -> "FittedV2":
        """What `save` wrote, to go on from; raises ValueError, KeyError or OSError where it can't be read."""
        kept = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        names = [Names.of_known(kept[each]) for each in ("students", "topics", "difficulties", "items")]
        with np.load(folder / GOES_ON_FROM, allow_pickle=False) as arrays:
            state, held_out = State.of_arrays(arrays), HeldOut.of_arrays(arrays)
        return cls(
            state,
            Sizes.with_lengths([len(each.known) for each in names], kept["lengths"]),
            names[0],
            names[1],
            names[2],
            names[3],
            tuple(kept["groups"]),
            Scale.from_dict(kept["scale"]),
            held_out,
            tuple(kept["average"]),
            Calibration.from_dict(kept["calibration"]),
            kept["report"],
        )

    def raw(self, models: Sequence["keras.Model"], *asked: Any) -> tuple[Floats, Floats]:
        """Probabilities and seconds (n,) by the Keras networks themselves; arguments as of `NumpyV2.predict`."""
        *columns, inputs = asked
        ids = []
        for column, names in zip(columns, self.names(), strict=True):
            place: dict[str | None, int] = {name: index for index, name in enumerate(names.known, start=1)}
            ids.append(np.array([place.get(name, 0) for name in column], np.int32))
        given = [*ids, inputs.astype(np.float32)]
        p, seconds = (np.asarray(model(given, training=False))[:, 0].astype(np.float64) for model in models)
        return p, seconds

    def _compare(self, models: Sequence["keras.Model"], served: NumpyV2) -> None:
        rows = golden_rows(self)
        p, seconds = self.raw(models, *rows)
        served_p, served_seconds = served.raw(*rows)
        if not np.allclose(served_p, p, rtol=0, atol=SAME_PROBABILITY):
            raise TrainingFailed("the exported arrays give other probabilities than the Keras model")
        if not np.allclose(served_seconds, seconds, rtol=SAME_SECONDS, atol=0):
            raise TrainingFailed("the exported arrays give other times than the Keras model")


def golden_rows(fitted: FittedV2) -> Asked:
    """64 tasks, a quarter of the names unknown or none, with no past or a long one, times up to 5,000 s."""
    random = np.random.default_rng(0)

    def some(names: Names, otherwise: str | None = "\0 nobody") -> list[Any]:
        known = random.integers(0, max(len(names.known), 1), 64)
        return [names.known[place] if names.known and random.random() < 0.75 else otherwise for place in known]

    inputs = random.random((64, len(INPUTS)))
    for column, name in enumerate(INPUTS):
        if name.endswith("_time"):
            inputs[:, column] = random.lognormal(0, 1.5, 64).clip(0, 50)
        elif name.startswith("log_since"):
            inputs[:, column] *= 14
        elif name.endswith(("_count", "_tasks")):
            inputs[:, column] *= random.choice([0, 1, 50], 64)
    return some(fitted.students), some(fitted.topics), some(fitted.difficulties), some(fitted.items, None), inputs

"""A trained network on disk: two Keras models, the arrays that are served, and where a later training goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.domain.kinds import CHECKPOINT
from app.ml.calibration.calibration import INTERCEPT_SD, Calibration
from app.ml.features.inputs import NETWORK_INPUTS
from app.ml.features.vocabulary import Vocabulary
from app.ml.networks.base_inputs import BaseInputs
from app.ml.networks.inference import (
    METADATA_FILE,
    OF_PAST,
    WEIGHTS_FILE,
    ServedNetwork,
    load_arrays,
    read_metadata,
    save_arrays,
)
from app.ml.networks.loop import MOMENTS, State
from app.ml.networks.network import OUTPUTS, Examples, Network, Output, Sizes
from app.ml.networks.scale import Scale

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
FILES: dict[Output, str] = {"correctness": "correctness_model.keras", "time": "time_model.keras"}
LOSSES: dict[Output, str] = {"correctness": "binary_crossentropy", "time": "mean_squared_logarithmic_error"}
FIT_RATE = 1e-4  # learning rate of the saved models: what a training ends with, about
SAME_PROBABILITY = 1e-6
SAME_SECONDS = 1e-5  # relative


class TrainingFailed(ValueError):
    """No model came out; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """k tasks that were answered before they were learnt from, oldest first: what calibrates. (k,) each.

    `student` is the place in the network's vocabulary, 0 where it had learnt nothing of the student before.
    """

    p: Floats = field(default_factory=lambda: np.zeros(0))
    predicted: Floats = field(default_factory=lambda: np.zeros(0))  # seconds
    correct: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    seconds: Floats = field(default_factory=lambda: np.zeros(0))
    student: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def calibration(self, intercept_sd: float = INTERCEPT_SD) -> Calibration:
        said = self.correct, self.p, self.seconds, self.predicted, self.student
        return Calibration.fitted(*said, intercept_sd=intercept_sd)

    def of_vocabulary(self, before: Vocabulary, now: Vocabulary) -> "HeldOut":
        """The same with students' places in another vocabulary."""
        index = {name: place for place, name in enumerate(now.student, start=1)}
        places = np.array([0, *(index.get(name, 0) for name in before.student)], np.int32)
        return replace(self, student=places[self.student])

    def still_true(self, vocabulary: Vocabulary, attempts: Attempts) -> "HeldOut":
        """Without what no longer stands among the attempts of its student, who is among theirs: a result that was
        corrected or taken back. Of strangers all stays."""
        place = vocabulary.places(attempts)[0]
        known = np.isin(self.student, place[place > 0])
        so = _triples(place, attempts.correct, attempts.seconds)
        kept = ~known | np.isin(_triples(self.student, self.correct, self.seconds), so)
        return HeldOut(*(getattr(self, name)[kept] for name in self.__slots__))

    def and_then(self, newer: "HeldOut", most: int) -> "HeldOut":
        """These and newer ones, the newest `most` of them."""
        return HeldOut(*(np.concatenate([getattr(self, n), getattr(newer, n)])[-most:] for n in self.__slots__))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For `np.savez`."""
        return {f"held_out.{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def of_arrays(cls, kept: Any) -> "HeldOut":
        """Back from `arrays`; an earlier release wrote no students."""
        unknown = {"held_out.student": np.zeros(len(kept["held_out.p"]), np.int32)}
        return cls(*((unknown | kept)[f"held_out.{name}"] for name in cls.__slots__))


def _triples(student: NDArray[np.int32], correct: NDArray[np.bool_], seconds: Floats) -> NDArray[np.void]:
    """Whose, right or wrong, and in which time, of n tasks as one column that can be compared, (n,)."""
    columns = np.ascontiguousarray(np.column_stack([student, correct, seconds]), np.float64)
    return columns.view(np.dtype((np.void, columns.itemsize * 3)))[:, 0]


@dataclass(frozen=True)
class FittedNetwork:
    """Both networks after training, with the names and the scale they were trained with."""

    network: Network
    sizes: Sizes
    vocabulary: Vocabulary
    scale: Scale
    state: State
    held_out: HeldOut = field(default_factory=HeldOut)
    average: tuple[float, ...] = ()  # (26,) inputs of the tasks it was fitted on
    base: BaseInputs | None = None  # that it corrects
    calibration: Calibration = field(default_factory=Calibration)
    report: dict[str, Any] = field(default_factory=dict)  # held-out scores

    def metadata(self) -> dict[str, Any]:
        """What the arrays need to be read: names in embedding order, inputs, scale, calibration, scores."""
        return {
            "kind": self.network.name,
            "network": asdict(self.network),
            "inputs": list(NETWORK_INPUTS),
            "keras_inputs": [
                {"name": name, "shape": list(shape), "dtype": dtype}
                for name, (shape, dtype) in self.network.inputs().items()
            ],
            "names": self.vocabulary.to_dict(),
            "lengths": list(self.sizes.lengths),
            "scale": self.scale.to_dict(),
            "calibration": self.calibration.to_dict(),
            "average": list(self.average),
            "report": self.report,
        }

    def served(self) -> ServedNetwork:
        """The same model without TensorFlow."""
        served = self.network.served(self.state.mean, json.loads(json.dumps(self.metadata())))
        return served.on(self.base) if self.base else served

    def examples(self, attempts: Attempts, rows: NDArray[np.intp], inputs: Singles) -> Examples:
        """These rows as the network is asked them; `inputs` (n, 26) are raw."""
        return self.network.examples(attempts, rows, self.vocabulary, inputs, self.scale)

    def with_names(self, attempts: Attempts, rows: NDArray[np.intp]) -> "FittedNetwork":
        """With vectors for the names of these rows too, which begin as the unknown one's; lengths stay."""
        vocabulary = self.network.grown(self.vocabulary, attempts, rows)
        sizes = self.network.sizes(vocabulary, self.sizes.lengths)
        arrays, rows_of = self.state.arrays(), {f"{name}_vector/embeddings": rows for name, rows, _ in sizes.tables()}
        for key, array in arrays.items():
            part, _, name = key.partition(".")
            if name in rows_of:
                fill = np.repeat(array[:, :1] * np.float32(part not in MOMENTS), rows_of[name] - array.shape[1], axis=1)
                arrays[key] = np.concatenate([array, fill], axis=1)
        return replace(self, vocabulary=vocabulary, sizes=sizes, state=State.of_arrays(arrays))

    def model(self, output: Output) -> "keras.Model":
        """The compiled Keras model of one output: raw inputs as `keras_inputs` has them -> calibrated answer (n, 1).

        Its `fit` goes on where the training ended, with the optimizer's moments. Batch norms are frozen in it, so that
        it may go on with a single task: the statistics of one row would make all rows the same.
        """
        import keras
        from keras import layers

        which = OUTPUTS.index(output)
        weights, *moments = (
            self._own(arrays, which) for arrays in (self.state.mean, *(self.state.moments[name] for name in MOMENTS))
        )
        core = self.network.layers(self.sizes, 1)
        for variable in core.variables:
            if variable.path in weights:  # not where random numbers come from
                variable.assign(weights[variable.path])
        for layer in core.layers:
            layer.trainable = not isinstance(layer, layers.BatchNormalization)
        inputs = {
            name: keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in self.network.inputs().items()
        }
        scaled = {**inputs, "inputs": self.scale.layers(inputs["inputs"])}
        if "past_outcomes" in inputs:
            scaled["past_outcomes"] = self.scale.outcome_layers(inputs["past_outcomes"])
        score = layers.Reshape((1,))(core(self.network.one_task(scaled)))
        c, base = self.calibration, inputs["inputs"][:, OF_PAST + which : OF_PAST + which + 1]
        if output == "correctness":
            odds = layers.Add(name="base")([score, base])
            answer = layers.Activation("sigmoid")(layers.Rescaling(c.slope, c.intercept, name="calibration")(odds))
        else:
            multiples, seconds = layers.Activation(self.network.link)(score), layers.Activation("exponential")(base)
            corrected = layers.Multiply(name="base")([multiples, seconds])
            answer = layers.Rescaling(float(np.exp(c.shift)), name="calibration")(corrected)
        model = keras.Model(list(inputs.values()), answer, name=output)
        model.compile(keras.optimizers.AdamW(FIT_RATE, weight_decay=self.network.schedule.decay), LOSSES[output])
        model.optimizer.build(model.trainable_variables)
        values = [each[v.path] for v in model.trainable_variables for each in moments]  # as Keras keeps them
        for slot, value in zip(model.optimizer.variables[2:], values, strict=True):  # behind its count and its rate
            slot.assign(value)
        model.optimizer.iterations.assign(self.state.step)
        return model

    def _own(self, arrays: Mapping[str, NDArray[Any]], which: int) -> dict[str, NDArray[Any]]:
        """One network's; of the last layer only what is its own answer: the guess at the other's is dropped."""
        place = 0 if self.network.is_joint else which
        return {
            name: array[place][..., which : which + 1] if name.startswith("score/") else array[place]
            for name, array in arrays.items()
        }

    def save(self, folder: Path) -> None:
        """Write both Keras models, the served arrays, metadata.json and where a training goes on, and check that the
        first two say the same.

        Raises TrainingFailed when the arrays differ from Keras on golden rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        models = [self.model(output) for output in OUTPUTS]
        for output, model in zip(OUTPUTS, models, strict=True):
            model.save(folder / FILES[output])
        save_arrays(folder / WEIGHTS_FILE, self.state.mean)
        save_arrays(folder / CHECKPOINT, {**self.state.arrays(), **self.held_out.arrays()})
        (folder / METADATA_FILE).write_text(json.dumps(self.metadata(), indent=1, ensure_ascii=False), encoding="utf-8")
        self.compare(models, self.served())

    @classmethod
    def load(cls, network: Network, folder: Path) -> "FittedNetwork":
        """What `save` wrote, to go on from; raises ValueError, KeyError or OSError where it can't be read."""
        own, kept = read_metadata(network, folder)
        arrays, vocabulary = load_arrays(folder / CHECKPOINT), Vocabulary.from_dict(kept["names"])
        return cls(
            own,
            own.sizes(vocabulary, kept["lengths"]),
            vocabulary,
            Scale.from_dict(kept["scale"]),
            State.of_arrays(arrays),
            HeldOut.of_arrays(arrays),
            tuple(kept["average"]),
            calibration=Calibration.from_dict(kept["calibration"]),
            report=kept["report"],
        )

    def compare(self, models: Sequence["keras.Model"], served: ServedNetwork) -> None:
        """Raise TrainingFailed where the served arrays say something else than Keras on made-up tasks."""
        raw = self.network.golden(self.vocabulary)
        p, seconds = (
            np.asarray(model(list(raw.values()), training=False))[:, 0].astype(np.float64) for model in models
        )
        said = served.answers_of(raw)
        if not np.allclose(said.probability, p, rtol=0, atol=SAME_PROBABILITY):
            off = np.abs(said.probability - p).max()
            raise TrainingFailed(f"`served` gives other probabilities than the Keras model, by up to {off:.2g}")
        if not np.allclose(said.seconds, seconds, rtol=SAME_SECONDS, atol=0):
            off = np.abs(said.seconds / seconds - 1).max()
            raise TrainingFailed(f"`served` gives other times than the Keras model, by up to {off:.2g} of them")

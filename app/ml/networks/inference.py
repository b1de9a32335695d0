"""Networks as they are served: plain arrays and NumPy, both outputs in one pass. TensorFlow is not needed here."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.core.db.statements import QueryFlow
from app.crud.student_totals import StudentHistory
from app.domain.attempts import Attempts, shards
from app.domain.tasks import TaskRequest
from app.ml.answers import Answer, Answers
from app.ml.calibration.calibration import Calibration
from app.ml.features.inputs import NETWORK_INPUTS, inputs_of, inputs_of_past, known_before
from app.ml.features.vocabulary import IDS, Vocabulary
from app.ml.networks.base_inputs import BaseInputs
from app.ml.networks.scale import Scale

if TYPE_CHECKING:
    from app.ml.networks.network import Network

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Places = NDArray[np.integer[Any]]
Arrays = Mapping[str, NDArray[Any]]

WEIGHTS_FILE = "weights.npz"
METADATA_FILE = "metadata.json"
OF_PAST = len(NETWORK_INPUTS) - 2  # inputs, before the base's two
EPSILON = 1e-3  # of Keras' batch norms


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write plain arrays."""
    np.savez(path, allow_pickle=False, **dict(arrays))


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read plain arrays; a file with anything else in it is refused by NumPy."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


class ServedNetwork(ABC):
    """Predicts from names, inputs and past; unknown names are answered by the vector trained for strangers.

    What a network knows of a past beside the inputs is its own affair; one that knows nothing more leaves it at None.
    """

    batch: ClassVar[int] = 8192  # tasks of a pass

    base: BaseInputs | None = None

    def __init__(self, network: "Network", weights: Arrays, metadata: dict[str, Any]) -> None:
        self.name, self.metadata, self.kind = network.name, metadata, network
        self.scale, self.calibration = (
            Scale.from_dict(metadata["scale"]),
            Calibration.from_dict(metadata["calibration"]),
        )
        self.vocabulary = Vocabulary.from_dict(metadata["names"])
        self.index = [
            {name: place for place, name in enumerate(getattr(self.vocabulary, kind), start=1)} for kind in IDS
        ]
        both = {name: np.repeat(array, 2 // len(array), axis=0) for name, array in weights.items()}  # of one or two
        own = np.arange(2)  # each network's own answer, not its guess at the other's
        self.score_kernel = both["score/kernel"][own, :, own][..., None]  # (2, u, 1)
        self.score_bias = both["score/bias"][own, own][:, None, None]  # (2, 1, 1)
        self.tables = [both[f"{name}_vector/embeddings"] for name in IDS]
        self.prepare(both)

    @abstractmethod
    def prepare(self, weights: Arrays) -> None:
        """Bring the weights (2, ...) by name into the form in which they are used."""

    @abstractmethod
    def scores(self, ids: Sequence[Places | slice], inputs: Floats, past: Any) -> Floats:
        """What the networks say of n tasks before sigmoid and link, (2, n)."""

    def asked(self, ids: Sequence[Places | slice], inputs: Floats) -> Singles:
        """The vectors of n tasks and their scaled inputs, as both networks have them, (2, n, lengths + 26)."""
        x = self.scale.normalised(inputs).astype(np.float32)
        vectors = [table[:, places] for table, places in zip(self.tables, ids, strict=True)]
        return np.concatenate([*vectors, np.broadcast_to(x, (2, *x.shape))], axis=-1)

    def scored(self, x: Singles) -> Floats:
        """What the last layer makes of (2, n, u), (2, n)."""
        return np.asarray((x @ self.score_kernel + self.score_bias)[..., 0], np.float64)

    def past_of(self, attempts: Attempts, rows: NDArray[np.intp], places: Places) -> Any:
        """What `scores` is to know of each of these rows' past; `places` (4, all) are the ids of all rows."""
        return None

    def past_of_task(
        self, version_id: int, asked: TaskRequest, at: datetime, n: int, changed_at: datetime | None = None
    ) -> QueryFlow[Any]:
        """The same for one task, which is created `at` that moment after `n` finished ones; `changed_at` as in
        StudentHistory, none: nothing is kept."""
        return None
        yield  # what makes it a query flow

    def past_of_raw(self, raw: Arrays) -> Any:
        """The same from the Keras models' inputs."""
        return None

    def places(self, asked: TaskRequest, n: int = 1) -> list[Places | slice]:
        """Index in the embeddings of one task's ids; of a single one as a slice, for which NumPy copies nothing."""
        names = (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id)
        found = [index.get(name, 0) for index, name in zip(self.index, names, strict=True)]
        return [slice(place, place + 1) if n == 1 else np.full(n, place) for place in found]

    def answer(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Answer]:
        """The prediction for one task."""
        base = yield from self.corrected().of_task(asked, past)
        inputs = np.concatenate([inputs_of_past(past), base], axis=1)
        known = yield from self.past_of_task(version_id, asked, past.at, past.n, past.changed_at)
        return self.answers_of_scores(self.scores(self.places(asked), inputs, known), inputs)[0]

    def varied(self, version_id: int, asked: TaskRequest, inputs: Floats, at: datetime) -> QueryFlow[Answers]:
        """What it says of m variations of one task's inputs (m, 26), the last as they were; the past is the same."""
        n = round(float(inputs[-1, NETWORK_INPUTS.index("overall_task_count")] * 100))
        known = yield from self.past_of_task(version_id, asked, at, n)
        scores = self.scores(self.places(asked, len(inputs)), inputs, self.repeated(known, len(inputs)))
        return self.answers_of_scores(scores, inputs)

    def answer_then(self, version_id: int, asked: TaskRequest, inputs: Floats, at: datetime) -> QueryFlow[Answer]:
        """What it says of a task that was created `at` an earlier moment, from its inputs (24,); nothing is kept."""
        return (yield from self.varied(version_id, asked, inputs[None], at))[0]

    def repeated(self, past: Any, n: int) -> Any:
        """One task's past, for n of them."""
        return past

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        """The same for these rows of `attempts`, each from what its student had finished when it was created."""
        scores, of_base = np.empty((2, len(rows))), np.empty((len(rows), len(NETWORK_INPUTS) - OF_PAST))
        for shard in shards(attempts, rows):  # nobody else's past matters
            scores[:, shard.places], of_base[shard.places] = self._asked_of(shard.attempts, shard.asked)
        return self.answers_of_scores(scores, of_base)

    def _asked_of(self, own: Attempts, asked: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """The scores of a shard's students, (2, m), and what the base says, (m, 2)."""
        inputs, places = np.zeros((len(own), len(NETWORK_INPUTS))), self.vocabulary.places(own)
        inputs[asked, :OF_PAST] = inputs_of(known_before(own))[asked]
        inputs[asked, OF_PAST:] = self.corrected().of_attempts(own, asked)
        parts = [
            self.scores(list(places[:, part]), inputs[part], self.past_of(own, part, places))
            for part in np.split(asked, range(self.batch, len(asked), self.batch))
        ]
        return np.concatenate(parts, axis=1), inputs[asked, OF_PAST:]

    def corrected(self) -> BaseInputs:
        """The base; raises ValueError where there is none, for then there is nothing to correct."""
        if self.base is None:
            raise ValueError(f"{self.name} corrects LNIRT, of which no version is here")
        return self.base

    def on(self, base: BaseInputs) -> "ServedNetwork":
        """The same network, correcting this base."""
        other = copy(self)
        other.base = base
        return other

    def answers_of_scores(self, scores: Floats, inputs: Floats) -> Answers:
        """Calibrated answers with their bounds, not clipped, from scores (2, n) and inputs (n, ...), of which the last
        two are what the base says."""
        odds, log_time = inputs[:, -2], inputs[:, -1]
        return self.calibration.answers_of_scores(scores[0] + odds, self.kind.multiples(scores[1]) * np.exp(log_time))

    def answers_of(self, raw: Arrays) -> Answers:
        """The same from raw inputs by name, as the Keras models take them; n tasks."""
        scores = self.scores([raw[name] for name in IDS], raw["inputs"], self.past_of_raw(raw))
        return self.answers_of_scores(scores, np.asarray(raw["inputs"], np.float64))


def read_metadata(network: "Network", folder: Path) -> tuple["Network", dict[str, Any]]:
    """The network with its own settings, and all else that metadata.json says.

    Raises ValueError if the folder holds another kind of model.
    """
    metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    if metadata.get("kind") != network.name or tuple(metadata.get("inputs", ())) != NETWORK_INPUTS:
        raise ValueError(f"expected an {network.name} model with the inputs of this version in {folder}")
    if "network" not in metadata:
        raise ValueError(f"{folder.name} was written by an earlier release; the next training replaces it")
    return network.of_dict(metadata["network"]), metadata


def load_served(network: "Network", folder: Path) -> ServedNetwork:
    """Read what `FittedNetwork.save` wrote; raises ValueError as `read_metadata` does."""
    own, metadata = read_metadata(network, folder)
    return own.served(load_arrays(folder / WEIGHTS_FILE), metadata)


def dense(weights: Arrays, layer: str) -> tuple[Singles, Singles]:
    """Kernel (2, in, out) and bias (2, 1, out) of a layer."""
    return np.ascontiguousarray(weights[f"{layer}/kernel"]), weights[f"{layer}/bias"][:, None]


def relu(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.maximum(x, 0))

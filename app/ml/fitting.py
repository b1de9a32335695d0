"""What the trainings of all networks share: how they fail, tell how far they are, and number the names they know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[dict[str, Any]], None]


class TrainingFailed(ValueError):
    """No model came out; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Names:
    """The ids that have a vector of their own, in embedding order from index 1."""

    known: tuple[str, ...]
    places: NDArray[np.int32]  # position in the attempts' ids -> index in the embedding, 0 = unknown

    @classmethod
    def seen(cls, names: Sequence[str], rows: NDArray[np.int32]) -> "Names":
        """Only ids that the training part shows can have learnt anything; a row of -1 names none."""
        used = np.unique(rows[rows >= 0])
        places = np.zeros(len(names), np.int32)
        places[used] = np.arange(1, len(used) + 1)
        return cls(tuple(names[place] for place in used), places)

    def of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Index in the embedding of each row's id; -1 counts as unknown."""
        return np.append(self.places, np.int32(0))[rows]

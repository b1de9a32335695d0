"""Which ids have a vector of their own in a network's embeddings. Index 0 is for all others: strangers, new topics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts

IDS = ("student", "topic", "difficulty", "item")
MOST = {"student": 2_000, "item": 4_000}  # that have a vector of their own: those with most tasks
Rows = NDArray[np.intp] | slice


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known names in embedding order, from index 1 on."""

    student: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    difficulty: tuple[str, ...] = ()
    item: tuple[str, ...] = ()

    def grown(self, attempts: Attempts, rows: Rows, without: Sequence[str] = ()) -> "Vocabulary":
        """The same names, and behind them those that these rows bring, while there is room.

        Only names that the rows show can have learnt anything. Kinds of id in `without` get no names.
        """
        found = {}
        for name, names, column in columns(attempts):
            known: tuple[str, ...] = getattr(self, name)
            seen, counts = np.unique(column[rows][column[rows] >= 0], return_counts=True)
            taken = set(names if name in without else known)
            is_new = np.array([names[place] not in taken for place in seen], np.bool_)
            room = max(0, MOST[name] - len(known)) if name in MOST else len(seen)
            new = seen[is_new][np.argsort(-counts[is_new], kind="stable")[:room]]
            found[name] = (*known, *(names[place] for place in np.sort(new)))
        return Vocabulary(**found)

    def counts(self) -> tuple[int, int, int, int]:
        """How many names there are of each kind."""
        return len(self.student), len(self.topic), len(self.difficulty), len(self.item)

    def places(self, attempts: Attempts) -> NDArray[np.int32]:
        """Index in the embeddings of each row's ids, (4, n) in the order of IDS; 0 = unknown or none."""
        found = []
        for name, names, column in columns(attempts):
            index = {each: place for place, each in enumerate(getattr(self, name), start=1)}
            found.append(np.array([*(index.get(each, 0) for each in names), 0], np.int32)[column])  # -1: the last
        return np.stack(found)

    def to_dict(self) -> dict[str, list[str]]:
        return {name: list(known) for name, known in asdict(self).items()}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Vocabulary":
        """Back from `to_dict`, through JSON or not."""
        return cls(**{name: tuple(kept[name]) for name in IDS})


def columns(attempts: Attempts) -> list[tuple[str, Sequence[str], NDArray[np.int32]]]:
    """Of each kind of id: its name, all names in the attempts, and each row's position among them."""
    a = attempts
    return [
        ("student", a.students, a.student),
        ("topic", a.topics, a.topic),
        ("difficulty", DIFFICULTIES, a.difficulty),
        ("item", a.items, a.item),
    ]

"""How much is measured: a few minutes' worth, or everything up to a million tasks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    full: bool = False
    students: int = 50  # of the prepared database
    tasks_each: int = 60
    trained: bool = True  # V2 answers; else the prior, which needs no training before

    rounds: int = 3  # of the ways in turn
    seconds: float = 2.0  # of one load
    predictions: int = 2000  # in one round

    phases: int = 3  # idle and training, in turn
    phase_seconds: float = 6.0
    rate: float = 80.0  # POSTs a second while trainings run
    documents_rate: float = 2.0  # as many as they can answer

    long_past: int = 100_000  # tasks of one student
    documents_pasts: tuple[int, ...] = (10, 1_000)
    asked: int = 100  # tasks of one client in one round

    starts: int = 3
    small: int = 677  # tasks, as in the documents
    small_epochs: int = 50
    large: int = 100_000
    large_epochs: int = 1  # of the documents' way
    bulk: int = 100_000  # tasks imported
    features: int = 1_000_000
    growth: tuple[int, ...] = (100, 1_000, 10_000)


SHORT = Sizes()
FULL = Sizes(
    full=True,
    rounds=5,
    seconds=3.0,
    phases=6,
    phase_seconds=10.0,
    documents_pasts=(10, 1_000, 10_000),
    large_epochs=5,
    bulk=1_000_000,
    growth=(100, 1_000, 10_000, 100_000, 1_000_000),
)

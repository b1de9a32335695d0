"""The references do the same work as ours: otherwise there is nothing to compare."""

from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempts import DIFFICULTIES, Attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.history import FEATURES
from app.ml.features.inputs import inputs_of, known_before
from benchmarks.reference.web_documents import NewTask, PracticeTask, features


def stored(attempts: Attempts, row: int) -> PracticeTask:
    """As the documents' application reads it."""
    return PracticeTask(
        topic=attempts.topics[attempts.topic[row]],
        difficulty=DIFFICULTIES[attempts.difficulty[row]],
        is_correct=bool(attempts.correct[row]),
        actual_time_seconds=float(attempts.seconds[row]),
    )


@given(seed=st.integers(0, 10_000), tasks=st.integers(1, 30))
def test_features_row_by_row_are_those_computed_at_once(seed: int, tasks: int) -> None:
    attempts = simulate(school(2, seed=seed), tasks, seed=seed).attempts
    ours = inputs_of(known_before(attempts))[:, : len(FEATURES)]
    for row in range(len(attempts)):
        mine = (attempts.student == attempts.student[row]) & (attempts.finished <= attempts.started[row])
        past = [stored(attempts, int(n)) for n in np.flatnonzero(mine)]
        topic, difficulty = attempts.topics[attempts.topic[row]], DIFFICULTIES[attempts.difficulty[row]]
        new = NewTask(user_id=UUID(int=1), topic=topic, difficulty=difficulty)
        np.testing.assert_allclose(features(past, new), ours[row], rtol=1e-6)

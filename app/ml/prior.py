"""What is said before there is any data: the widest honest guess."""

import numpy as np

from app.domain.tasks import Prediction
from app.ml.answers import Answers

PRIOR = Prediction(
    correctness_prob=0.5,
    estimated_time_seconds=60.0,
    model_version="prior",
    model_version_id=None,
    correctness_prob_low=0.1,  # 10-90 % of a chance that may be anything
    correctness_prob_high=0.9,
    time_low_seconds=6.0,  # a tenth to ten times the answer
    time_high_seconds=600.0,
)


def prior_answers(n: int) -> Answers:
    """The same for n tasks, as columns."""
    p, seconds = PRIOR.correctness_prob, PRIOR.estimated_time_seconds
    bounds = (PRIOR.correctness_prob_low, PRIOR.correctness_prob_high, PRIOR.time_low_seconds, PRIOR.time_high_seconds)
    return Answers(*(np.full(n, each, np.float64) for each in (p, seconds, *bounds)))

"""What is said before there is any data: the widest honest guess."""

from app.domain.tasks import Prediction

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

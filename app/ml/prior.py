"""What is answered before anything is known: a coin flip, and a minute."""

from app.domain.tasks import Prediction

PRIOR = Prediction(correctness_prob=0.5, estimated_time_seconds=60.0, model_version="prior", model_version_id=None)

"""Live quality: what students were told lately, against what then happened."""

from collections import Counter

import numpy as np
from sqlalchemy.orm import Session

from app.crud import model_versions, predictions
from app.crud.predictions import Floats, NewestOutcomes
from app.ml import metrics
from app.schemas.live import LiveOut, LiveQuality

NEWEST = 1_000  # completed tasks
LEAST = 50
CLEAR = 2.0  # standard errors
SCORES = ("log_loss", "calibration_error", "rmse_log_time", "time_interval_coverage")  # that are told


def live_quality(db: Session) -> LiveOut:
    """Score each kind that answered enough of the newest tasks; silent while there are few."""
    found = predictions.newest(db, NEWEST)
    if len(found) < LEAST:
        few = f"Live quality is known from {LEAST} completed tasks on; so far there are {len(found)}."
        return LiveOut(n=len(found), minimum=LEAST, kinds=[], text=few)
    counts = Counter(found.kind.tolist()).most_common()
    told = [_quality(db, kind, found.take(found.kind == kind)) for kind, n in counts if n >= LEAST]
    text = " ".join(each.text for each in told) or f"No kind of model has {LEAST} of the newest {len(found)} tasks."
    return LiveOut(n=len(found), minimum=LEAST, kinds=told, text=text)


def groups(db: Session) -> list[tuple[float, float, int]]:
    """Divide the same tasks by their chance into tenths: mean chance, share right, tasks; none while there are few."""
    found = predictions.newest(db, NEWEST)
    return metrics.reliability(found.correct, found.probability) if len(found) >= LEAST else []


def _quality(db: Session, kind: str, rows: NewestOutcomes) -> LiveQuality:
    newest = int(rows.version[0])
    observed = float(rows.correct.mean())
    losses, of_base_rate = (metrics.losses(rows.correct, p) for p in (rows.probability, np.full(len(rows), observed)))
    scores = metrics.summary(rows.correct, rows.probability, rows.seconds, rows.estimate, rows.low, rows.high)
    then = (model_versions.get(db, newest).scores if newest else None) or {}
    quality = LiveQuality(
        kind=kind,
        model_version_id=newest or None,
        versions=len(np.unique(rows.version)),
        n=len(rows),
        **{name: getattr(scores, name) for name in SCORES},
        log_loss_standard_error=_standard_error(losses),
        log_loss_of_base_rate=float(of_base_rate.mean()),
        log_loss_at_training=then.get("log_loss"),
        log_loss_at_training_standard_error=then.get("log_loss_standard_error"),
        mean_predicted=float(rows.probability.mean()),
        observed=observed,
        text="",
    )
    return quality.model_copy(update={"text": sentence(quality, _standard_error(losses - of_base_rate))})


def _standard_error(values: Floats) -> float:
    """Return the standard error of their mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def sentence(live: LiveQuality, error_against_base_rate: float) -> str:
    """Say how it does, and whether that is a reason to look closer; the base rate is compared task by task."""
    said = f"{live.kind}: log-loss {live.log_loss:.3f} on its newest {live.n:,} completed tasks"
    then, error = live.log_loss_at_training, live.log_loss_at_training_standard_error or 0.0
    if then is not None:
        worse = live.log_loss - then > CLEAR * float(np.hypot(error, live.log_loss_standard_error))
        said += f", {'clearly worse than' if worse else 'against'} {then:.3f} at training"
    said += f"; always saying {live.observed:.0%} would give {live.log_loss_of_base_rate:.3f}"
    if live.log_loss > live.log_loss_of_base_rate + CLEAR * error_against_base_rate:
        said += ", which is better: its predictions are worth less than the base rate"
    return said + "."

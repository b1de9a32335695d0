"""Whether this process can serve, and whether as well as it should: each reason is a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core import schema
from app.core.database import engine, new_session
from app.core.errors import NO_DATABASE
from app.crud import watching
from app.ml.serving import ServingModels

SECONDS = 2.0  # that the database may take to answer
AWAY = "The database does not answer."
FAILING = 2  # failures in a row: one may be bad luck


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reasons`: why it can't serve. `degraded`: it serves, but not as it should."""

    checks: Mapping[str, str]
    reasons: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def unreachable(why: str = AWAY) -> Readiness:
    return Readiness({"database": "away"}, [why])


def readiness(serving: ServingModels) -> Readiness:
    """Ask the database; blocks, for as long as it likes."""
    try:
        schema.check(engine())
    except schema.SchemaMismatch as why:
        return Readiness({"database": "ok", "schema": "mismatch"}, [str(why)])
    except NO_DATABASE:
        return unreachable()
    try:
        with new_session().begin() as db:
            watching.impatiently(db)
            trainings = watching.trainings(db)
    except NO_DATABASE:
        return unreachable()
    return _served(serving.problems, trainings)


def _served(problems: list[str], trainings: watching.Trainings) -> Readiness:
    degraded = [*problems]
    if trainings.paused_at:
        degraded.append(f"Trainings are paused since {trainings.paused_at:%Y-%m-%d %H:%M} UTC: {trainings.why_paused}")
    elif trainings.failed_in_a_row >= FAILING:
        degraded.append(f"The last {trainings.failed_in_a_row} trainings failed; the model in use stays.")
    checks = {"database": "ok", "schema": schema.REVISION, "models": "degraded" if problems else "ok"}
    return Readiness(checks | {"trainings": trainings.state}, degraded=degraded)

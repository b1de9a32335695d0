"""Whether this process can serve, and whether as well as it should: each reason is a sentence."""

from dataclasses import dataclass

from app.core.database import engine, new_session
from app.core.db import migrations
from app.core.db.outages import NO_DATABASE, outage
from app.crud import service_state, training_control
from app.crud.training_control import Control
from app.domain.errors import DatabaseUnavailable
from app.ml.serving.model_order import ServingModels

SECONDS = 2.0  # that the database may take to answer


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether it serves, and what is wrong."""

    serves: bool
    reasons: list[str]


def readiness(serving: ServingModels) -> Readiness:
    """Ask the database; blocks, for as long as it likes."""
    try:
        migrations.check(engine())
        with new_session().begin() as db:
            service_state.limit_statements(db)
            control = training_control.read(db)
    except migrations.SchemaMismatch as why:
        return Readiness(False, [str(why)])
    except NO_DATABASE as why:
        return Readiness(False, [(outage(why) or DatabaseUnavailable()).detail])
    return Readiness(True, [*serving.problems, *_held_up(control)])


def _held_up(control: Control) -> list[str]:
    """Say why models grow old."""
    if control.is_paused:
        why = (control.reason or control.last_failure or "no reason was given").rstrip(".")
        return [f"Trainings are paused: {why}. `smartstudy resume` or POST /model/resume goes on."]
    if control.failures:
        why = (control.last_failure or "it did not say why").rstrip(".")
        return [f"The last training failed: {why}. The model in use stays."]
    return []

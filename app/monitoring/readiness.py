"""Whether this process can serve, and whether as well as it should: each reason is a sentence."""

import time
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from app.core.database import asked_to_read, database_url, engine, new_session, replica
from app.core.db import migrations, preflight
from app.core.db.outages import NO_DATABASE, code_of, outage
from app.core.settings import settings
from app.crud import service_state, training_control
from app.crud.training_control import Control
from app.domain.errors import DatabaseUnavailable
from app.ml.serving.model_order import ServingModels
from app.monitoring.public import control_for_anybody, for_anybody

SECONDS = 2.0  # that the database may take to answer
FRESH_SECONDS = 5.0  # that what was found of the surroundings holds
HELD = "55P03"  # PostgreSQL's code for a lock that was not to be had


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether it serves, and what is wrong."""

    serves: bool
    reasons: list[str]


class Surroundings:
    """What the preflight finds, asked again when some seconds have passed: it connects anew, and writes."""

    def __init__(self) -> None:
        self._found: tuple[list[str], list[str]] = [], []
        self._until = 0.0

    def found(self) -> tuple[list[str], list[str]]:
        """Return faults and warnings, a sentence each. Raises what a database that does not answer does."""
        if time.monotonic() >= self._until:
            faults, warnings = preflight.disk(settings().folders())
            try:
                warnings += preflight.check(engine(), database_url())
                with engine().connect() as connection:
                    preflight.check_write(connection)
            except preflight.UnfitSurroundings as why:
                faults.append(str(why))
            except DBAPIError as why:
                # Another process checks just now, or makes a backup; or a full disk, said with its name, is why.
                if code_of(why) != HELD and not faults:
                    raise
            self._found, self._until = (faults, warnings), time.monotonic() + FRESH_SECONDS
        return self._found


def readiness(serving: ServingModels, surroundings: Surroundings) -> Readiness:
    """Ask the database; blocks, for as long as it likes."""
    try:
        migrations.check(engine())
        with new_session().begin() as db:
            service_state.limit_statements(db)
            control = control_for_anybody(training_control.read(db))
        asked_to_read(lambda _: None)  # else nobody may have asked the replica for long
        faults, warnings = surroundings.found()
    except migrations.SchemaMismatch as why:
        return Readiness(False, [str(why)])
    except NO_DATABASE as why:
        return Readiness(False, [(outage(why) or DatabaseUnavailable()).detail])
    standby = replica()
    away = [why for why in (serving.store_problem, standby.problem if standby else None) if why]
    told = [for_anybody(why) for why in (*faults, *warnings, *serving.problems, *away)]
    return Readiness(not faults, [*told, *_held_up(control)])


def _held_up(control: Control) -> list[str]:
    """Say why models grow old."""
    if control.is_paused:
        why = (control.reason or control.last_failure or "no reason was given").rstrip(".")
        return [f"Trainings are paused: {why}. `smartstudy resume` or POST /model/resume goes on."]
    if control.failures:
        why = (control.last_failure or "it did not say why").rstrip(".")
        return [f"The last training failed: {why}. The model in use stays."]
    return []

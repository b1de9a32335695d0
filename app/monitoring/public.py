"""What anybody may be told: which part is in trouble and what to do. Where it lies stands in the log, in the rows that
operators read, and on the pages of admins."""

import re
from dataclasses import replace

from app.crud.training_control import SERVICE, Control
from app.crud.training_runs import Run

STORE = "he store of the models can't be used; predictions go on, and `smartstudy status` and the log say why."
# From its first words to the end (`ObjectStore.unusable`): what a store says of itself may name a place anywhere.
_STORE = re.compile(r"(?<=[Tt])he store of the models, .*", re.DOTALL)
# So may what the driver of PostgreSQL says, but not what we do (`Replica.problem`, `NotAReplica`).
_REPLICA = re.compile(r"(?<=the database itself does): (?!it is ).*", re.DOTALL)
_ADDRESS = r"\b(?:[\w+.-]+://\S*[^\s.,:;)>'\"]|\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?)"
_NAMED = re.compile(rf"(?<=Dask's )(scheduler|worker) {_ADDRESS}")
_UNNAMED = re.compile(_ADDRESS)
_SETTING = re.compile(r"(?<=_DIR) \(.*\)(?= (?:has|can't))")  # `preflight.disk`
_QUOTED = r"""(?:\s->|:)?\s(['"])(?:(?!\1)[^\\]|\\.)*?/(?:(?!\1)[^\\]|\\.)*\1"""
_FOLDER = re.compile(rf"{_QUOTED}|\s\(/[^)]*\)|:\s/\S*")  # not that of a route: `POST /model/resume`


def for_anybody(sentence: str) -> str:
    """Leave out bucket, host and folder."""
    said = _REPLICA.sub("; the log says why.", _STORE.sub(STORE, sentence))
    said = _UNNAMED.sub("an address", _NAMED.sub(r"\1", said))
    return _FOLDER.sub("", _SETTING.sub("", said))


def run_for_anybody(run: Run | None) -> Run | None:
    """The same of what a run says."""
    if run is None:
        return None
    progress = {key: for_anybody(said) if isinstance(said, str) else said for key, said in run.progress.items()}
    return replace(run, progress=progress, message=run.message and for_anybody(run.message))


def control_for_anybody(control: Control) -> Control:
    """The same of why trainings are held up, and no admin's address; a person's own words stay."""
    failure, reason = (said and for_anybody(said) for said in (control.last_failure, control.reason))
    by = "an admin" if "@" in (control.paused_by or "") else control.paused_by
    reason = reason if control.paused_by == SERVICE else control.reason
    return replace(control, last_failure=failure, reason=reason, paused_by=by)

"""Who serves, versions, and how training stands, for the API, the command line and the pages alike."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from app.core.settings import settings
from app.crud import attempts, demonstration, model_tracker, trainers, training_control, training_runs
from app.crud.demonstration import Demonstration
from app.crud.model_versions import Version
from app.crud.training_control import Control
from app.crud.training_runs import Pace, Run
from app.domain.kinds import BASE
from app.domain.shares import Shares, as_contributions
from app.ml.prior import PRIOR
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import Loaded, ServingModels
from app.ml.serving.pool import in_words
from app.ml.training.scheduler import is_due
from app.monitoring.drift import drift
from app.monitoring.live_quality import live_quality
from app.monitoring.public import control_for_anybody, for_anybody, run_for_anybody
from app.schemas.events import TrainingState
from app.schemas.model_status import CounterOut, DemonstrationOut, ModelStatus, PauseOut, RunOut, ServingOut


def model_status(db: Session, serving: ServingModels, *, for_admins: bool = False) -> ModelStatus:
    """Return all of it; `serving` is what answers in this process. Only admins are told where things lie."""
    problem, away = " ".join(serving.problems) or None, serving.store_problem
    run = training_runs.at_work(db)
    last = next(iter(training_runs.latest(db)), None)
    counter = _counter(db)
    who = serving.named
    control = training_control.read(db)
    if not for_admins:
        problem, away = (said and for_anybody(said) for said in (problem, away))
        run, last, control = run_for_anybody(run), run_for_anybody(last), control_for_anybody(control)
    waiting = training_runs.waiting(db)
    alive = trainers.alive(db, settings().trainer_silent_seconds)
    warning = _warning(training_runs.pace(db, run or last))
    missing = not alive and (waiting > 0 or settings().trainer == "elsewhere" or is_due(db))
    if missing:
        warning = " ".join(filter(None, [warning, _nobody_trains(trainers.last_seen(db))]))
    warning = " ".join(filter(None, [warning, away])) or None
    made_up = demonstration.found(db)
    return ModelStatus(
        serving=serving_now(db, serving),
        degraded=problem is not None,
        reason=problem,
        counter=counter,
        training=_run(run),
        waiting=waiting,
        trainers=len(alive),
        trainer_missing=missing,
        last_run=_run(last),
        live=live_quality(db),
        drift=drift(db, who.version if who else None),
        paused=_pause(control),
        failures_in_a_row=control.failures,
        retry_in_seconds=round(control.wait_seconds, 1) if control.wait_seconds and not control.is_paused else None,
        warning=warning,
        demonstration=DemonstrationOut.model_validate(made_up, from_attributes=True) if made_up else None,
        text=" ".join(
            filter(None, [_text(serving, counter, run, last, problem), warning, *_held_up(control), *_made_up(made_up)])
        ),
    )


def serving_now(db: Session, serving: ServingModels) -> ServingOut:
    """Return who answers in this process."""
    who = serving.named
    return _serving(who, serving.model_order.spoken) if who else _untrained(attempts.count(db) > 0)


def training_now(db: Session) -> TrainingState:
    """Return how training stands, without what takes longer to find out."""
    return TrainingState(
        counter=_counter(db),
        run=_run(run_for_anybody(training_runs.at_work(db))),
        last_run=_run(run_for_anybody(next(iter(training_runs.latest(db)), None))),
        is_paused=training_control.read(db).is_paused,
    )


def _untrained(begun: bool) -> ServingOut:
    """Describe LNIRT of the newest tasks, or the prior before the first."""
    kind = BY_NAME[BASE].wire_name if begun else PRIOR.model_version
    return ServingOut(
        model_version=kind, model_version_id=None, since=None, trained_on_tasks=None, held_out=None, contributions=None
    )


def _serving(loaded: Loaded, shares: Shares) -> ServingOut:
    version = loaded.version
    return ServingOut(
        model_version=loaded.kind.wire_name,
        model_version_id=version.id,
        since=version.created_at,
        trained_on_tasks=version.n_tasks,
        held_out=dict(version.scores),
        contributions=as_contributions(shares),
    )


def _counter(db: Session) -> CounterOut:
    tracker, every, least = model_tracker.read(db), settings().retrain_every, settings().min_training_tasks
    since, learnt = tracker.since_training, tracker.trained_on
    finished = attempts.count(db) if since >= every or not learnt else least
    if finished < least:
        text = f"{finished} of {least}; the first training starts at {least} finished tasks"
    elif since > (waits := every if learnt else max(every, least)):
        text = f"{since}, {since - waits} more than a training waits for; the next takes them all"
    else:
        text = f"{since} of {waits}"
    return CounterOut(since_training=since, retrain_every=every, trained_on=learnt, text=text)


def _run(run: Run | None) -> RunOut | None:
    return RunOut.model_validate(run, from_attributes=True) if run else None


def _pause(control: Control) -> PauseOut | None:
    if not control.is_paused:
        return None
    return PauseOut(since=control.paused_at, by=control.paused_by, reason=control.reason or control.last_failure)


def _warning(pace: Pace) -> str | None:
    """Say that trainings take or wait far longer than before."""
    said = []
    if pace.is_slow:
        took = "has been at work for" if pace.at_work else "took"
        usual = f"{pace.usual_seconds:,.0f} s"
        said.append(f"Run {pace.run_id} {took} {pace.seconds:,.0f} s, more than ten times as long as before ({usual}).")
    if pace.is_starving:
        said.append(f"A training has been waiting for its turn for {pace.waited_seconds:,.0f} s.")
    return " ".join(said) or None


def _nobody_trains(last: datetime | None) -> str:
    since = f" since {last:%Y-%m-%d %H:%M} UTC" if last else ""
    return f"No trainer has been seen{since}: trainings wait until one runs (`smartstudy trainer`, or TRAINER=here)."


def _made_up(found: Demonstration | None) -> list[str]:
    if found is None:
        return []
    return [f"Made up, for a demonstration: {found.students:,} of the students, {found.tasks:,} of the tasks."]


def _held_up(control: Control) -> list[str]:
    """Say why the next training does not begin by itself."""
    if control.is_paused:
        by = f" by {control.paused_by}" if control.paused_by else ""
        why = f": {control.reason.rstrip('.')}" if control.reason else ""
        return [f"Trainings are paused{by}{why}. `smartstudy resume` or POST /model/resume goes on."]
    if control.wait_seconds:
        return [f"After {control.failures} failed in a row the next training waits {control.wait_seconds:.0f} s more."]
    return []


def _text(serving: ServingModels, counter: CounterOut, run: Run | None, last: Run | None, problem: str | None) -> str:
    parts, who, shares = [problem] if problem else [], serving.named, serving.model_order.spoken
    if who is None:
        parts.append("LNIRT fitted to the newest tasks answers; while there are none, 50 % and 60 s.")
    else:
        parts.append(f"{str(who).capitalize()} answers, trained on {who.version.n_tasks} tasks.")
        parts += [f"What answers are made of: {in_words(shares)}."] if len(shares) > 1 else []
    parts.append(f"Finished tasks that no training has taken: {counter.text}.")
    if run:
        parts.append(f"Run {run.id} is training: {run.progress.get('step', 'starting')}.")
    elif last and last.outcome != "published":
        parts.append(f"The last run {last.outcome}: {last.message}")
    return " ".join(parts)


def version_fields(version: Version) -> Mapping[str, object]:
    """Return a version as the schemas have it."""
    kept = {name: getattr(version, name) for name in Version.__slots__}
    return kept | {"answers_first": version.answers}


def outcome(message: str, wanted: Version, serving: ServingModels) -> str:
    """Say what was done, and should another than the wanted version answer all the same, who and why."""
    now = serving.model_order.first
    if now is not None and now.version.id == wanted.id:
        return message
    why = " ".join(serving.problems) or "The setting MODEL asks for that kind."
    return f"{message} Yet {now or 'LNIRT fitted to the newest tasks'} answers: {why}"

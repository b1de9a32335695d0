"""Predictions, and what completions set off.

What is asked of the database is written once, as query flows: the hot routes run them asynchronously,
`EmbeddingModelService` (for console, command line and scripts) through the session.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log
from typing import Any
from uuid import UUID

from pydantic import validate_call
from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Row, run_sync
from app.core.observability import metrics
from app.core.settings import settings
from app.crud import accounts, corrections, practice_tasks, spellings, student_totals
from app.crud.student_totals import StudentHistory
from app.domain.attempts import Difficulty
from app.domain.fields import RightOrWrong, Seconds, Text200
from app.domain.interactions import SECONDS_MAX
from app.domain.kinds import BASE
from app.domain.reasons import Said
from app.domain.shares import Share, as_contributions
from app.domain.tasks import Claim, Prediction, Task, TaskRequest
from app.ml.answers import Answer
from app.ml.calibration.time_limits import USUAL, Limits
from app.ml.calibration.time_limits import limits as as_set
from app.ml.features.inputs import inputs_of_past
from app.ml.prior import PRIOR
from app.ml.registry import BY_NAME, print_progress
from app.ml.serving.model_order import Loaded, ServingModels, ServingProblem, cause, serving_models
from app.ml.serving.pool import pool
from app.ml.training.scheduler import silent, trainer

LEAST_SECONDS = 0.001  # of an interval's lower end


def predict_and_save(serving: ServingModels, asked: TaskRequest, claim: Claim | None = None) -> QueryFlow[Task]:
    """Create a task with its prediction, from the student's past at this moment.

    Raises NotSignedIn where the caller claims to be somebody whom the database doesn't know, TooManyOpenTasks or
    TooManyTopics where the student has as many as they may, NotAllowedByStudent or NotOfThisSchool where a key may not
    record for them; a console may do all.
    """
    asked, known = yield from _known_of(asked, claim)
    past = student_totals.past_of(known)
    prediction = yield from predict(serving, asked, past)
    row = practice_tasks.new_row(asked, past.at, prediction, stored_inputs(past, prediction))
    inserted = (
        yield practice_tasks.INSERT, row | {"student": claim and claim.student, "key_hash": claim and claim.key_hash}
    )[0]
    if claim and not inserted["stored"]:
        raise accounts.refused(claim)  # erased between the two round trips
    task = practice_tasks.stored(row)
    metrics.count_prediction(prediction.model_version, prediction.fallback_cause)
    for kind in settings().shadows():
        yield from shadow(serving, kind, asked, past, task)
    serving.request_refresh(past.serving)
    return task


def _known_of(asked: TaskRequest, claim: Claim | None) -> QueryFlow[tuple[TaskRequest, Row]]:
    """The task as its topic and exercise are called, and what PAST says of it: asked again where that is otherwise."""
    row = (yield student_totals.PAST, student_totals.question(asked, claim))[0]
    if claim:
        if not row["admitted"]:
            raise accounts.refused(claim)
        accounts.check_barred(row)
    if (called := spellings.of_task(asked, row)) is not asked:
        row = (yield student_totals.PAST, student_totals.question(called, claim))[0]
    if claim:
        student_totals.check_bounds(row)
    registered = yield from spellings.with_registered(called, row)
    if registered is not called:  # somebody else was the first, at this moment
        row = (yield student_totals.PAST, student_totals.question(registered, claim))[0]
    return registered, row


def predict(serving: ServingModels, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Prediction]:
    """What the kinds that serve say together, by their shares; where none of these gives finite numbers, the next best
    one; before there is any, LNIRT of the tasks finished so far; without any task finished, the prior. Says why no
    better model answered."""
    model_order, unhealthy, found = serving.model_order, list[Said](), list[tuple[Loaded, Answer]]()
    shares, others = model_order.for_student(asked.user_id)
    for loaded in others:
        if found and loaded.kind.name not in shares:
            continue
        answer = yield from _sound_answer(serving, loaded, asked, past)
        if isinstance(answer, Answer):
            found.append((loaded, answer))
        else:
            unhealthy.append(answer)
    if found:
        return _pooled(found, shares, [*model_order.why_not_better(found[0][0]), *unhealthy], model_order.limits)
    why = [*model_order.why_not_better(None), *unhealthy]
    from app.ml.lnirt import untrained  # SciPy with it, which a process with models need not import

    base, found_limits = yield from untrained.answer(asked, past)
    if base is not None and base.is_finite():
        return _prediction(BY_NAME[BASE].wire_name, None, base, why, found_limits)
    return replace(PRIOR, fallback_reason=_in_words(why), fallback_cause=cause(why))


def _pooled(
    found: list[tuple[Loaded, Answer]], shares: Mapping[str, Share], why: list[Said], limits: Limits
) -> Prediction:
    """One prediction of all answers whose kinds have a part; the first, where none has. It names the network that had
    most part, if any had."""
    parts = [each for each in found if each[0].kind.name in shares] or found[:1]
    if len(parts) == 1:
        loaded, answer = parts[0]
        return _prediction(loaded.kind.wire_name, loaded.version.id, answer, why, limits)
    each = [(loaded, answer, shares[loaded.kind.name]) for loaded, answer in parts]
    answer = pool([(answer, share) for _, answer, share in each])
    networks = [(share.chance + share.time, loaded) for loaded, _, share in each if loaded.kind.name != BASE]
    named = max(networks, key=lambda pair: pair[0])[1]
    made_of = as_contributions({loaded.kind.name: share for loaded, _, share in each})
    said = _prediction(named.kind.wire_name, named.version.id, answer, why, limits)
    return replace(said, contributions=made_of)


def stored_inputs(past: StudentHistory, prediction: Prediction) -> list[float]:
    """What the prediction was made from, as it is kept with the task."""
    return [*inputs_of_past(past)[0].tolist(), *_base_of(past, prediction)]


def _base_of(past: StudentHistory, prediction: Prediction) -> list[float]:
    """What LNIRT said of the task, as the networks take it in: log odds and log seconds."""
    known = next((said for (kind, _), said in past.memory.items() if kind == BASE), None)
    if known is None:
        p = min(max(prediction.correctness_prob, 1e-6), 1 - 1e-6)
        return [log(p / (1 - p)), log(prediction.estimated_time_seconds)]
    from app.ml.lnirt.ability import base_input

    return [float(each) for each in base_input(known)[0]]


def _sound_answer(
    serving: ServingModels, loaded: Loaded, asked: TaskRequest, past: StudentHistory
) -> QueryFlow[Answer | Said]:
    """What the model says, or why that is of no use."""
    try:
        answer = yield from loaded.model.answer(loaded.version.id, asked, past)
    except (ArithmeticError, LookupError, TypeError, ValueError) as why:  # the model's own; the database's are others
        return serving.mark_unhealthy(loaded, ServingProblem.MODEL_FAILED, why=repr(why))
    return answer if answer.is_finite() else serving.mark_unhealthy(loaded, ServingProblem.NOT_FINITE)


def shadow(serving: ServingModels, kind: str, asked: TaskRequest, past: StudentHistory, task: Task) -> QueryFlow[None]:
    """Record what this kind would have said; the student never sees it."""
    loaded = serving.model_order.of(kind)
    if loaded is None or loaded.version.id == task.model_version_id:
        return
    answer = yield from _sound_answer(serving, loaded, asked, past)
    if isinstance(answer, Answer):
        said = _prediction(loaded.kind.wire_name, loaded.version.id, answer, [], serving.model_order.limits)
        yield practice_tasks.INSERT_SHADOW, practice_tasks.values_of(said) | {"task_id": task.id}


def _prediction(
    model: str, version_id: int | None, answer: Answer, why_not_better: list[Said], found: Limits = USUAL
) -> Prediction:
    """What the model says, within the limits of the settings; of the time, within those `found` in the data, if the
    settings leave that open."""
    given, (least, most) = settings(), as_set(found)

    def chance(value: float) -> float:
        return min(max(value, given.min_probability), given.max_probability)

    # The interval is not clipped: a bound moved to the limit would no longer hold 80 %. It does hold the answer.
    seconds = min(max(answer.seconds, least), most)
    return Prediction(
        chance(answer.probability),
        seconds,
        model,
        version_id,
        chance(answer.probability_low),
        chance(answer.probability_high),
        max(min(answer.seconds_low, seconds), LEAST_SECONDS),
        min(max(answer.seconds_high, seconds), SECONDS_MAX),
        _in_words(why_not_better),
        cause(why_not_better),
    )


def _in_words(why_not_better: list[Said]) -> str | None:
    return " ".join(why.text for why in why_not_better) or None


def complete(task_id: UUID, claim: Claim | None, is_correct: bool, seconds: float) -> QueryFlow[tuple[Task, int]]:
    """Record a result and count it, in one transaction; the task, and how many tasks await a training.

    Raises:
        NotSignedIn: the caller claims to be somebody whom the database doesn't know.
        TaskNotFound: there is no such task of this owner.
        OtherResult: it was completed before with another result.
    """
    result = {"id": task_id, "is_correct": is_correct, "seconds": seconds}
    row = (yield practice_tasks.COMPLETE, result | accounts.values_of(claim))[0]
    if claim and not row["admitted"]:
        raise accounts.refused(claim)
    task = practice_tasks.task_of(row)
    if not task.completed:  # its result was taken back at this very moment
        return (yield from complete(task_id, claim, is_correct, seconds))
    if row["since_training"] is None:
        return practice_tasks.settled(task, is_correct, seconds), 0
    return task, row["since_training"]


class EmbeddingModelService:
    """Predict, complete and train from a console: `EmbeddingModelService(next(get_db()))`.

    Each call is one transaction of the session, committed when it returns.
    """

    def __init__(self, db: Session) -> None:
        self.db = db

    @validate_call
    def predict_and_save(
        self, user_id: UUID | str, topic: Text200, difficulty: str, item_id: Text200 | None = None
    ) -> Task:
        """Create a task with its prediction.

        Raises:
            ValueError: the user id is no UUID, the topic is empty or too long, the difficulty unknown.
        """
        asked = TaskRequest(UUID(str(user_id)), topic, Difficulty(difficulty).value, item_id)
        serving_models().refresh()
        task = run_sync(predict_and_save(serving_models(), asked), self.db)
        self.db.commit()
        return task

    @validate_call
    def on_task_completed(self, task_id: UUID | str, is_correct: RightOrWrong, actual_time_seconds: Seconds) -> Task:
        """Record how the student did and count it; the fifth starts a training in the background.

        Raises:
            TaskNotFound: there is no such task.
            OtherResult: it was completed before with another result.
            ValueError: the result is not a yes or no with a finite time above 0.
        """
        flow = complete(UUID(str(task_id)), None, is_correct, actual_time_seconds)
        task, since_training = run_sync(flow, self.db)
        self.db.commit()
        if since_training >= settings().retrain_every:
            trainer().request()
        return task

    @validate_call
    def on_result_corrected(self, task_id: UUID | str, is_correct: RightOrWrong, actual_time_seconds: Seconds) -> Task:
        """Change the result of a completed task, however old it is.

        Raises:
            TaskNotFound: there is no such task.
            NoResult: it is open: `on_task_completed` records its result.
            ValueError: the result is not a yes or no with a finite time above 0.
        """
        given = is_correct, actual_time_seconds, settings().correction_days
        task, to_learn = corrections.change(self.db, UUID(str(task_id)), *given)
        self.db.commit()
        if to_learn >= settings().retrain_every:
            trainer().request()
        return task

    def force_train(self, verbose: bool = False) -> Mapping[str, Any]:
        """Train now on all finished tasks, whatever the counter says, and wait for it.

        Returns {"outcome": "published" | "failed", "message": a sentence, ...}; with `verbose` it tells how it goes.
        """
        result = self.train(print_progress if verbose else silent)
        if verbose:
            print(result["message"])
        return result

    def train(self, say: Callable[[Mapping[str, Any]], None] = silent) -> Mapping[str, Any]:
        """`force_train` for those who show the progress themselves: `say` gets every step."""
        self.db.commit()  # what the session has not committed, the training would not see
        result = trainer().train_now(say)
        serving_models().refresh()
        return result

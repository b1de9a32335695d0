"""Many tasks at once: each predicted, stored and completed as it would be by itself."""

import asyncio
from collections.abc import Collection, Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import Database, QueryFlow, Row, Rows, run_async
from app.core.observability import metrics
from app.core.settings import settings
from app.crud import accounts, many_tasks, practice_tasks, spellings, student_states
from app.crud.student_totals import StudentHistory, past_of
from app.domain.errors import AppError
from app.domain.tasks import Claim, Prediction, Result, Task, TaskRequest
from app.ml.embedding_service import predict, shadow, stored_inputs
from app.ml.serving.model_order import ServingModels

T = TypeVar("T")
Answered = dict[object, Rows]  # by statement and values
Cells = Sequence[tuple[TaskRequest, StudentHistory]]


async def predictions(serving: ServingModels, database: Database, cells: Cells) -> list[Prediction]:
    """Predict tasks of the same moment; what one has asked of the database is not asked again, and others have their
    turn between two of them."""
    found, answered = list[Prediction](), Answered()
    for asked, past in cells:
        found.append(await run_async(asked_once(predict(serving, asked, past), past, answered), database))
        await asyncio.sleep(0)
    return found


def asked_once(flow: QueryFlow[T], past: StudentHistory, answered: Answered) -> QueryFlow[T]:
    """Run the same query flow; what the database has answered is not asked again.

    The state that one prediction caught up with the student's past is the next one's: all are of the same moment.
    """
    try:
        question = next(flow)
        while True:
            statement, values = question
            if (key := (statement, *values.items())) not in answered:
                answered[key] = yield question
            if statement is student_states.KEEP:
                whose = [(name, values[name]) for name in ("user_id", "kind", "version_id")]
                answered[(student_states.KEPT, *whose)] = [{**values, "n": past.n}]
            question = flow.send(answered[key])
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def predict_only(
    serving: ServingModels, database: Database, asked: Sequence[TaskRequest], claim: Claim
) -> list[tuple[TaskRequest, Prediction]]:
    """What would be said of each, were it created now; nothing is stored.

    Raises NotSignedIn, and NotAllowedByStudent or NotOfThisSchool where a key may not record for the student.
    """
    rows = await run_async(many_tasks.pasts(asked, claim), database)
    accounts.check_barred(rows[0])
    cells = list(zip(many_tasks.named(asked, rows), map(past_of, rows), strict=True))
    found = await predictions(serving, database, cells)
    serving.request_refresh(cells[0][1].serving)
    return [(each, prediction) for (each, _), prediction in zip(cells, found, strict=True)]


async def create(
    serving: ServingModels, database: Database, asked: Sequence[TaskRequest], claim: Claim, *, all_or_nothing: bool
) -> list[Task | AppError]:
    """Create tasks with their predictions, in one statement; each, or why it was not created. Raises NotSignedIn."""
    rows = await run_async(many_tasks.pasts(asked, claim), database)
    called = many_tasks.named(asked, rows)
    refused = many_tasks.refusals(called, rows)
    fine = [place for place, why in enumerate(refused) if why is None]
    if not fine or (all_or_nothing and len(fine) < len(asked)):
        return [why or AppError() for why in refused]
    spelt = [called[place] for place in fine]
    if any(spellings.are_new(called[place], rows[place]) for place in fine):
        spelt = await run_async(spellings.registered_tasks(spelt), database)
    if spelt != [called[place] for place in fine]:  # named for the first time, elsewhere at this moment or twice here
        again = await run_async(many_tasks.pasts(spelt, claim), database)
        cells = list(zip(spelt, map(past_of, again), strict=True))
    else:
        cells = [(called[place], past_of(rows[place])) for place in fine]
    tasks = await _stored(serving, database, cells, claim)
    made = dict(zip(fine, tasks, strict=True))
    return [made[place] if why is None else why for place, why in enumerate(refused)]


async def _stored(serving: ServingModels, database: Database, cells: Cells, claim: Claim) -> list[Task]:
    found = await predictions(serving, database, cells)
    new = [
        practice_tasks.new_row(asked, past.at, prediction, stored_inputs(past, prediction))
        for (asked, past), prediction in zip(cells, found, strict=True)
    ]
    await run_async(many_tasks.add(new, claim), database)
    tasks = [practice_tasks.stored(row) for row in new]
    for (asked, past), prediction, task in zip(cells, found, tasks, strict=True):
        metrics.count_prediction(prediction.model_version, prediction.fallback_cause)
        for kind in settings().shadows():
            await run_async(shadow(serving, kind, asked, past, task), database)
    serving.request_refresh(cells[0][1].serving)
    return tasks


def complete(db: Session, results: Sequence[Result], claim: Claim) -> tuple[list[Task | AppError], int]:
    """Record results in one statement, in the session's transaction; each task, or why it has no such result, and how
    many tasks await a training. Of two for one task the first counts. Raises NotSignedIn."""
    first: dict[UUID, Result] = {}
    for each in results:
        first.setdefault(each.task_id, each)
    rows = _recorded(db, first.values(), claim)
    if not all(row["admitted"] for row in rows.values()):
        raise accounts.refused(claim)
    found = list[Task | AppError]()
    for each in results:
        row = rows[each.task_id]
        try:
            task = practice_tasks.task_of(row)
            is_new = row["since_training"] is not None and first[each.task_id] is each
            found.append(task if is_new else practice_tasks.settled(task, each.is_correct, each.seconds))
        except AppError as why:
            found.append(why)
    return found, max((row["since_training"] or 0 for row in rows.values()), default=0)


def _recorded(db: Session, results: Collection[Result], claim: Claim) -> dict[UUID, Row]:
    """What COMPLETE says of each task; asked again about those whose result was taken back at this very moment."""
    values = [
        {"id": each.task_id, "is_correct": each.is_correct, "seconds": each.seconds} | accounts.values_of(claim)
        for each in results
    ]
    rows = dict(zip([each.task_id for each in results], practice_tasks.COMPLETE.each_sync(db, values), strict=True))
    still_open = [each for each in results if rows[each.task_id]["completed"] is False]
    return rows | _recorded(db, still_open, claim) if still_open else rows

"""What a student can do now: topics they practise, with what the serving models predict of each difficulty.

Nothing is stored of it but what a model keeps of a student's answers anyway, as when a task is created; and none of
these predictions is counted as one that was given.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import Database, QueryFlow, Rows, run_async, run_sync
from app.crud import exam_plans, practised, student_states
from app.crud.practised import Known, Practised
from app.crud.student_totals import StudentHistory
from app.domain.attempts import DIFFICULTIES
from app.domain.planning import TOPICS_MOST, Exam, PracticeEffect, TopicState
from app.domain.tasks import Prediction, TaskRequest
from app.ml.embedding_service import predict
from app.ml.features import learning_curve
from app.ml.serving.model_order import ServingModels
from app.planning import difficulty as choosing
from app.planning import spacing
from app.planning.suggestions import Last

T = TypeVar("T")
FEW = 5  # topics of one's own, below which those that several others practise are suggested too


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose outlook, and on what."""

    student: UUID
    topics: tuple[str, ...] = ()
    and_own: bool = False  # what they practise, too
    exam: Exam | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """A student's topics as they are now."""

    now: datetime  # UTC
    topics: tuple[TopicState, ...]
    effect: PracticeEffect
    last: Last | None
    exam: Exam | None


async def outlook(serving: ServingModels, database: Database, wanted: QueryFlow[Wanted]) -> Outlook:
    """Through the asynchronous door; others have their turn between two predictions."""
    found = await run_async(_found(wanted), database)
    said, answered = list[Prediction](), Answered()
    for asked, past in found.cells:
        said.append(await run_async(asked_once(predict(serving, asked, past), past, answered), database))
        await asyncio.sleep(0)
    return _outlook(serving, found, said)


def outlook_now(serving: ServingModels, db: Session, wanted: QueryFlow[Wanted]) -> Outlook:
    """The same through the session."""
    found, answered = run_sync(_found(wanted), db), Answered()
    said = [run_sync(asked_once(predict(serving, asked, past), past, answered), db) for asked, past in found.cells]
    return _outlook(serving, found, said)


def for_wishes(student: UUID, topics: tuple[str, ...]) -> QueryFlow[Wanted]:
    """These topics; without any the next exam's, and all that the student practises."""
    if topics:
        return Wanted(student, topics)
    exam = yield from exam_plans.following(student)
    return Wanted(student, exam.topics if exam else (), True, exam)


def for_exam(student: UUID, topics: tuple[str, ...]) -> QueryFlow[Wanted]:
    """An exam's topics."""
    return Wanted(student, topics)
    yield  # what makes it a query flow


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database knows."""

    wanted: Wanted
    known: Known
    topics: Sequence[Practised]
    others: Mapping[str, int]
    cells: Sequence[tuple[TaskRequest, StudentHistory]]


def _found(wanted_by: QueryFlow[Wanted]) -> QueryFlow[_Found]:
    wanted = yield from wanted_by
    known = yield from practised.known(wanted.student, wanted.topics, and_own=wanted.and_own)
    others = dict[str, int]()
    topics = _most_needed(known, wanted.topics)
    if wanted.and_own and len(topics) < FEW:
        popular = yield from practised.of_others(wanted.student)
        own = {topic.topic for topic in topics}
        others = dict([each for each in popular.items() if each[0] not in own][: FEW - len(topics)])
        topics += [Practised(topic) for topic in others]
    asked = [TaskRequest(wanted.student, topic.topic, each) for topic in topics for each in DIFFICULTIES]
    pasts = (yield from practised.pasts(wanted.student, asked)) if asked else []
    return _Found(wanted, known, topics, others, list(zip(asked, pasts, strict=True)))


def _most_needed(known: Known, first: Sequence[str]) -> list[Practised]:
    """As many topics as are predicted: all that are wanted, in their order, then the student's own that seem to need
    it most, by the share that went right."""
    by_name = {topic.topic: topic for topic in known.topics}
    own = [topic for topic in known.topics if topic.topic not in first]
    own.sort(key=lambda topic: (-_seems_to_need(topic, known.now), topic.topic))
    return [*(by_name[name] for name in first), *own][:TOPICS_MOST]


def _seems_to_need(topic: Practised, now: datetime) -> float:
    wrong = (topic.n - topic.n_correct + 1) / (topic.n + 2)
    due = spacing.due(spacing.days_since(topic.recent, now), spacing.strength(topic.recent))
    return choosing.need(wrong, due, topic.tasks_today)


def _outlook(serving: ServingModels, found: _Found, said: Iterable[Prediction]) -> Outlook:
    predictions = iter(said)
    topics = tuple(
        TopicState(
            topic.topic,
            {difficulty: next(predictions) for difficulty in DIFFICULTIES},
            topic.n,
            topic.n_correct,
            topic.recent,
            topic.tasks_today,
            topic.seconds_today,
            found.others.get(topic.topic, 0),
        )
        for topic in found.topics
    )
    if found.cells:
        serving.request_refresh(found.cells[0][1].serving)
    known = found.known
    last = Last(known.last_topic, known.last) if known.last_topic is not None and known.last else None
    effect = learning_curve.from_report(known.effect)
    return Outlook(known.now, topics, effect, last, found.wanted.exam)


Answered = dict[object, Rows]  # by statement and values


def asked_once(flow: QueryFlow[T], past: StudentHistory, answered: Answered) -> QueryFlow[T]:
    """The same query flow; what the database has answered is not asked again. The state that one prediction caught up
    with the student's past is the next one's: all are of the same moment."""
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

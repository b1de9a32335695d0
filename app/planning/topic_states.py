"""What a student can do now: topics they practise, with what the serving models predict of each difficulty.

Nothing is stored of it but what a model keeps of a student's answers anyway, as when a task is created; and none of
these predictions is counted as one that was given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import Database, QueryFlow, run_async, run_sync
from app.core.time_zones import zone_of
from app.crud import accounts, exam_plans, spellings, topic_history
from app.crud.student_totals import StudentHistory
from app.crud.topic_history import PracticeHistory, TopicHistory
from app.domain.attempts import DIFFICULTIES
from app.domain.planning import TOPICS_MOST, Exam, PracticeEffect, PractisedTask, TopicState
from app.domain.tasks import Prediction, TaskRequest
from app.ml.batches import Answered, asked_once, predictions
from app.ml.embedding_service import predict
from app.ml.features import learning_curve
from app.ml.serving.model_order import ServingModels
from app.planning import spacing
from app.planning.difficulty import need

T = TypeVar("T")
FEW = 5  # topics of one's own, below which those that several others practise are suggested too


@dataclass(frozen=True, slots=True)
class Last:
    """The task finished last, whatever its topic."""

    topic: str
    done: PractisedTask


@dataclass(frozen=True, slots=True)
class TopicStates:
    """A student's topics as they are now."""

    now: datetime  # UTC
    topics: tuple[TopicState, ...]
    effect: PracticeEffect
    last: Last | None
    exam: Exam | None  # the next one, where no topics were asked for


async def topic_states(
    serving: ServingModels, database: Database, student: UUID, topics: tuple[str, ...], school: UUID | None = None
) -> TopicStates:
    """Return the states of these topics; without any, of the next exam's and all that the student practises.

    Through the asynchronous driver; others have their turn between two predictions.
    """
    found = await run_async(_found(student, topics, school=school), database)
    return _states(serving, found, await predictions(serving, database, found.cells))


def topic_states_now(
    serving: ServingModels, db: Session, student: UUID, topics: tuple[str, ...], time_zone: str | None = None
) -> TopicStates:
    """Return the same through the session; today is the zone's, where one is named, else the student's."""
    found, answered = run_sync(_found(student, topics, time_zone), db), Answered()
    predicted = [run_sync(asked_once(predict(serving, asked, past), past, answered), db) for asked, past in found.cells]
    return _states(serving, found, predicted)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database knows."""

    known: PracticeHistory
    exam: Exam | None
    topics: Sequence[TopicHistory]
    others: Mapping[str, int]
    cells: Sequence[tuple[TaskRequest, StudentHistory]]


def _found(
    student: UUID, wanted: tuple[str, ...], time_zone: str | None = None, school: UUID | None = None
) -> QueryFlow[_Found]:
    and_own, exam = not wanted, None
    zone = zone_of(time_zone or (yield from accounts.time_zone_of(student)))
    if and_own:
        exam = yield from exam_plans.following(student)
        wanted = exam.topics if exam else ()
    else:
        wanted = tuple(dict.fromkeys((yield from spellings.called("topic", wanted)).values()))
    known = yield from topic_history.practice_history(student, wanted, zone, and_own=and_own)
    others = dict[str, int]()
    topics = _most_needed(known, wanted)
    if and_own and len(topics) < FEW:
        popular = yield from topic_history.popular_topics(student, school)
        own = {topic.topic for topic in topics}
        others = dict([each for each in popular.items() if each[0] not in own][: FEW - len(topics)])
        topics += [TopicHistory(topic) for topic in others]
    asked = [TaskRequest(student, topic.topic, each) for topic in topics for each in DIFFICULTIES]
    pasts = (yield from topic_history.histories(student, asked)) if asked else []
    return _Found(known, exam, topics, others, list(zip(asked, pasts, strict=True)))


def _most_needed(known: PracticeHistory, first: Sequence[str]) -> list[TopicHistory]:
    """Return as many topics as are predicted: all that are wanted, in their order, then the student's own that seem
    to need it most, by the share that went right."""
    by_name = {topic.topic: topic for topic in known.topics}
    own = [topic for topic in known.topics if topic.topic not in first]
    own.sort(key=lambda topic: (-_seems_to_need(topic, known.now), topic.topic))
    return [*(by_name[name] for name in first), *own][:TOPICS_MOST]


def _seems_to_need(topic: TopicHistory, now: datetime) -> float:
    wrong = (topic.n - topic.n_correct + 1) / (topic.n + 2)
    due = spacing.due(spacing.days_since(topic.recent, now), spacing.strength(topic.recent))
    return need(wrong, due, topic.tasks_today)


def _states(serving: ServingModels, found: _Found, predicted: Iterable[Prediction]) -> TopicStates:
    each, known = iter(predicted), found.known
    topics = tuple(
        TopicState(
            topic.topic,
            {difficulty: next(each) for difficulty in DIFFICULTIES},
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
    last = Last(known.last_topic, known.last) if known.last_topic is not None and known.last else None
    return TopicStates(known.now, topics, learning_curve.from_report(known.effect), last, found.exam)

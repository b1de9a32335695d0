"""All that is told a student of their practice, for the analytics page and for `GET /users/me/analytics` alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.orm import Session

from app.analytics import statistics
from app.analytics.ability import LEAST_ANSWERS, AbilityEstimate, ability_estimate
from app.analytics.statistics import Judged, TaskStatistics
from app.core.database import reading
from app.crud import learning_record
from app.crud.learning_record import FinishedTask, RecentResults, Total
from app.domain.attempts import DIFFICULTIES
from app.ml.serving.model_order import ServingModels

if TYPE_CHECKING:
    from app.ml.lnirt.ability import Standing

MOST_TASKS, MOST_DAYS = 2_000, 90  # of the window
LAST_DAYS = 14  # on Today, those without tasks too
LATELY = 20  # predicted tasks that are set against what came of them
TOPICS = 30  # that are told one by one
JUDGED_TOPICS = 100  # looked through for those that are mastered or shaky
POINTS, FEW_DAYS = 60, 5  # of a trajectory; with fewer days it goes task by task


@dataclass(frozen=True, slots=True)
class Point:
    """Where a student stood among others at some point of the window."""

    after: int  # tasks of the window; 0: before it
    day: date | None  # that ends there
    standing: "Standing"


@dataclass(frozen=True, slots=True)
class Overview:
    """A student's practice: what they ever finished in sum, and the newest tasks (the window) day by day."""

    total: Total | None  # none before the first task
    window: TaskStatistics | None
    days: Mapping[date, TaskStatistics]
    topics: Sequence[Total]  # the most practised first
    has_more_topics: bool
    difficulties: Sequence[Total]
    estimate: AbilityEstimate | None
    trajectory: Sequence[Point]  # empty where there are too few tasks or students
    judged: Judged
    lately: Sequence[RecentResults]

    @property
    def mastered(self) -> list[RecentResults]:
        return [each for each in self.lately if statistics.is_mastered(each)]

    @property
    def shaky(self) -> list[RecentResults]:
        return [each for each in self.lately if statistics.is_shaky(each)]


def lately(db: Session, student: UUID) -> TaskStatistics | None:
    """Sum up the tasks finished last that had been predicted."""
    found = learning_record.predicted_lately(db, student, LATELY)
    told = [
        (bool(each.is_correct), each.actual_time_seconds or 0.0, each.correctness_prob, each.estimated_time_seconds)
        for each in found
    ]
    return statistics.figures(told) if told else None


def overview_of(db: Session, serving: ServingModels, student: UUID, zone: tzinfo) -> Overview:
    """Look all of it up; days are those of the zone."""
    db.commit()  # the models are looked up by a connection of their own: a request holds one at a time
    serving.refresh()
    estimate = ability_estimate(db, serving, student)
    with reading(db) as known:
        until = estimate.past.at if estimate else datetime.now(UTC)
        done = learning_record.window(known, student, until, MOST_TASKS, MOST_DAYS)
        days = statistics.by_day(done, zone)
        topics = learning_record.totals(known, student, "topic", TOPICS + 1)
        difficulties = learning_record.totals(known, student, "difficulty")
        return Overview(
            total=learning_record.total(known, student),
            window=statistics.of_done(done) if done else None,
            days=days,
            topics=topics[:TOPICS],
            has_more_topics=len(topics) > TOPICS,
            difficulties=sorted(difficulties, key=lambda total: DIFFICULTIES.index(total.key)),
            estimate=estimate,
            trajectory=_trajectory(estimate, done, days),
            judged=statistics.judged(done),
            lately=learning_record.lately(known, student, statistics.LAST, JUDGED_TOPICS),
        )


def _trajectory(
    found: AbilityEstimate | None, done: Sequence[FinishedTask], days: Mapping[date, TaskStatistics]
) -> list[Point]:
    """Follow ability and speed over the window."""
    if found is None or found.past.n < LEAST_ANSWERS or not found.compares:
        return []
    steps = [(0, None), *statistics.steps(days, POINTS, FEW_DAYS)]
    standings = found.trajectory(done, [after for after, _ in steps[1:]])
    return [Point(after, day, standing) for (after, day), standing in zip(steps, standings, strict=False)]

"""A student's practice in figures."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from app.analytics.ability import LEAST_ANSWERS, AbilityEstimate
from app.analytics.overview import LAST_DAYS, Overview, lately, overview_of
from app.analytics.statistics import Judged
from app.core.db.statements import run_sync
from app.core.time_zones import zone_of
from app.crud import accounts, learning_record
from app.domain.fields import TimeZone
from app.routers.dependencies import AboutStudent, CallerFirst, Db, Serving
from app.schemas.analytics import (
    AnalyticsOut,
    AverageTask,
    CalibrationOut,
    ChanceGroup,
    CountedDay,
    LevelTotals,
    LnirtOut,
    PeriodOut,
    PlaceOut,
    PracticeDay,
    RecentTopic,
    StandingOut,
    TopicTotals,
    TotalsOut,
)
from app.schemas.problem import problems

router = APIRouter(tags=["A person's data"], route_class=CallerFirst)


@router.get("/users/me/analytics", responses=problems(401, 403, 404, 422))
def get_my_analytics(
    student: AboutStudent,
    db: Db,
    serving: Serving,
    time_zone: Annotated[TimeZone | None, Query(description="Whose days; else those of the student's account.")] = None,
) -> AnalyticsOut:
    """Your practice in figures: days, topics, levels, streak; ability and speed over time; how good predictions were.

    All that the analytics page shows, by the same functions. A service key names one of its students.
    """
    zone = zone_of(time_zone or run_sync(accounts.time_zone_of(student), db))
    seen = overview_of(db, serving, student, zone)
    day = datetime.now(UTC).astimezone(zone).date()
    last_days = learning_record.last_days(db, student, zone, day, LAST_DAYS)
    last_ones = lately(db, student)
    return AnalyticsOut(
        time_zone=zone.key,
        last_days=[CountedDay.model_validate(each) for each in last_days],
        lately=last_ones and PeriodOut.model_validate(last_ones),
        streak_days=learning_record.streak(db, student, zone, day),
        total=seen.total and TotalsOut.model_validate(seen.total),
        window=seen.window and PeriodOut.model_validate(seen.window),
        days=[PracticeDay.model_validate({**asdict(figures), "date": on}) for on, figures in seen.days.items()],
        topics=[TopicTotals.model_validate(each) for each in seen.topics],
        has_more_topics=seen.has_more_topics,
        levels=[LevelTotals.model_validate(each) for each in seen.difficulties],
        lnirt=seen.estimate and _lnirt(seen.estimate, seen),
        calibration=_calibration(seen.judged),
        mastered=[RecentTopic.model_validate(each) for each in seen.mastered],
        shaky=[RecentTopic.model_validate(each) for each in seen.shaky],
    )


def _lnirt(found: AbilityEstimate, seen: Overview) -> LnirtOut:
    missing = max(LEAST_ANSWERS - (seen.total.n if seen.total else 0), 0)
    now = found.now if found.compares and not missing else None
    return LnirtOut(
        missing_tasks=missing,
        students=found.students,
        ability=now and PlaceOut.model_validate(now.ability),
        speed=now and PlaceOut.model_validate(now.speed),
        average_task=None if missing else AverageTask.model_validate(found.on_average),
        over_time=[
            StandingOut.model_validate({"tasks": each.after, "date": each.day, **each.standing._asdict()})
            for each in seen.trajectory
        ],
    )


def _calibration(judged: Judged) -> CalibrationOut:
    return CalibrationOut(
        tasks=judged.n,
        missing_tasks=judged.missing,
        predicted=judged.chance if judged.n else None,
        observed=judged.right if judged.n else None,
        verdict=judged.verdict,
        groups=[ChanceGroup(tasks=n, predicted=chance, observed=right) for chance, right, n in judged.groups],
        timed_tasks=judged.timed,
        within_interval=judged.within,
    )

"""What the pages show a student of their own past. Each query is bounded, however many tasks there are."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.crud.practice_tasks import COLUMNS
from app.crud.rows import all_as, execute, first_as, number
from app.crud.student_totals import until_last
from app.domain.days import starts
from app.domain.tasks import Task

MOST_TOPICS = 200
STREAK_DAYS = (32, 366)  # that are looked at; most streaks are short
DAY_TASKS = 2_000  # of one day that are counted
PREDICTED_AMONG, LATELY_AMONG = 1_000, 5_000  # of the newest
LAST = until_last(":student")

TOTALS = """
    SELECT key, n, n_correct, CAST(microseconds AS float8) / 1e6 AS seconds FROM student_totals
    WHERE user_id = :student AND scope = :scope AND n > 0 ORDER BY n DESC, key LIMIT :most"""
STUDENTS = """
    SELECT count(*) FROM (SELECT FROM student_totals WHERE scope = 'all' AND n > 0 LIMIT :most) AS counted"""
# From one day to the day before, while there are tasks; as many steps as the streak has days. `starts` of today, of
# yesterday and so on: whoever asks knows where their midnights are, whatever zones the database has heard of.
STREAK = """
    WITH RECURSIVE given (starts) AS (SELECT CAST(:starts AS timestamptz[])), day (n) AS (
        SELECT 1 UNION ALL
        SELECT n + 1 FROM day, given WHERE EXISTS (
            SELECT FROM practice_tasks WHERE user_id = :student AND completed
                AND completed_at >= starts[n + 1] AND completed_at < starts[n]))
    SELECT max(n) - 1 + CAST(EXISTS (
        SELECT FROM practice_tasks WHERE user_id = :student AND completed
            AND completed_at >= :today AND completed_at < :tomorrow) AS integer)
    FROM day"""
DAYS = """
    SELECT done.n, done.n_correct
    FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])) WITH ORDINALITY
        AS day (start, until, place)
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, count(*) FILTER (WHERE is_correct) AS n_correct FROM (
            SELECT is_correct FROM practice_tasks
            WHERE user_id = :student AND completed AND completed_at >= day.start AND completed_at < day.until
            LIMIT :most) AS counted
    ) AS done
    ORDER BY day.place DESC"""
OPEN = f"""
    SELECT {COLUMNS} FROM practice_tasks WHERE user_id = :student AND NOT completed
    ORDER BY created_at DESC, id DESC LIMIT 1"""
# An import may have brought any number of tasks that nobody predicted: looked for among the newest only.
PREDICTED = f"""
    SELECT {COLUMNS} FROM (
        SELECT * FROM practice_tasks WHERE user_id = :student AND completed AND {LAST}
        ORDER BY completed_at DESC, id DESC LIMIT :among
    ) AS newest
    WHERE correctness_prob IS NOT NULL ORDER BY completed_at DESC, id DESC LIMIT :most"""
LAST_PREDICTED = f"""
    SELECT {COLUMNS} FROM (
        SELECT * FROM practice_tasks WHERE user_id = :student ORDER BY created_at DESC, id DESC LIMIT :among
    ) AS newest
    WHERE correctness_prob IS NOT NULL ORDER BY created_at DESC, id DESC LIMIT 1"""
WINDOW = f"""
    SELECT topic, difficulty, item_id, is_correct, actual_time_seconds, completed_at, correctness_prob,
        estimated_time_seconds, time_low_seconds, time_high_seconds
    FROM practice_tasks
    WHERE user_id = :student AND completed AND completed_at <= :until AND {LAST} AND completed_at > :span + (
        SELECT completed_at FROM practice_tasks
        WHERE user_id = :student AND completed AND completed_at <= :until AND {LAST}
        ORDER BY completed_at DESC LIMIT 1)
    ORDER BY completed_at DESC, id DESC LIMIT :most"""
# In one pass: of topics practised in turn, each would look through the others' tasks.
LATELY = f"""
    SELECT key AS topic, n, count(*) AS lately, count(*) FILTER (WHERE is_correct) AS lately_correct
    FROM (
        SELECT key, n FROM student_totals WHERE user_id = :student AND scope = 'topic' AND n > 0
        ORDER BY n DESC, key LIMIT :most
    ) AS practised
    JOIN (
        SELECT topic, is_correct,
            row_number() OVER (PARTITION BY topic ORDER BY completed_at DESC, id DESC) AS place
        FROM (
            SELECT topic, is_correct, completed_at, id FROM practice_tasks
            WHERE user_id = :student AND completed AND {LAST}
            ORDER BY completed_at DESC, id DESC LIMIT :among
        ) AS newest
    ) AS numbered ON topic = key
    WHERE place <= :last
    GROUP BY key, n
    ORDER BY n DESC, key"""


@dataclass(frozen=True, slots=True)
class Total:
    """Finished tasks of one topic, or of all."""

    key: str
    n: int
    n_correct: int
    seconds: float  # together

    @property
    def rate(self) -> float:
        return self.n_correct / self.n

    @property
    def mean_seconds(self) -> float:
        return self.seconds / self.n


def total(db: Session, student: UUID) -> Total | None:
    """Of all that they have finished; none before the first."""
    return first_as(Total, db, TOTALS, student=student, scope="all", most=1)


def totals(db: Session, student: UUID, scope: str = "topic", most: int = MOST_TOPICS) -> list[Total]:
    """By topic, by difficulty or by item, the most practised first."""
    return all_as(Total, db, TOTALS, student=student, scope=scope, most=most)


def students(db: Session, most: int) -> int:
    """How many students have a result; no more than `most` are counted."""
    return number(db, STUDENTS, most=most)


def streak(db: Session, student: UUID, zone: tzinfo, today: date) -> int:
    """Days in a row with a finished task, up to today; a streak of up to yesterday goes on. At the most a year's."""
    found = 0
    for days in STREAK_DAYS:
        begin = starts(zone, today, days)
        found = number(db, STREAK, student=student, starts=begin, today=begin[0], tomorrow=_tomorrow(zone, today))
        if found < days - 1:
            break
    return found


@dataclass(frozen=True, slots=True)
class Day:
    """Finished tasks of one day."""

    day: date
    n: int  # DAY_TASKS at the most
    n_correct: int  # of these

    @property
    def is_more(self) -> bool:
        """Whether there may be more of them."""
        return self.n == DAY_TASKS


def last_days(db: Session, student: UUID, zone: tzinfo, today: date, days: int) -> list[Day]:
    """The last so many days up to today, the oldest first."""
    begin = starts(zone, today, days)
    ends = [_tomorrow(zone, today), *begin[:-1]]
    rows = execute(db, DAYS, student=student, starts=begin, ends=ends, most=DAY_TASKS)
    return [Day(today - timedelta(days - 1 - place), row.n, row.n_correct) for place, row in enumerate(rows)]


def _tomorrow(zone: tzinfo, today: date) -> datetime:
    return starts(zone, today + timedelta(1), 1)[0]


def last_open(db: Session, student: UUID) -> Task | None:
    """The task asked for last that has no result yet."""
    return first_as(Task, db, OPEN, student=student)


def predicted_lately(db: Session, student: UUID, most: int) -> list[Task]:
    """The tasks finished last that had been predicted, the last first."""
    return all_as(Task, db, PREDICTED, student=student, most=most, among=PREDICTED_AMONG)


def last_predicted(db: Session, student: UUID) -> Task | None:
    """The task asked for last, finished or not."""
    return first_as(Task, db, LAST_PREDICTED, student=student, among=PREDICTED_AMONG)


class FinishedTask(NamedTuple):  # thousands for one page
    """A finished task beside what was predicted for it; None where nothing was."""

    topic: str
    difficulty: str
    item_id: str | None
    correct: bool
    seconds: float
    at: datetime  # UTC
    chance: float | None
    expected_seconds: float | None
    low_seconds: float | None  # 10-90 %
    high_seconds: float | None


def window(db: Session, student: UUID, until: datetime, most: int, days: int) -> list[FinishedTask]:
    """The tasks finished last, none of them so many days before the newest; the oldest first."""
    found = execute(db, WINDOW, student=student, until=until, most=most, span=timedelta(-days))
    rows = found.cursor.fetchall()  # a Row of each takes as long again
    return [FinishedTask._make(row) for row in reversed(rows)]


@dataclass(frozen=True, slots=True)
class RecentResults:
    """The newest finished tasks of a topic, of which there are `n` in all."""

    topic: str
    n: int
    lately: int
    lately_correct: int

    @property
    def rate(self) -> float:
        return self.lately_correct / self.lately


def lately(db: Session, student: UUID, last: int, most: int = MOST_TOPICS) -> list[RecentResults]:
    """How the last few tasks of each topic went, of those practised lately; the most practised topics first."""
    return all_as(RecentResults, db, LATELY, student=student, last=last, most=most, among=LATELY_AMONG)

"""Drift for people: the newest predictions against what the answering version learned from, in numbers and words."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.crud import predictions
from app.crud.model_versions import Version
from app.ml.features.drift import DIGITS, Asked, Shift, digest, grade_of, shifts
from app.ml.features.inputs import INPUTS, NETWORK_INPUTS
from app.schemas.live import DriftOut, InputDrift

NEWEST_ASKED = 1_000
LEAST = 100  # tasks, on either side
MOST_NAMED = 3
VERDICTS = ("steady", "shifted", "strongly shifted")  # by grade
WORDS = {
    "overall_success_rate": "share right so far",
    "overall_avg_time": "mean time so far",
    "overall_task_count": "tasks so far",
    "topic_success_rate": "share right on the topic",
    "topic_avg_time": "mean time on the topic",
    "topic_task_count": "tasks on the topic",
    "difficulty_success_rate": "share right at the difficulty",
    "difficulty_avg_time": "mean time at the difficulty",
    "difficulty_task_count": "tasks at the difficulty",
    "recent_success_rate": "share right of the last five",
    "recent_avg_time": "mean time of the last five",
    "previous_result": "result of the last task",
    "previous_time": "time of the last task",
    "session_tasks": "tasks in the half hour before",
    "topic_last_result": "result of the last task on the topic",
    "topic_last_time": "time of the last task on the topic",
    "log_since_last": "time since the last task",
    "log_since_topic": "time since the last task on the topic",
    "item_success_rate": "share right on the item",
    "item_avg_time": "mean time on the item",
    "item_task_count": "tasks on the item",
    "item_last_result": "last result on the item",
    "item_last_time": "last time on the item",
    "log_since_item": "time since the last try at the item",
}


def drift(db: Session, version: Version | None) -> DriftOut:
    """The newest predictions against what this version, the answering one, learned from."""
    if version is None:
        return DriftOut(text="No model answers yet, so there is nothing to compare with.")
    then = version.report.get("inputs")
    if not then or "students" not in then:
        return DriftOut(text=f"Version {version.id} was trained before it was kept what versions learn from.")
    inputs, students = predictions.inputs(db, len(NETWORK_INPUTS), NEWEST_ASKED)
    now = Asked(inputs[:, : len(INPUTS)], students)
    n = len(now)
    if min(n, then["rows"]) < LEAST:
        less = f"there are {n}" if n < LEAST else f"the model learned from {then['rows']}"
        return DriftOut(n=n, model_version_id=version.id, text=f"Drift speaks from {LEAST} tasks on; {less}.")
    names = predictions.topics_and_items(db, len(NETWORK_INPUTS), NEWEST_ASKED)
    topics, items = (_unseen(then[kind], asked) for kind, asked in zip(("topics", "items"), names, strict=True))
    found = shifts(then, now)
    grade = max([grade_of(topics or 0), *(shift.grade for shift in found if shift.counts)])
    moved = [shift.name for shift in found if shift.counts and shift.grade == grade]
    return DriftOut(
        n=n,
        model_version_id=version.id,
        verdict=VERDICTS[grade],
        unseen_topics=topics,
        unseen_items=items,
        inputs=[_out(shift) for shift in found],
        text=_sentence(grade, moved, n, topics),
    )


def _out(shift: Shift) -> InputDrift:
    return InputDrift(
        name=shift.name,
        words=WORDS[shift.name],
        psi=round(shift.psi, 4),
        by_chance=round(shift.by_chance, 4),
        verdict=VERDICTS[shift.grade],
        decides=shift.counts,
    )


def _unseen(known: str | None, asked: Sequence[str]) -> float | None:
    """The share of names that the model never saw; none where it saw too many to keep, or none is asked."""
    if known is None or not asked:
        return None
    seen = {known[start : start + DIGITS] for start in range(0, len(known), DIGITS)}
    return sum(digest(name) not in seen for name in asked) / len(asked)


def _sentence(grade: int, names: Sequence[str], n: int, unseen_topics: float | None) -> str:
    """What has moved, and what to make of it."""
    if grade == 0:
        return f"The newest {n:,} predicted tasks look like those that the model learned from."
    moved = [WORDS[name] for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        moved.append(f"{len(names) - MOST_NAMED} more")
    if unseen_topics:
        moved.append(f"topics ({unseen_topics:.0%} of the tasks are on topics that it never saw)")
    how = "differ strongly from" if grade == 2 else "differ from"
    return (
        f"The newest {n:,} predicted tasks {how} those that the model learned from: {', '.join(moved)}. "
        "Look at the live log-loss; the next trainings take the new tasks in."
    )

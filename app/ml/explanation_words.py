"""An explanation in words that a student understands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.tasks import Task
from app.ml.features import RECENT
from app.schemas.explanation import FeatureEffect, Foreseen

NONE = 0.5  # tasks: a count below it is 0, whatever the rounding
WHAT = {"success_rate": "the share right", "avg_time": "the time taken", "task_count": "the number of tasks done"}
WHERE = {"overall": "in all", "topic": "on this topic", "difficulty": "at this difficulty", "recent": "lately"}


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom the explanation speaks to: the student, or a school's back end about them."""

    is_student: bool

    @property
    def you(self) -> str:
        return "You" if self.is_student else "The student"

    @property
    def your(self) -> str:
        return "Your" if self.is_student else "The student's"

    @property
    def their(self) -> str:
        return "your" if self.is_student else "their"


def of_feature(name: str, own: Mapping[str, float], average: Mapping[str, float], task: Task, reader: Reader) -> str:
    """What the student had done, beside the average student; both by feature, as shares, seconds and tasks."""
    scope, _, kind = name.partition("_")
    count = own["overall_task_count" if scope == "recent" else f"{scope}_task_count"]
    what = _tasks(scope, count, task)
    said, usual = _value(kind, own[name]), _value(kind, average[name])
    if kind == "task_count":
        many = what.replace("tasks", "task", 1) if said == "1" else what
        return f"{reader.you} had finished {said} {many}, the average student {usual}"
    if count < NONE:
        ending = f"{said} right, the average student {usual}"
        if kind == "avg_time":
            ending = f"{said}, the average student's took {usual}"
        return f"{reader.you} had finished no {what} yet, which counts as {ending}"
    if kind == "success_rate":
        return f"{reader.you} got {said} of {reader.their} {what} right, the average student {usual}"
    return f"{reader.your} {what} took {said} on average, the average student's {usual}"


def _tasks(scope: str, count: float, task: Task) -> str:
    if scope == "topic":
        return f"tasks on {task.topic}"
    if scope == "difficulty":
        return f"{task.difficulty} tasks"
    return f"last {min(round(count), RECENT)} tasks" if scope == "recent" and count >= NONE else "tasks"


def _value(kind: str, value: float) -> str:
    if kind == "success_rate":
        return percent(value)
    return f"{value:.0f} s" if kind == "avg_time" else f"{value:.0f}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def effect(correctness: float, seconds: float) -> str:
    """How far something moved the prediction."""
    points, later = round(100 * correctness), round(seconds)
    parts = [f"{abs(points)} point{'s' * (abs(points) != 1)} {'up' if points > 0 else 'down'}"] if points else []
    parts += [f"{abs(later)} s {'more' if later > 0 else 'less'}"] if later else []
    return ", ".join(parts) or "hardly any difference"


def summary(own: Foreseen, average: Foreseen, sorted_effects: Sequence[FeatureEffect], reader: Reader) -> str:
    """The prediction, the average student's, and what made the difference."""
    they = "You are" if reader.is_student else "The student is"
    told = (
        f"{they} {percent(own.correctness_prob)} likely to get this right, in about "
        f"{own.estimated_time_seconds:.0f} s; with the past of an average student it would be "
        f"{percent(average.correctness_prob)}, in about {average.estimated_time_seconds:.0f} s."
    )
    most = [each for each in sorted_effects[:3] if round(100 * each.correctness_effect)]
    if not most:
        return f"{told} No single thing in the past moves it by as much as a point."
    named = [f"{_label(each.feature)} ({effect(each.correctness_effect, 0)})" for each in most]
    return f"{told} What moves it most: {', '.join(named)}."


def _label(feature: str) -> str:
    scope, _, kind = feature.partition("_")
    return f"{WHAT[kind]} {WHERE[scope]}"


def without_features(task: Task, said: Foreseen, reader: Reader) -> str:
    """For the kinds of model that don't use the eleven."""
    if task.model_version == "prior":
        return (
            f"No model could be asked, so this is what everybody is told: {percent(said.correctness_prob)} and "
            f"{said.estimated_time_seconds:.0f} s. {reader.your} past had no part in it."
        )
    whose = "your" if reader.is_student else "the student's"
    if task.model_version == "v1.0":
        return (
            f"LNIRT made this prediction. It doesn't use the eleven features: it sets {whose} ability and speed, "
            "estimated from all answers so far, against how hard the exercise is and how long it takes."
        )
    return f"{task.model_version} made this prediction, and it doesn't use the eleven features."

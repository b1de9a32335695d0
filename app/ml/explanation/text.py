"""An explanation in words that a student understands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.tasks import Task
from app.ml.explanation.values import FeatureEffect, Foreseen, PartEffect
from app.ml.features.inputs import RECENT

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


def of_part(part: str, task: Task, known: int, reader: Reader) -> str:
    """A part of the task; `known`: how many of the student's answers are."""
    if part == "student":
        return f"{reader.your} ability and speed, by {known} answer{'s' * (known != 1)}"
    return f"The {part} {task.item_id if part == 'exercise' else getattr(task, part)}"


def summary(own: Foreseen, average: Foreseen, sorted_effects: Sequence[FeatureEffect], reader: Reader) -> str:
    """The prediction, the average student's, and what made the difference."""
    they = "You are" if reader.is_student else "The student is"
    told = _beside(they, own, "with the past of an average student it would be", average)
    most = _most({_label(each.feature): each.correctness_effect for each in sorted_effects})
    return f"{told} {most or 'No single thing in the past moves it by as much as a point.'}"


def summary_of_parts(own: Foreseen, average: Foreseen, sorted_effects: Sequence[PartEffect], reader: Reader) -> str:
    """The same of LNIRT's parts."""
    they = f"LNIRT made this prediction: {'you are' if reader.is_student else 'the student is'}"
    told = _beside(they, own, "of an average student on an average task it would say", average)
    names = {"student": f"{reader.their} ability"}
    most = _most({names.get(each.part, f"the {each.part}"): each.correctness_effect for each in sorted_effects})
    return f"{told} {most or 'Nothing moves the chance by as much as a point.'}"


def _beside(they_are: str, own: Foreseen, else_it: str, average: Foreseen) -> str:
    (chance, time), (other, usual) = (
        (percent(each.correctness_prob), f"in about {each.estimated_time_seconds:.0f} s") for each in (own, average)
    )
    return f"{they_are} {chance} likely to get this right, {time}; {else_it} {other}, {usual}."


def _most(sorted_effects: Mapping[str, float]) -> str:
    """The three that moved the chance furthest, as far as they did by a point."""
    named = [f"{name} ({effect(by, 0)})" for name, by in list(sorted_effects.items())[:3] if round(100 * by)]
    return f"What moves it most: {', '.join(named)}." if named else ""


def _label(feature: str) -> str:
    scope, _, kind = feature.partition("_")
    return f"{WHAT[kind]} {WHERE[scope]}"


def without_numbers(task: Task, said: Foreseen, reader: Reader) -> str:
    """Where nothing is there to set beside the prediction."""
    if task.model_version == "prior":
        return (
            f"Nothing was known yet, so this is the first guess: {percent(said.correctness_prob)} and "
            f"{said.estimated_time_seconds:.0f} s. Nothing moved it."
        )
    return (
        f"LNIRT made this prediction, from {reader.their} ability and speed and from how hard the exercise is and how "
        "long it takes. What it knew of these then is no longer kept, so there are no numbers."
    )

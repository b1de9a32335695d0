"""What moves a prediction, in words for students: the eleven features, and the parts that LNIRT adds up."""

from app.core.languages import Translator
from app.domain.tasks import Task


def feature_name(translator: Translator, name: str) -> str:
    said = {
        "overall_success_rate": translator("Right, of all your tasks"),
        "overall_avg_time": translator("Time, of all your tasks"),
        "overall_task_count": translator("Tasks done"),
        "topic_success_rate": translator("Right, on this topic"),
        "topic_avg_time": translator("Time, on this topic"),
        "topic_task_count": translator("Tasks done on this topic"),
        "difficulty_success_rate": translator("Right, at this difficulty"),
        "difficulty_avg_time": translator("Time, at this difficulty"),
        "difficulty_task_count": translator("Tasks done at this difficulty"),
        "recent_success_rate": translator("Right, of your last five"),
        "recent_avg_time": translator("Time, of your last five"),
    }
    return said.get(name, name)


def feature_value(translator: Translator, name: str, value: float) -> str:
    """A share, seconds, or a number of tasks."""
    if name.endswith("_success_rate"):
        return translator.percent(value)
    return translator.seconds(value) if name.endswith("_avg_time") else translator.number(value)


def part_name(translator: Translator, part: str, task: Task) -> str:
    """A part of the task."""
    return {
        "student": translator("Your ability and speed"),
        "topic": translator("The topic: %(name)s", name=task.topic),
        "difficulty": translator("The difficulty: %(name)s", name=_difficulty(translator, task.difficulty)),
        "exercise": translator("The exercise: %(name)s", name=task.item_id),
    }[part]


def _difficulty(translator: Translator, name: str) -> str:
    return {"easy": translator("easy"), "medium": translator("medium"), "hard": translator("hard")}[name]

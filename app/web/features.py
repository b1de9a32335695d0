"""What moves a prediction, in words for students: the eleven features, and the parts that LNIRT adds up."""

from app.domain.tasks import Task
from app.web.languages import Words


def feature_name(words: Words, name: str) -> str:
    said = {
        "overall_success_rate": words("Right, of all your tasks"),
        "overall_avg_time": words("Time, of all your tasks"),
        "overall_task_count": words("Tasks done"),
        "topic_success_rate": words("Right, on this topic"),
        "topic_avg_time": words("Time, on this topic"),
        "topic_task_count": words("Tasks done on this topic"),
        "difficulty_success_rate": words("Right, at this difficulty"),
        "difficulty_avg_time": words("Time, at this difficulty"),
        "difficulty_task_count": words("Tasks done at this difficulty"),
        "recent_success_rate": words("Right, of your last five"),
        "recent_avg_time": words("Time, of your last five"),
    }
    return said.get(name, name)


def feature_value(words: Words, name: str, value: float) -> str:
    """A share, seconds, or a number of tasks."""
    if name.endswith("_success_rate"):
        return words.percent(value)
    return words.seconds(value) if name.endswith("_avg_time") else words.number(value)


def part_name(words: Words, part: str, task: Task) -> str:
    """A part of the task."""
    return {
        "student": words("Your ability and speed"),
        "topic": words("The topic: %(name)s", name=task.topic),
        "difficulty": words("The difficulty: %(name)s", name=_difficulty(words, task.difficulty)),
        "exercise": words("The exercise: %(name)s", name=task.item_id),
    }[part]


def _difficulty(words: Words, name: str) -> str:
    return {"easy": words("easy"), "medium": words("medium"), "hard": words("hard")}[name]

"""Drift in words."""

from collections.abc import Sequence

MOST_NAMED = 3

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


def sentence(grade: int, names: Sequence[str], n: int, unseen_topics: float | None) -> str:
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

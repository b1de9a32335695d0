"""What a training holds in memory grows by little with each task."""

from benchmarks.child import told_by

FEWER, MORE = 50_000, 300_000  # tasks
MOST = 120  # bytes a task, beside what a training holds however few there are


def test_a_training_from_scratch_takes_little_memory_for_each_task_more() -> None:
    """Without reading them, which takes a database, and networks, which learn from a sample."""
    few, many = (told_by("benchmarks.memory", "--child", rows)["steps"] for rows in (FEWER, MORE))
    peaks = {step: taken["peak"] - max(each["peak"] for each in few.values()) for step, taken in many.items()}
    step = max(peaks, key=lambda name: peaks[name])
    assert peaks[step] <= MOST * (MORE - FEWER), f"{step} takes {peaks[step] / (MORE - FEWER):.0f} bytes a task"

"""The whole loop, once."""

from collections.abc import Callable

from tests.school import Student, until


def test_after_five_more_tasks_the_next_prediction_is_by_a_new_version(student: Callable[..., Student]) -> None:
    ada, ben = student("ada"), student("ben")

    first = ada.ask("Calculus").json()
    assert (first["correctness_prob"], first["estimated_time_seconds"]) == (0.5, 60)
    assert first["model_version"] == "prior"

    ben.do(is_correct=False, seconds=30)
    moved = ada.ask("Calculus").json()
    assert (moved["model_version"], moved["model_version_id"]) == ("v1.0", None)
    assert moved["correctness_prob"] < 0.5
    assert moved["estimated_time_seconds"] < 60

    for number in range(8):
        (ada if number % 2 else ben).do(is_correct=number % 3 != 0, seconds=20 + number)
    assert ada.status()["training"] is None
    assert "first training starts at 10" in ada.status()["counter"]["text"]

    ada.complete(first["id"])
    version = until(lambda: ada.status()["serving"]["model_version_id"])
    second = ada.ask("Calculus").json()
    assert (second["model_version"], second["model_version_id"]) == ("v1.0", version)
    assert 0.01 <= second["correctness_prob"] <= 0.99
    assert 5 <= second["estimated_time_seconds"] <= 600
    status = ada.status()
    assert status["serving"]["trained_on_tasks"] == 10
    assert status["counter"]["since_training"] == 0
    assert status["last_run"]["outcome"] == "published"

    for _ in range(5):
        ben.do(is_correct=False)
    until(lambda: ada.status()["serving"]["model_version_id"] != version)
    assert ada.status()["serving"]["trained_on_tasks"] == 15
    stranger = student("stranger").ask("a topic nobody has seen", "hard").json()
    assert stranger["model_version"] == "v1.0"

"""What is answered before anything was trained: an installation's first tasks, as its students see them."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.ml.evaluation.simulated import school, simulate
from app.ml.training.scheduler import trainer
from tests.school import Student, imported, until

Students = Callable[..., Student]


def foreseen(student: Student, topic: str = "Calculus", difficulty: str = "medium") -> tuple[float, float, str]:
    task = student.ask(topic, difficulty).json()
    return task["correctness_prob"], task["estimated_time_seconds"], task["model_version"]


def test_the_second_answer_has_moved_the_way_the_first_task_went(student: Students) -> None:
    ada = student("ada")
    assert foreseen(ada) == (0.5, 60, "prior")
    ada.do(is_correct=True, seconds=30)
    chance, seconds, who = foreseen(ada)
    assert chance > 0.6
    assert 30 < seconds < 50
    assert who == "v1.0"


def test_five_of_five_are_told_about_four_in_five(student: Students) -> None:
    ada = student("ada")
    for _ in range(5):
        ada.do(is_correct=True, seconds=30)
    chance, seconds, _ = foreseen(ada)
    assert 0.75 < chance < 0.95
    assert 28 < seconds < 40


def test_a_strong_topic_and_a_weak_one_are_told_apart(student: Students) -> None:
    ada = student("ada")
    for _ in range(4):  # no training begins: the tests' trainer waits
        ada.do(topic="Calculus", is_correct=True, seconds=30)
        ada.do(topic="Microeconomics", is_correct=False, seconds=90)
    strong, weak = foreseen(ada), foreseen(ada, "Microeconomics")
    assert strong[0] > weak[0] + 0.3
    assert strong[1] < weak[1]


def test_somebody_else_is_told_what_a_stranger_may_expect_here(student: Students) -> None:
    ada, ben = student("ada"), student("ben")
    for _ in range(4):
        ada.do(is_correct=False, seconds=120)
    chance, seconds, who = foreseen(ben)
    assert 0.25 < chance < 0.5
    assert 60 < seconds < 130
    assert who == "v1.0"


def test_a_window_left_open_over_night_hardly_moves_what_follows(student: Students) -> None:
    ada = student("ada")
    for _ in range(3):
        ada.do(is_correct=True, seconds=33)
    before = foreseen(ada)[1]
    ada.do(is_correct=True, seconds=24 * 3600)
    slipped = foreseen(ada)[1]
    assert slipped < 2 * before
    for _ in range(4):
        ada.do(is_correct=True, seconds=33)
    assert foreseen(ada)[1] < 1.5 * before


def test_a_change_of_pace_is_followed(student: Students) -> None:
    ada = student("ada")
    for _ in range(3):
        ada.do(is_correct=True, seconds=30)
    for _ in range(5):
        ada.do(is_correct=True, seconds=120)
    assert foreseen(ada)[1] > 55


def test_a_prediction_from_before_the_first_training_is_explained_after_it(student: Students, db: Session) -> None:
    imported(db, simulate(school(4, seed=1), 5, seed=1).attempts)
    ada = student("ada")
    task = ada.ask().json()
    assert (task["model_version"], task["model_version_id"]) == ("v1.0", None)
    assert trainer().train_now(kinds=["lnirt"])["outcome"] == "published"
    until(lambda: ada.ask().json()["model_version_id"])  # the first to ask may find that there is a new version
    answer = ada.get(f"/practice-tasks/{task['id']}/explanation")
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"].startswith("LNIRT made this prediction")
    assert [(each["kind"], each["answered"]) for each in answer.json()["kinds"]] == [("lnirt", False)]

"""A prediction explained: to its student, to the school, and to nobody else."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Statement
from app.crud import model_versions
from app.crud.student_totals import StudentHistory
from app.domain.tasks import TaskRequest
from app.ml.answers import Answer, Answers, Floats
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.features.history import FEATURES
from app.ml.features.inputs import NETWORK_INPUTS, inputs_of_past
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import Loaded, ModelOrder, serving_models
from tests.school import SOMEBODY, Student, imported
from tests.versions import pruned, serving, version

Students = Callable[..., Student]
TOPIC_RATE, RECENT_TIME = FEATURES.index("topic_success_rate"), FEATURES.index("recent_avg_time")
USUAL = np.linspace(0.3, 0.8, len(NETWORK_INPUTS))


class Plain:
    """Answers from two features and the student's own name, and from how the two go together."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"average": USUAL.tolist()}

    def predict(
        self, students: list[str], topics: list[str], difficulties: list[str], items: list[str | None], inputs: Floats
    ) -> Answers:
        assert len(students) == len(topics) == len(difficulties) == len(items) == len(inputs)
        rate, time = inputs[:, TOPIC_RATE], inputs[:, RECENT_TIME]
        p, seconds = 0.2 + 0.5 * rate + 0.1 * rate * time, 20 + 50 * time
        return Answers(p, seconds, p, p, seconds, seconds)

    def answer(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Answer]:
        names = ([str(asked.user_id)], [asked.topic], [asked.difficulty], [asked.item_id])
        return self.predict(*names, inputs_of_past(past))[0]
        yield

    def varied(self, version_id: int, asked: TaskRequest, inputs: Floats, at: Any) -> QueryFlow[Answers]:
        n = len(inputs)
        names = ([str(asked.user_id)] * n, [asked.topic] * n, [asked.difficulty] * n, [asked.item_id] * n)
        return self.predict(*names, inputs)
        yield

    def answers(self, *_: Any) -> Answers:
        raise NotImplementedError


class WithState(Plain):
    """As a model of sequences: it looks something up, once, whatever the number of variations."""

    def varied(self, version_id: int, asked: TaskRequest, inputs: Floats, at: Any) -> QueryFlow[Answers]:
        rows = yield Statement("SELECT id FROM users WHERE id = :id"), {"id": asked.user_id}
        assert rows[0]["id"] == asked.user_id
        nobody = [""] * len(inputs)
        return self.predict(nobody, nobody, nobody, [None] * len(inputs), inputs)


def answered_by(db: Session, model: Any, kind: str = "embedding_v2") -> int:
    """A version of this kind serves; the model is in memory, its files are not there."""
    made = version(db, kind)
    serving(db, made)
    loaded = Loaded(BY_NAME[kind], model_versions.get(db, made), model)
    db.commit()
    serving_models().model_order = ModelOrder((loaded,), order=(kind,), wanted=(made, 1000, 1000))
    return made


def explained(caller: Student, task: dict[str, Any]) -> Any:
    answer = caller.get(f"/practice-tasks/{task['id']}/explanation")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def ada(student: Students) -> Student:
    return student("ada")


@pytest.mark.parametrize("model", [Plain(), WithState()], ids=["inputs", "state"])
def test_the_effects_add_up_to_the_difference(ada: Student, db: Session, model: Plain) -> None:
    made = answered_by(db, model)
    for correct in (True, True, True, False):
        ada.do(is_correct=correct, seconds=40)
    task = ada.ask().json()
    found = explained(ada, task)
    assert (found["model_version_id"], found["explained_by_version_id"]) == (made, made)
    own, average = found["prediction"], found["average_student"]
    for name, effect in (("correctness_prob", "correctness_effect"), ("estimated_time_seconds", "time_effect_seconds")):
        assert own[name] == pytest.approx(task[name], abs=1e-12)
        assert sum(each[effect] for each in found["features"]) == pytest.approx(own[name] - average[name], abs=1e-12)
    assert {each["feature"] for each in found["features"]} == set(FEATURES)


def test_features_that_are_not_used_have_no_effect_and_come_last(ada: Student, db: Session) -> None:
    answered_by(db, Plain())
    ada.do(is_correct=True, seconds=200)
    features = explained(ada, ada.ask().json())["features"]
    assert [each["feature"] for each in features[:2]] == ["topic_success_rate", "recent_avg_time"]
    for each in features[2:]:
        assert (each["correctness_effect"], each["time_effect_seconds"]) == (0, 0)
        assert each["text"].endswith(": hardly any difference.")


def test_values_are_in_plain_units_and_words(ada: Student, db: Session) -> None:
    answered_by(db, Plain())
    for correct in (True, False, False):
        ada.do(is_correct=correct, seconds=42)
    found = explained(ada, ada.ask(difficulty="hard").json())
    by_name = {each["feature"]: each for each in found["features"]}
    assert by_name["topic_success_rate"]["value"] == pytest.approx(1 / 3)
    assert by_name["overall_avg_time"]["value"] == pytest.approx(42)
    assert by_name["topic_task_count"]["value"] == pytest.approx(3)
    assert by_name["topic_task_count"]["average"] == pytest.approx(20 * USUAL[FEATURES.index("topic_task_count")])
    usual = round(100 * USUAL[TOPIC_RATE])
    rate = by_name["topic_success_rate"]["text"]
    assert rate.startswith(f"You got 33 % of your tasks on Calculus right, the average student {usual} %: ")
    assert by_name["recent_avg_time"]["text"].startswith(
        "Your last 3 tasks took 42 s on average, the average student's "
    )
    assert by_name["difficulty_success_rate"]["text"].startswith(
        "You had finished no hard tasks yet, which counts as 50 % right, the average student "
    )
    assert by_name["difficulty_task_count"]["text"].startswith("You had finished 0 hard tasks, the average student ")
    assert found["text"].startswith("You are ")
    assert "with the past of an average student it would be" in found["text"]
    assert "What moves it most: the share right on this topic (" in found["text"]


def test_the_school_is_told_of_the_student(school: Student, db: Session) -> None:
    answered_by(db, Plain())
    school.do(user_id=SOMEBODY, is_correct=True)
    found = explained(school, school.ask(user_id=SOMEBODY).json())
    assert found["text"].startswith("The student is ")
    by_name = {each["feature"]: each["text"] for each in found["features"]}
    assert by_name["overall_success_rate"].startswith("The student got 100 % of their tasks right, the average")
    assert by_name["overall_task_count"].startswith("The student had finished 1 task, the average student ")


def test_only_the_student_and_the_school_see_it(ada: Student, student: Students, school: Student, db: Session) -> None:
    ada.client.post("/users/me/schools", json={"name": "school"}, headers=ada.headers)
    task = school.ask(user_id=ada.get("/users/me").json()["id"]).json()
    path = f"/practice-tasks/{task['id']}/explanation"
    assert ada.get(path).status_code == 200
    assert ada.client.get(path).status_code == 401
    refused = student("ben").get(path)
    assert (refused.status_code, refused.json()["detail"]) == (404, "There is no such task among yours.")
    assert school.get(path).status_code == 200


def test_the_prior_says_that_it_looks_at_nothing(ada: Student) -> None:
    found = explained(ada, ada.ask().json())
    assert (found["model_version"], found["features"], found["average_student"]) == ("prior", [], None)
    assert found["parts"] == []
    assert found["text"] == ("Nothing was known yet, so this is the first guess: 50 % and 60 s. Nothing moved it.")


def test_lnirt_says_what_it_goes_by_even_when_its_files_are_gone(ada: Student, db: Session) -> None:
    made = answered_by(db, Plain(), "lnirt")
    task = ada.ask().json()
    serving(db)
    pruned(db, made)
    found = explained(ada, task)
    assert (found["model_version"], found["features"]) == ("v1.0", [])
    assert (found["parts"], found["average_student"]) == ([], None)
    assert found["text"].endswith("is no longer kept, so there are no numbers.")


def add_up(found: dict[str, Any], task: dict[str, Any]) -> None:
    """The parts make up what was told, less what is said of an average student on an average task."""
    for name, effect in (("correctness_prob", "correctness_effect"), ("estimated_time_seconds", "time_effect_seconds")):
        own, average = found["prediction"][name], found["average_student"][name]
        assert own == pytest.approx(task[name], rel=1e-9)
        assert sum(each[effect] for each in found["parts"]) == pytest.approx(own - average, abs=1e-9)


def by_part(found: dict[str, Any]) -> dict[str, Any]:
    return {each["part"]: each for each in found["parts"]}


@pytest.fixture(scope="module")
def lnirt() -> ServedLnirt:
    return fit_lnirt(simulate(simulated_school(12, seed=5), 30, seed=5).attempts).served()


def test_lnirt_says_how_far_each_part_moved_its_prediction(ada: Student, db: Session, lnirt: ServedLnirt) -> None:
    made = answered_by(db, lnirt, "lnirt")
    for _ in range(6):
        ada.do(topic="algebra", difficulty="hard", is_correct=True, seconds=8)
    task = ada.ask("algebra", "hard").json()
    found = explained(ada, task)
    assert (found["features"], found["explained_by_version_id"]) == ([], made)
    add_up(found, task)
    parts = by_part(found)
    assert set(parts) == {"student", "topic", "difficulty"}
    assert parts["student"]["correctness_effect"] > 0.05
    assert parts["student"]["time_effect_seconds"] < -1
    assert parts["difficulty"]["correctness_effect"] < 0
    points = round(100 * parts["student"]["correctness_effect"])
    assert parts["student"]["text"].startswith(f"Your ability and speed, by 6 answers: {points} points up, ")
    assert "of an average student on an average task it would say" in found["text"]
    sizes = [abs(each["correctness_effect"]) for each in found["parts"]]
    assert sizes == sorted(sizes, reverse=True)


def test_of_somebody_unknown_only_the_task_moves_the_chance(ada: Student, db: Session, lnirt: ServedLnirt) -> None:
    answered_by(db, lnirt, "lnirt")
    student = by_part(explained(ada, ada.ask("algebra", "hard").json()))["student"]
    assert abs(student["correctness_effect"]) < 1e-12
    assert abs(student["time_effect_seconds"]) < 1e-9
    assert student["text"] == "Your ability and speed, by 0 answers: hardly any difference."


def test_before_the_first_training_the_parts_have_numbers_too(ada: Student, student: Students) -> None:
    ben = student("ben")
    for _ in range(4):
        ada.do(topic="Waves", difficulty="easy", item_id="w-1", is_correct=True, seconds=20)
        ben.do(topic="Waves", difficulty="easy", item_id="w-1", is_correct=True, seconds=20)
        ben.do(topic="Optics", difficulty="hard", item_id="o-1", is_correct=False, seconds=90)
    task = ada.ask("Waves", "easy", item_id="w-1").json()
    ada.do(topic="Waves", difficulty="easy", is_correct=False, seconds=300)  # later: changes nothing
    found = explained(ada, task)
    assert (found["model_version"], found["model_version_id"], found["explained_by_version_id"]) == ("v1.0", None, None)
    add_up(found, task)
    parts = by_part(found)
    assert set(parts) == {"student", "topic", "difficulty", "exercise"}
    assert all(each["correctness_effect"] > 0 > each["time_effect_seconds"] for each in parts.values())
    assert parts["exercise"]["text"].startswith("The exercise w-1: ")


def test_times_beyond_the_usual_are_explained_as_they_were_told(ada: Student) -> None:
    for _ in range(7):
        ada.do(topic="Waves", is_correct=True, seconds=0.1)
    task = ada.ask("Waves").json()
    found = explained(ada, task)
    assert task["estimated_time_seconds"] < 5
    add_up(found, task)
    assert "It was told as" not in found["text"]


def test_what_has_changed_since_is_told(ada: Student, db: Session) -> None:
    for _ in range(3):
        ada.do(is_correct=True, seconds=20)
    task = ada.ask().json()
    db.execute(text("UPDATE practice_tasks SET is_correct = false WHERE completed"))
    db.commit()
    found = explained(ada, task)
    assert found["prediction"]["correctness_prob"] < task["correctness_prob"]
    assert f"(It was told as {round(100 * task['correctness_prob'])} % and " in found["text"]


def test_the_school_is_told_of_the_students_ability(school: Student) -> None:
    school.do(user_id=SOMEBODY, is_correct=True)
    found = explained(school, school.ask(user_id=SOMEBODY).json())
    assert found["text"].startswith("LNIRT made this prediction: the student is ")
    assert by_part(found)["student"]["text"].startswith("The student's ability and speed, by 1 answer: ")


def test_another_version_explains_what_it_would_have_said(ada: Student, db: Session) -> None:
    old = answered_by(db, Plain())
    task = ada.ask().json()
    new = answered_by(db, Plain())
    found = explained(ada, task)
    assert (found["model_version_id"], found["explained_by_version_id"]) == (old, new)
    assert found["text"].startswith(f"Version {old}, which made this prediction, is no longer kept; version {new} ")


def refused(caller: Student, task_id: object) -> str:
    answer = caller.get(f"/practice-tasks/{task_id}/explanation")
    assert answer.status_code == 409, answer.text
    return str(answer.json()["detail"])


def test_what_cannot_be_explained_is_said_in_a_sentence(ada: Student, school: Student, db: Session) -> None:
    made = answered_by(db, Plain())
    task = ada.ask().json()
    db.execute(text("UPDATE practice_tasks SET features = NULL"))
    db.commit()
    assert "was not kept at the time" in refused(ada, task["id"])
    task = ada.ask().json()
    serving(db)
    serving_models().refresh()
    assert f"Version {made} of embedding_v2, which predicted this, is no longer kept." == refused(ada, task["id"])
    imported(db, simulate(simulated_school(1, seed=1), 1, seed=1).attempts)
    task_id: UUID | None = db.scalar(text("SELECT id FROM practice_tasks WHERE correctness_prob IS NULL"))
    assert refused(school, task_id) == "This task was imported; nothing was predicted for it."


def test_a_version_without_an_average_student_takes_a_newcomer(ada: Student, db: Session) -> None:
    model = Plain()
    model.metadata = {}
    answered_by(db, model)
    found = explained(ada, ada.ask().json())  # a newcomer
    assert found["prediction"] == found["average_student"]
    assert "No single thing in the past moves it" in found["text"]
    assert found["text"].endswith("a newcomer without a past stands in.)")

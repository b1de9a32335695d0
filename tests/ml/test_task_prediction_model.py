"""`TaskPredictionModel`, as somebody uses it from a notebook: plain arrays, no database."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.ml.embedding_model import TaskPredictionModel
from app.ml.task_prediction_model import SECOND, _after, _tasks

pytestmark = pytest.mark.slow  # its LSTM is compiled in the test's own process
STUDENTS, TASKS = 12, 20
ARRAYS = ("user_ids", "topics", "difficulties", "is_correct", "actual_time_seconds", "timestamps")


def toy() -> dict[str, Any]:
    """Even students are right nine times in ten and take 20 s; odd ones twice in ten, 80 s."""
    random, n = np.random.default_rng(1), STUDENTS * TASKS
    student = np.tile(np.arange(STUDENTS), TASKS)
    strong = student % 2 == 0
    return {
        "user_ids": [f"student {each}" for each in student],
        "topics": random.choice(["Calculus", "Waves"], n),
        "difficulties": random.choice(["easy", "medium", "hard"], n),
        "is_correct": random.random(n) < np.where(strong, 0.9, 0.2),
        "actual_time_seconds": np.where(strong, 20, 80) * random.lognormal(0, 0.2, n),
        "timestamps": 1.7e9 + 3600.0 * np.arange(n),
    }


@pytest.fixture(scope="module")
def model() -> TaskPredictionModel:
    made = TaskPredictionModel()
    report = made.train(**toy())
    assert report["log_loss"] < report["constant_log_loss"]
    return made


def test_knows_a_strong_student_from_a_weak_one(model: TaskPredictionModel) -> None:
    p, seconds = model.predict(["student 1", "student 0"], ["Waves", "Waves"], ["easy", "easy"])
    assert p[1] > p[0] + 0.2
    assert seconds[1] < seconds[0] / 1.5


def test_answers_for_strangers_and_unknown_topics_in_any_order(model: TaskPredictionModel) -> None:
    now = toy()["timestamps"][-1] + 1e5
    three = (["nobody", "student 0", "student 1"], ["Sums", "Calculus", "Waves"], ["hard"] * 3, [now, now - 5, now])
    p, seconds = model.predict(*three)
    assert p.shape == seconds.shape == (3,)
    assert np.isfinite(p).all()
    assert (seconds > 0).all()
    again = model.predict(*(each[::-1] for each in three))
    np.testing.assert_allclose([p, seconds], np.array(again)[:, ::-1], rtol=1e-6)


def test_a_task_counts_from_its_completion_on(model: TaskPredictionModel) -> None:
    first = toy()["timestamps"][0]
    one = (["student 0"], ["Waves"], ["easy"])
    at_first = model.predict(*one, [first])
    np.testing.assert_allclose(at_first, model.predict(*one, [first - 1000]), rtol=1e-6)
    assert model.predict(*one)[0] > at_first[0]


def test_a_reloaded_model_says_the_same(model: TaskPredictionModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert {"correctness_model.keras", "time_model.keras", "metadata.json"} <= {f.name for f in tmp_path.iterdir()}
    asked = (["student 0", "nobody"], ["Waves", "Waves"], ["easy", "hard"])
    np.testing.assert_array_equal(TaskPredictionModel.load(tmp_path).predict(*asked), model.predict(*asked))


def test_built_and_not_trained_it_answers_what_lnirt_says() -> None:
    model = TaskPredictionModel().build(**toy())
    asked = (["student 0", "student 1"], ["Waves", "Waves"], ["easy", "hard"])
    fitted, past = model._known()
    assert fitted.base is not None
    tasks = _after(past, _tasks(*asked, np.zeros(2, bool), np.ones(2), np.full(2, past.finished.max() / SECOND + 1)))
    said = fitted.base.model.predictions(tasks, np.arange(len(past), len(past) + 2))
    p, seconds = model.predict(*asked)
    np.testing.assert_allclose(p, said.probability, rtol=1e-5)
    np.testing.assert_allclose(seconds, np.exp(said.log_seconds), rtol=1e-5)
    assert [each.output_shape for each in (model.correctness_model, model.time_model)] == [(None, 1), (None, 1)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"topics": ["Waves"]}, "expected arrays of one length, got 240, 1, 240"),
        ({"difficulties": ["simple"] * 240}, "expected difficulties among easy, medium, hard, got simple"),
        ({"actual_time_seconds": np.zeros(240)}, "expected times above 0 seconds, got 0.0"),
        ({"actual_time_seconds": np.full(240, np.nan)}, "expected times above 0 seconds, got nan"),
        ({"is_correct": np.full(240, 0.5)}, "expected right or wrong"),
        ({"timestamps": np.full(240, 1.7e12)}, "expected timestamps in seconds since 1970"),
        ({name: toy()[name][:5] for name in ARRAYS}, "expected at least 8 attempts, got 5"),
    ],
)
def test_what_it_can_not_learn_from_is_refused_in_a_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TaskPredictionModel().train(**(toy() | change))


def test_what_it_can_not_answer_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a model that was trained, built or loaded before"):
        TaskPredictionModel().predict(["ada"], ["Waves"], ["easy"])
    with pytest.raises(ValueError, match="expected a kind among embedding_v2, "):
        TaskPredictionModel("lstm")
    with pytest.raises(OSError, match=r"metadata\.json"):
        TaskPredictionModel.load(tmp_path)


def test_importing_it_imports_no_tensorflow() -> None:
    code = "import sys; from app.ml.embedding_model import TaskPredictionModel; print('tensorflow' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"

"""Tuning searches settings in a study that is gone on with and shared; trainings take up what it found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import database
from app.crud import audit, network_settings, tables
from app.crud.network_settings import Tuned
from app.domain.actors import COMMAND_LINE
from app.domain.attempts import Attempts
from app.domain.kinds import NETWORKS
from app.ml import registry
from app.ml.engine.local import LocalEngine
from app.ml.evaluation import tuning, tuning_study
from app.ml.evaluation.simulated import school, simulate
from app.ml.evaluation.tuning import Parts, TrialScore
from app.ml.evaluation.tuning_study import Study, Trial
from app.ml.networks.checkpoint import TrainingFailed
from app.ml.training import run as training_run
from app.ml.training.scheduler import Trainer
from app.ml.training.tuned_settings import checked
from app.models import Base
from tests.conftest import SharedProcess
from tests.school import imported

TASKS = simulate(school(40, seed=4), 20, seed=4).attempts  # 800
KIND = "embedding_v2"


def rate_alone(kind: str, settings: Mapping[str, Any] | None, parts: Parts, seed: int, progress: Any) -> TrialScore:
    """In the place of a training: the loss is 1 where the rate is 0.001, and greater elsewhere."""
    loss = 1 + abs(np.log((settings or {})["rate"] / 0.001))
    return TrialScore(loss, loss)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials train nothing."""
    monkeypatch.setattr(tuning, "tried", rate_alone)


def study(tasks: Attempts = TASKS, *, name: str | None = None, kind: str = KIND, grows: bool = False) -> Study:
    url = database.database_url()
    return tuning_study.opened(database.engine(), url, kind, tasks, name=name, seed=0, grows=grows)


def run(which: Study, trials: int) -> list[Trial]:
    ended: list[Trial] = []
    which.run(trials, ended.append, lambda step: None)
    return ended


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_default_settings_are_in_the_space_and_change_nothing(kind: str) -> None:
    network = registry.network(kind)
    usual, space = tuning.defaults(network), tuning.space(network)
    assert usual.keys() == space.keys()
    assert all(within.least <= usual[name] <= within.most for name, within in space.items())
    assert network.tuned(tuning.settings_of(network, usual)) == network


def test_students_who_decide_at_the_end_are_in_no_trial() -> None:
    parts = tuning.parted(TASKS)
    seen, unseen, hidden = (
        {each.students[place] for place in each.student} for each in (parts.seen, parts.unseen, parts.hidden)
    )
    assert not hidden & (seen | unseen)
    assert not seen & unseen
    assert len(parts.seen) + len(parts.unseen) + len(parts.hidden) == len(TASKS)
    assert parts.seen.finished[: parts.learnt].max() <= parts.seen.finished[parts.learnt :].min()


def test_a_students_losses_are_one_cluster() -> None:
    gains = np.repeat([1.0, -1.0, 1.0, -1.0], 25)
    by_student = tuning.clustered_error(gains, np.repeat(np.arange(4, dtype=np.int32), 25))
    assert by_student == pytest.approx(np.sqrt(4 / 3) / 2)
    assert by_student > 4 * tuning.clustered_error(gains, np.arange(100, dtype=np.int32))


def test_a_study_goes_on_where_it_stood_and_begins_with_the_defaults(db: Session, quick: None) -> None:
    first = run(study(), 2)
    assert [trial.number for trial in first] == [0, 1]
    assert first[0].score == pytest.approx(1 + abs(np.log(0.003 / 0.001)))
    again = study()
    assert again.completed() == 2
    assert [trial.number for trial in run(again, 2)] == [2, 3]
    assert study().completed() == 4


def test_the_same_seed_tries_the_same(db: Session, quick: None) -> None:
    one, other = (run(study(name=name), 3) for name in ("one", "other"))
    assert [trial.score for trial in one] == [trial.score for trial in other]


def test_optunas_tables_stand_apart_from_ours(db: Session, quick: None) -> None:
    with database.engine().connect() as connection:
        ours = tables.present(connection)
        run(study(), 1)
        assert tables.present(connection) == ours
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.scalar(text("SELECT count(*) FROM optuna.trials")) == 1


def test_a_trial_without_a_model_is_pruned_and_the_others_go_on(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def second_fails(*given: Any) -> TrialScore:
        if given[1]["rate"] != 0.003:
            raise TrainingFailed("the loss became something that is no finite number")
        return TrialScore(0.5, 0.7)

    monkeypatch.setattr(tuning, "tried", second_fails)
    first, second = run(study(), 2)
    assert (first.score, first.failure) == (0.6, None)
    assert (second.score, second.best) == (None, 0)
    assert second.failure == "the loss became something that is no finite number"
    assert study().verdict(lambda step: None) is None  # the defaults are the best


def test_what_was_cut_off_before_the_defaults_had_a_score_begins_with_them_again(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any) -> TrialScore:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "tried", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(study(), 1)
    monkeypatch.setattr(tuning, "tried", rate_alone)
    assert run(study(), 1)[0].score == pytest.approx(1 + abs(np.log(0.003 / 0.001)))


def test_a_study_is_about_one_kind_and_the_tasks_it_began_with(db: Session, quick: None) -> None:
    older = TASKS.take(slice(600))
    run(study(older, name="mine", grows=True), 1)
    assert len(study(name="mine", grows=True).parts.shown) == len(tuning.parted(older).shown)
    with pytest.raises(ValueError, match="The study mine was begun on other tasks; name another with --study"):
        study(name="mine")
    with pytest.raises(ValueError, match="The study mine is about embedding_v2"):
        study(older, name="mine", kind="embedding_lstm")
    with pytest.raises(ValueError, match="8 tasks are too few to tune on"):
        study(TASKS.take(slice(8)))


def test_without_optuna_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, db: Session) -> None:
    monkeypatch.setattr(tuning_study, "find_spec", lambda name: None if name == "optuna" else util.find_spec(name))
    with pytest.raises(ValueError, match=r"Optuna is not installed, .*pip install 'smartstudy\[tune\]'"):
        study()


PROCESS = """
import sys
from tests.ml.evaluation import test_tuning as t
t.tuning.tried = t.rate_alone
print(*[trial.number for trial in t.run(t.study(), 3)])
"""


@pytest.mark.slow
def test_two_processes_share_a_study(db: Session) -> None:
    folder = Path(__file__).parents[3]
    both = [
        subprocess.Popen([sys.executable, "-c", PROCESS], cwd=folder, stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    said = [each.communicate(timeout=120)[0].split() for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted(map(int, said[0] + said[1])) == [0, 1, 2, 3, 4, 5]
    assert study().completed() == 6


def losses_of(rate: float) -> tuning.Losses:
    noise = np.random.default_rng(0).normal(0, 0.1, len(tuning.parted(TASKS).hidden))
    return tuning.Losses(1 + abs(np.log(rate / 0.001)) + noise, np.zeros_like(noise))


def test_the_hidden_students_decide_once_for_each_best_trial(
    db: Session, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def on_hidden(kind: str, settings: Mapping[str, Any] | None, *_: Any) -> tuning.Losses:
        asked.append(settings["rate"] if settings else 0.003)
        return losses_of(asked[-1])

    monkeypatch.setattr(tuning, "_on_hidden", on_hidden)
    found = study()
    run(found, 8)
    verdict = found.verdict(lambda step: None)
    assert verdict is not None
    assert verdict.is_better
    assert study().verdict(lambda step: None) == verdict
    assert len(asked) == 2
    tuned = found.tuned(verdict)
    assert (tuned.kind, tuned.trial, tuned.settings["rate"]) == (KIND, verdict.trial, asked[1])
    assert registry.network(KIND, checked(KIND, json.loads(json.dumps(tuned.settings)))).schedule.rate == asked[1]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"layers": 3}, "'layers' can't be set"),
        ({"rate": "fast"}, "rate holds 'fast'; it must be a number from 1e-07 to 1"),
        ({"rate": float("nan")}, "rate holds nan"),
        ({"units": [64, 32]}, r"units is \[64, 32\]; it has 4 values"),
        ({"units": [64, 32, 16, 8.5]}, r"units holds 8.5; it must be a whole number"),
        ({"epochs": [9, 3]}, "the least comes first"),
        ({"epochs": [True, 3]}, "epochs holds True"),
        ([1], "no JSON object"),
    ],
)
def test_settings_that_do_not_fit_the_code_are_refused(settings: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked(KIND, settings)


def stored(db: Session, settings: Mapping[str, Any]) -> None:
    network_settings.put(db, Tuned(KIND, settings, "a study", 7, 0.6, 0.7), COMMAND_LINE)
    db.commit()


def test_a_row_that_no_longer_fits_is_ignored_aloud(db: Session, caplog: pytest.LogCaptureFixture) -> None:
    assert training_run.tuned(db, KIND) is None
    assert not caplog.records
    stored(db, {"rate": 0.002, "units": [64, 32, 16, 8]})
    assert training_run.tuned(db, KIND) == {"rate": 0.002, "units": (64, 32, 16, 8)}
    stored(db, {"layers": 3})
    assert training_run.tuned(db, KIND) is None
    assert "the settings of embedding_v2 in network_settings are ignored, its defaults hold" in caplog.text


def test_a_training_that_fails_with_tuned_settings_is_done_with_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    class Spec:
        name = KIND

        def fit(self, attempts: Attempts, say: Any, settings: Any, base: Any) -> str:
            if settings:
                raise TrainingFailed("the loss became something that is no finite number")
            return "the defaults"

    spec: Any = Spec()
    fitted: Any = training_run.from_scratch(spec, TASKS, {"rate": 1.0}, None)(lambda step: None)
    assert fitted == "the defaults"
    assert "can't be trained with its tuned settings" in caplog.text


def test_storing_and_forgetting_settings_is_audited(db: Session) -> None:
    stored(db, {"rate": 0.002})
    stored(db, {"rate": 0.004})
    assert network_settings.read(db, KIND) == Tuned(KIND, {"rate": 0.004}, "a study", 7, 0.6, 0.7)
    assert network_settings.forget(db, KIND, COMMAND_LINE)
    assert not network_settings.forget(db, KIND, COMMAND_LINE)
    assert network_settings.read(db, KIND) is None
    acts = [entry.act for entry in audit.newest(db, 10)]
    assert acts == ["tuned settings forgotten", "settings tuned", "settings tuned"]


@pytest.fixture
def trainer(db: Session, warm_process: SharedProcess) -> Iterator[Trainer]:
    made = Trainer(warm_process)
    yield made
    made.close()


def newest_metadata(db: Session, models: Path) -> dict[str, Any]:
    """Of the version of V2 that was trained last."""
    newest = text("SELECT folder FROM model_versions WHERE kind = :kind ORDER BY id DESC LIMIT 1")
    folder = db.scalar(newest, {"kind": KIND})
    db.rollback()
    found: dict[str, Any] = json.loads((models / str(folder) / "metadata.json").read_text())
    return found


@pytest.mark.slow
def test_a_training_takes_the_settings_up_and_goes_back_to_the_defaults(
    db: Session, trainer: Trainer, environment: Path
) -> None:
    tuned = {"units": [32, 16, 8, 8], "epochs": [2, 3]}
    imported(db, TASKS)
    stored(db, tuned)
    assert trainer.train_now(kinds=[KIND])["outcome"] in ("published", "rejected")
    kept = newest_metadata(db, environment / "models")
    assert kept["network"]["units"] == [32, 16, 8, 8]
    assert kept["network"]["schedule"]["epochs"] == [2, 3]
    assert kept["report"]["settings"] == tuned
    taken = text("SELECT report -> 'settings' FROM model_versions WHERE kind = :kind")
    assert db.scalar(taken, {"kind": KIND}) == tuned
    db.rollback()
    stored(db, {"layers": 3})
    assert trainer.train_now(kinds=[KIND])["outcome"] in ("published", "rejected")
    kept = newest_metadata(db, environment / "models")
    assert kept["network"]["units"] == [128, 64, 32, 16]
    assert "settings" not in kept["report"]


@pytest.mark.slow
def test_an_update_keeps_the_settings_of_the_training_it_goes_on_from(tmp_path: Path) -> None:
    spec, older = registry.BY_NAME[KIND], TASKS.take(slice(700))
    assert spec.load_checkpoint
    assert spec.update
    tuned = checked(KIND, {"units": [32, 16, 8, 8], "epochs": [2, 3]})
    spec.fit(older, lambda step: None, tuned).save(tmp_path)
    before: Any = spec.load_checkpoint(tmp_path)
    after: Any = spec.update(before, TASKS, np.arange(len(TASKS)) >= 700, lambda step: None, None)
    assert after.network == registry.network(KIND, tuned)
    assert after.report["settings"] == json.loads(json.dumps(tuned))


@pytest.mark.slow
def test_trials_that_really_train_come_to_a_verdict(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tuning.space

    def short(network: Any) -> dict[str, tuning.Range]:
        return real(network) | {"epochs": tuning.Range(5, 25, 1)}

    monkeypatch.setattr(tuning, "space", short)
    found = study()
    trials = run(found, 2)
    assert all(trial.score and 0 < trial.score < 2 for trial in trials)
    settings = tuning.settings_of(registry.network(KIND), tuning.defaults(registry.network(KIND)))
    verdict = tuning.compared(KIND, settings | {"epochs": (2, 2)}, 1, found.parts, 0, LocalEngine())
    assert verdict.tasks == len(found.parts.hidden)
    assert verdict.default > 0
    assert verdict.error > 0

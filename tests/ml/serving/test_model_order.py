"""Who answers, when something is wrong with the best one."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.cli import monitor
from app.core import database, object_store, settings
from app.crud import model_versions, serving_changes
from app.domain.actors import COMMAND_LINE
from app.domain.shares import ALL, Share
from app.domain.tasks import TaskRequest
from app.ml.answers import Answer, Answers
from app.ml.embedding_model_v2 import ServedV2
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.inputs import NETWORK_INPUTS
from app.ml.lnirt.model import ServedLnirt
from app.ml.registry import BY_NAME
from app.ml.serving import model_order, version_store
from app.ml.training import scheduler
from tests.conftest import SharedProcess, Template, clone, copy_of
from tests.ml import following
from tests.school import SOMEBODY, Student, imported, until

TASKS = simulate(school(8, seed=5), 40, seed=5).attempts
FINISHED = "SELECT * FROM practice_tasks WHERE user_id = :id AND completed"
DONE = """INSERT INTO practice_tasks (user_id, topic, difficulty, item_id, created_at, completed, is_correct,
    actual_time_seconds, completed_at) SELECT :id, 'algebra', 'hard', 'sum 1', now() - interval '1 min',"""
STRONG, WEAK = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"


def trained_installation(service: TestClient, db: Session) -> Path:
    """All kinds serve, as they were trained once; where their files are."""
    imported(db, TASKS)
    made = scheduler.Trainer()
    assert made.train_now(kinds=list(BY_NAME))["outcome"] == "published"
    made.close()
    answer_in_this_order(db, "embedding_v2", "embedding_lstm", "lnirt")
    return settings.settings().model_dir


@pytest.fixture(scope="module")
def installation(template: Callable[..., Template]) -> Template:
    return template(trained_installation, trains=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """For a test that uses `trained`, a copy of the installation."""
    if "trained" not in request.fixturenames:
        with clone(server, "template_smartstudy") as url:
            yield url
        return
    with copy_of(server, request.getfixturevalue("installation"), monkeypatch) as url:
        yield url


@pytest.fixture
def trained(installation: Template, environment: Path) -> None:
    shutil.copytree(installation.content, environment / "models")


def answer_in_this_order(db: Session, *kinds: str) -> None:
    """Whatever the gate found; the first has all the say."""
    newest = {version.kind: version.id for version in reversed(model_versions.latest(db))}
    serving_changes.take_turn(db)
    model_order = [newest[kind] for kind in kinds]
    serving_changes.serve(db, model_order, what="promoted", made_by="the test", reason="The test wants it.")
    serving_changes.share(db, {model_order[0]: ALL})
    db.commit()


def truncate(environment: Path, kind: str, name: str) -> None:
    files = list((environment / "models" / "versions").glob(f"{kind}-*/{name}"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:100])


def restarted() -> TestClient:
    from app.main import create_app

    model_order.serving_models.cache_clear()
    scheduler.trainer.cache_clear()
    return TestClient(create_app(), raise_server_exceptions=False)


def key(db: Session) -> str:
    from app.crud import accounts

    made = accounts.create_key(db, "school")
    db.commit()
    return made


@pytest.mark.usefixtures("trained")
def test_lnirt_answers_when_the_networks_files_are_damaged(db: Session, environment: Path) -> None:
    truncate(environment, "embedding_v2", "weights.npz")
    truncate(environment, "embedding_lstm", "weights.npz")
    secret = key(db)
    with restarted() as client:
        caller = Student(client, secret)
        for _ in range(12):
            caller.do(user_id=STRONG, topic="algebra", is_correct=True, seconds=15)
            caller.do(user_id=WEAK, topic="algebra", is_correct=False, seconds=120)
        strong, weak = (caller.ask(user_id=who, topic="algebra").json() for who in (STRONG, WEAK))
        status = caller.status()
    assert (strong["model_version"], weak["model_version"]) == ("v1.0", "v1.0")
    assert strong["correctness_prob"] > weak["correctness_prob"] + 0.2
    assert strong["estimated_time_seconds"] < weak["estimated_time_seconds"] / 1.5
    assert strong["correctness_prob_low"] <= strong["correctness_prob"] <= strong["correctness_prob_high"]
    assert strong["time_low_seconds"] < strong["estimated_time_seconds"] < strong["time_high_seconds"]
    assert "weights.npz" in strong["fallback_reason"]
    assert status["degraded"]
    assert "weights.npz" in status["reason"]
    assert status["serving"]["model_version"] == "v1.0"


def test_while_versions_are_fetched_for_the_first_time_nobody_says_that_none_was_trained(
    db: Session, environment: Path
) -> None:
    serving = model_order.ServingModels(database.new_session().begin, version_store.version_store())
    before = serving.model_order.why_not_better(None)
    db.execute(text("UPDATE model_versions SET state = 'retired', place = NULL"))
    db.commit()
    serving.refresh()
    after = serving.model_order.why_not_better(None)
    serving.close()
    assert [[why.text for why in each] for each in (before, after)] == [
        ["The versions in service are not loaded yet."],
        ["No model has been trained yet."],
    ]


@pytest.mark.usefixtures("trained")
def test_lnirt_of_the_newest_tasks_answers_when_nothing_can_be_loaded(db: Session, environment: Path) -> None:
    truncate(environment, "embedding_v2", "metadata.json")
    truncate(environment, "embedding_lstm", "metadata.json")
    truncate(environment, "lnirt", "lnirt.npz")
    secret = key(db)
    with restarted() as client:
        task = Student(client, secret).ask(user_id=SOMEBODY).json()
        assert (task["model_version"], task["model_version_id"]) == ("v1.0", None)
        assert "metadata.json" in task["fallback_reason"]
        assert "lnirt.npz" in task["fallback_reason"]
        assert client.get("/model/status").json()["degraded"]


@pytest.mark.usefixtures("trained")
def test_networks_say_nothing_once_the_lnirt_that_they_correct_is_retired(
    db: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "smartstudy.serving")
    secret = key(db)
    with restarted() as client:
        caller = Student(client, secret)
        before = caller.ask(user_id=SOMEBODY).json()
        serving_changes.retire(db, model_versions.serving(db)["lnirt"].id, COMMAND_LINE)
        db.commit()
        until(lambda: caller.status()["degraded"])
        running = caller.ask(user_id=SOMEBODY).json()
    with restarted() as client:
        begun = Student(client, secret).ask(user_id=SOMEBODY).json()
    assert before["model_version"] == "embedding_v2"
    assert "what is answered: LNIRT of the newest tasks" in caplog.messages
    for after in (running, begun):
        assert (after["model_version"], after["model_version_id"], after["contributions"]) == ("v1.0", None, None)
        assert (
            "embedding_v2 can't answer: it corrects LNIRT, of which no version is in serv" in after["fallback_reason"]
        )
    assert running["correctness_prob"] == pytest.approx(begun["correctness_prob"])


def says_nan(*_: object) -> object:
    return Answers(*[np.array([np.nan])] * 6)


def breaks(*_: object) -> object:
    raise IndexError("index 7 is out of bounds")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("network", "complaint"), [(says_nan, "not finite"), (breaks, "out of bounds")])
def test_the_next_one_answers_when_the_network_has_no_usable_answer(
    db: Session, monkeypatch: pytest.MonkeyPatch, network: Callable[..., object], complaint: str
) -> None:
    monkeypatch.setattr(ServedV2, "answers_of_scores", network)
    secret = key(db)
    with restarted() as client:
        task = Student(client, secret).ask(user_id=SOMEBODY).json()
        assert task["model_version"] == "embedding_lstm"
        assert complaint in task["fallback_reason"]
        assert complaint in client.get("/model/status").json()["reason"]


@pytest.mark.usefixtures("trained")
def test_the_network_answers_without_a_reason_when_all_is_well(db: Session) -> None:
    secret = key(db)
    with restarted() as client:
        task = Student(client, secret).ask(user_id=SOMEBODY).json()
        assert (task["model_version"], task["fallback_reason"]) == ("embedding_v2", None)
        assert not client.get("/model/status").json()["degraded"]


def say(db: Session, **shares: Share) -> None:
    """How much each kind that serves has to say from now on."""
    serving_changes.share(db, {model_versions.serving(db)[kind].id: share for kind, share in shares.items()})
    db.commit()


@pytest.mark.usefixtures("trained")
def test_several_kinds_answer_together_and_the_task_says_how_much_of_it_is_whose(db: Session) -> None:
    say(db, embedding_v2=Share(0.6, 0.75), lnirt=Share(0.4, 0.25))
    made_of = {"embedding_v2": [0.6, 0.75], "lnirt": [0.4, 0.25]}
    secret = key(db)
    with restarted() as client:
        caller = Student(client, secret)
        task = caller.ask(user_id=TASKS.students[0], topic="algebra").json()
        assert (task["model_version"], task["contributions"]) == ("embedding_v2", made_of)
        assert caller.get(f"/practice-tasks/{task['id']}").json()["contributions"] == made_of
        assert caller.complete(task["id"]).json()["contributions"] == made_of
        kinds = caller.get(f"/practice-tasks/{task['id']}/explanation").json()["kinds"]
    said = {each["kind"]: (each["correctness_prob"], each["estimated_time_seconds"]) for each in kinds}
    (network, seconds), (lnirt, other) = said["embedding_v2"], said["lnirt"]
    assert task["correctness_prob"] == pytest.approx(0.6 * network + 0.4 * lnirt, abs=1e-6)
    assert task["estimated_time_seconds"] == pytest.approx(seconds**0.75 * other**0.25, rel=1e-5)
    row = db.execute(text("SELECT contributions, cardinality(features) FROM practice_tasks WHERE features IS NOT NULL"))
    assert tuple(row.one()) == (made_of, len(NETWORK_INPUTS))


@pytest.mark.usefixtures("trained")
def test_lnirt_alone_is_no_mixture(db: Session) -> None:
    say(db, lnirt=ALL)
    secret = key(db)
    with restarted() as client:
        task = Student(client, secret).ask(user_id=SOMEBODY).json()
    assert (task["model_version"], task["contributions"]) == ("v1.0", None)


@pytest.mark.usefixtures("trained")
def test_another_process_notices_that_shares_have_changed(db: Session) -> None:
    secret = key(db)
    with restarted() as client:
        caller = Student(client, secret)
        assert caller.ask(user_id=SOMEBODY).json()["contributions"] is None
        say(db, embedding_v2=Share(0.5, 0.5), lnirt=Share(0.5, 0.5))
        found = until(lambda: caller.ask(user_id=SOMEBODY).json()["contributions"])
    assert found == {"embedding_v2": [0.5, 0.5], "lnirt": [0.5, 0.5]}


@pytest.mark.usefixtures("trained")
def test_some_students_get_the_kind_that_is_rolled_out(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT", "lnirt:30")
    settings.settings.cache_clear()
    secret = key(db)
    with restarted() as client:
        caller = Student(client, secret)
        who = [caller.ask(user_id=str(UUID(int=number))).json() for number in range(40)]
        again = [caller.ask(user_id=str(UUID(int=number))).json()["model_version"] for number in range(40)]
    given = [task["model_version"] for task in who]
    assert set(given) == {"embedding_v2", "v1.0"}
    assert 4 <= given.count("v1.0") <= 20
    assert given == again
    assert {task["fallback_reason"] for task in who} == {None}


@pytest.mark.usefixtures("trained")
def test_a_shadow_is_only_recorded(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT", "embedding_lstm:shadow, lnirt:shadow")
    settings.settings.cache_clear()
    secret = key(db)
    with restarted() as client:
        caller = Student(client, secret)
        tasks = [caller.ask(user_id=SOMEBODY).json() for _ in range(3)]
    assert {task["model_version"] for task in tasks} == {"embedding_v2"}
    rows = db.execute(
        text("""SELECT kind, task_id, correctness_prob, estimated_time_seconds FROM shadow_predictions
                JOIN model_versions ON model_versions.id = model_version_id""")
    ).all()
    assert sorted(row.kind for row in rows) == ["embedding_lstm"] * 3 + ["lnirt"] * 3
    assert {str(row.task_id) for row in rows} == {task["id"] for task in tasks}
    db.execute(text("DELETE FROM practice_tasks WHERE user_id = :id"), {"id": SOMEBODY})
    assert db.scalar(text("SELECT count(*) FROM shadow_predictions")) == 0


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("kind", "on_tasks"), [("lnirt", "v1.0"), ("embedding_lstm", "embedding_lstm")])
def test_a_pinned_kind_answers(db: Session, monkeypatch: pytest.MonkeyPatch, kind: str, on_tasks: str) -> None:
    monkeypatch.setenv("MODEL", kind)
    settings.settings.cache_clear()
    secret = key(db)
    with restarted() as client:
        task = Student(client, secret).ask(user_id=SOMEBODY).json()
        assert (task["model_version"], task["fallback_reason"]) == (on_tasks, None)
        assert client.get("/model/status").json()["serving"]["model_version"] == on_tasks


def test_a_pinned_kind_that_was_never_trained_is_missed_aloud(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "embedding_lstm")
    settings.settings.cache_clear()
    with restarted() as client:
        status = client.get("/model/status").json()
    assert status["degraded"]
    assert status["reason"] == "MODEL asks for embedding_lstm, but none has been trained yet."


@pytest.mark.usefixtures("trained")
def test_a_kept_posterior_equals_one_updated_answer_by_answer(db: Session, environment: Path) -> None:
    """Kept, caught up with new answers, rebuilt after a correction: always what the history says."""
    from app.core.db.statements import run_sync
    from app.crud import student_totals

    student = TASKS.students[0]
    row = db.execute(text("SELECT id, folder FROM model_versions WHERE kind = 'lnirt'")).one()
    loaded = ServedLnirt.load(environment / "models" / row.folder)
    moved = replace(loaded.population, ability_kept=0.97, speed_kept=0.94, probit_item=0.2, time_item=-0.1)
    model = ServedLnirt(replace(loaded.bank, population=moved), loaded._calibration)
    asked = TaskRequest(UUID(student), "algebra", "hard", "sum 1")

    def kept() -> Answer:
        past = student_totals.past_of(student_totals.PAST.rows_sync(db, **student_totals.question(asked, None))[0])
        answer = run_sync(model.answer(row.id, asked, past), db)
        db.commit()
        return answer

    def history() -> Answer:
        rows = db.execute(text(f"{FINISHED} ORDER BY completed_at, id"), {"id": student}).mappings()
        tasks = [following.Task.of_row(each) for each in rows]
        return following.says(model, tasks, "algebra", "hard", "sum 1").calibrated(model)

    def agree() -> float:
        now, expected = kept(), history()
        assert now.probability == pytest.approx(expected.probability, abs=1e-9)
        times = ("seconds", "seconds_low", "seconds_high")
        assert [getattr(now, name) for name in times] == pytest.approx([getattr(expected, name) for name in times])
        return now.probability

    first = agree()
    change_and_check: list[tuple[str, Callable[[float], bool]]] = [
        (f"{DONE} true, true, 20, now() FROM generate_series(1, 5)", lambda p: p > first),
        (f"{DONE} true, true, 20, now() + n * interval '-1 s' FROM generate_series(1, 2) AS n", lambda p: p > first),
        (f"{DONE} true, false, 86400, now() FROM generate_series(1, 3)", lambda p: p > 0),
        ("UPDATE practice_tasks SET is_correct = false WHERE user_id = :id", lambda p: p < first),
        ("DELETE FROM practice_tasks WHERE user_id = :id AND topic <> 'algebra'", lambda p: p > 0),
    ]
    for change, expected in change_and_check:
        db.execute(text(change), {"id": student})
        db.commit()
        assert expected(agree())
    db.execute(text("DELETE FROM practice_tasks WHERE user_id = :id"), {"id": student})
    assert db.scalar(text("SELECT count(*) FROM student_states")) == 0


def damaged(folder: Path, how: str, other: Path) -> None:
    weights = folder / "weights.npz"
    content = weights.read_bytes()
    middle = len(content) // 2
    changed = {
        "empty": b"",
        "truncated": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "swapped": (other / "checkpoint.npz").read_bytes(),
        "foreign": b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",
    }
    weights.write_bytes(changed[how])


def folder_of(environment: Path, db: Session, version_id: int) -> Path:
    return environment / "models" / model_versions.get(db, version_id).folder


@pytest.mark.usefixtures("trained")
def test_damaged_files_fall_back_to_the_version_before_then_to_lnirt_then_to_the_newest_tasks(
    db: Session, environment: Path, warm_process: SharedProcess
) -> None:
    earlier = {version.kind: version.id for version in model_versions.latest(db)}
    made = scheduler.Trainer(warm_process)
    made.train_now()
    made.close()
    answer_in_this_order(db, "embedding_v2", "lnirt")
    newest = model_versions.serving(db)["embedding_v2"].id
    secret = key(db)
    before, now = (folder_of(environment, db, each) for each in (earlier["embedding_v2"], newest))
    intact = (now / "weights.npz").read_bytes()
    for how in ("empty", "truncated", "flipped", "swapped", "foreign"):
        damaged(now, how, before)
        with restarted() as client:
            task = Student(client, secret).ask(user_id=STRONG).json()
            assert (task["model_version"], task["model_version_id"]) == ("embedding_v2", earlier["embedding_v2"]), how
            assert f"Version {newest} of embedding_v2 can't be loaded" in task["fallback_reason"]
            assert Student(client, secret).status()["degraded"]
        (now / "weights.npz").write_bytes(intact)
    damaged(now, "flipped", before)
    damaged(before, "truncated", before)
    with restarted() as client:
        assert Student(client, secret).ask(user_id=STRONG).json()["model_version"] == "v1.0"
    for folder in (environment / "models" / "versions").glob("lnirt-*"):
        (folder / "lnirt.npz").unlink()
    with restarted() as client:
        assert Student(client, secret).ask(user_id=STRONG).json()["model_version_id"] is None


@pytest.fixture
def shared(trained: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a store that holds the installation's versions; MODEL_DIR is another machine's, and empty."""
    store = environment / "store"
    (environment / "models").rename(store)
    monkeypatch.setenv("MODEL_URL", store.as_uri())
    monkeypatch.setattr(model_order, "RETRY_SECONDS", 0)
    monkeypatch.setattr(object_store, "AWAY_SECONDS", 0)
    monkeypatch.setattr(version_store, "CHECK_SECONDS", 0)
    settings.settings.cache_clear()
    return store


def forget_store() -> None:
    version_store.version_store.cache_clear()


def answered(client: TestClient, secret: str) -> str:
    told: str = Student(client, secret).ask(user_id=STRONG).json()["model_version"]
    return told


def test_a_machine_with_an_empty_disk_fetches_what_serves_and_goes_on_when_its_disk_is_wiped(
    shared: Path, db: Session, environment: Path
) -> None:
    secret = key(db)
    with restarted() as client:
        assert answered(client, secret) == "embedding_v2"
        assert not client.get("/model/status").json()["degraded"]
        there = {each.name.split("-")[0] for each in (environment / "models" / "versions").iterdir()}
        assert there == {"embedding_v2", "embedding_lstm", "lnirt"}  # not those that only are kept
        assert (environment / "models" / "metadata.json").resolve().parent.name.startswith("embedding_v2")
        shutil.rmtree(environment / "models")
        assert answered(client, secret) == "embedding_v2"


def test_a_process_that_starts_while_the_store_is_away_answers_by_its_disk_and_says_so(
    shared: Path, db: Session, environment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = key(db)
    with restarted() as client:
        assert answered(client, secret) == "embedding_v2"
        assert client.get("/readyz").json() == {"status": "ok", "reasons": []}
    shared.rename(environment / "away")
    forget_store()
    with restarted() as client:
        assert answered(client, secret) == "embedding_v2"
        status, ready = client.get("/model/status").json(), client.get("/readyz")
        assert not status["degraded"]
        assert "The store of the models can't be used" in status["warning"]
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "can't be used" in ready.json()["reasons"][-1]
        for told in (json.dumps(status), ready.text):  # where it lies is nobody's business
            assert "://" not in told
            assert str(environment) not in told
        assert f"The store of the models, {shared.as_uri()}, can't be used" in (monitor.status(db).warning or "")
        assert f"The store of the models, {shared.as_uri()}, can't be used" in caplog.text


def test_with_an_empty_disk_lnirt_answers_until_the_store_is_back(shared: Path, db: Session, environment: Path) -> None:
    secret = key(db)
    shared.rename(environment / "away")
    with restarted() as client:
        task = Student(client, secret).ask(user_id=STRONG).json()
        assert (task["model_version"], task["model_version_id"]) == ("v1.0", None)
        assert "the store of the models can't be used." in task["fallback_reason"]
        assert "://" not in task["fallback_reason"]  # a student need not know where it is
        export = Student.registered(client, "ada").get("/users/me/export")
        assert (export.status_code, "retry-after" in export.headers) == (503, True)  # else it would not be whole
        (environment / "away").rename(shared)
        assert until(lambda: answered(client, secret) == "embedding_v2")


def test_other_bytes_in_the_store_never_answer(shared: Path, db: Session, environment: Path) -> None:
    for file in (shared / "versions").glob("embedding_v2-*/weights.npz"):
        file.write_bytes(next((shared / "versions").glob("embedding_lstm-*/weights.npz")).read_bytes())
    secret = key(db)
    with restarted() as client:
        assert answered(client, secret) == "embedding_lstm"
        assert "weights.npz" in client.get("/model/status").json()["reason"]
    assert not list((environment / "models" / "versions").glob("embedding_v2-*"))

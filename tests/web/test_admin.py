"""What admins see of the models, and what they can do about them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import accounts, audit, model_versions, training_control, training_runs
from app.domain.actors import COMMAND_LINE
from app.domain.errors import TrainingBusy
from app.ml.answers import TaskModel
from app.ml.evaluation import sample
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import Loaded, ModelOrder, ServingModels
from app.ml.training.scheduler import Trainer
from tests.monitoring.test_comparison import done, shadowed
from tests.school import PASSWORD, imported, nobody_trains
from tests.versions import pruned, serving, version
from tests.web.browsing import Browser, said

pytestmark = pytest.mark.usefixtures("_nobody_trains")
ME = "grace@example.com"


@pytest.fixture
def _nobody_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)


@pytest.fixture
def grace(service: TestClient, db: Session) -> Browser:
    """An admin."""
    service.post("/register", data={"email": ME, "password": PASSWORD}, follow_redirects=False)
    accounts.make_admin(db, ME)
    db.commit()
    return Browser(service)


@pytest.fixture
def two(db: Session) -> tuple[int, int]:
    """Versions of V2; the later one answers."""
    old, new = version(db), version(db, log_loss=0.55, calibration_error=0.04, held_out_rows=120, mae_seconds=17.0)
    serving(db, old)
    serving(db, new)
    return old, new


def tasks(db: Session) -> None:
    imported(db, simulate(simulated_school(4, seed=1), 5, seed=1).attempts)


def alert(page: httpx.Response) -> str:
    """What went wrong, as the page says it."""
    return str(re.findall(r'role="alert">(.*?)</p>', page.text, re.DOTALL)[0])


def status(page: httpx.Response) -> str:
    """What was done, as the page says it."""
    return str(re.findall(r'role="status">(.*?)</p>', page.text, re.DOTALL)[0])


def acts(db: Session) -> list[tuple[str, str, str | None]]:
    db.rollback()
    return [(each.actor, each.act, each.subject) for each in audit.newest(db, 20)]


def test_an_empty_installation_says_what_to_do(grace: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "STUDENTS", 2)
    page = grace.get("/admin")
    assert "There are no tasks yet" in said(page)
    assert "No trained version answers yet: LNIRT answers from the newest finished tasks" in said(page)
    for path, nothing in (
        ("/admin/versions", "No model has been trained yet"),
        ("/admin/runs", "No training has run yet"),
        ("/admin/comparison", "Nothing to compare yet"),
        ("/admin/audit", "Nothing has been done yet"),
    ):
        assert nothing in said(grace.get(path))
    loaded = grace.send("/begin")
    assert (loaded.url.path, status(loaded)) == (
        "/admin",
        "The sample is loaded, and the models learn from it right now.",
    )
    assert "There are no tasks yet" not in said(loaded)


def test_who_answers_is_told_with_its_scores_in_words(service: TestClient, grace: Browser, db: Session) -> None:
    made = version(db, "lnirt", log_loss=0.55, calibration_error=0.04, held_out_rows=120, mae_seconds=17.0)
    serving(db, made)
    loaded = Loaded(BY_NAME["lnirt"], model_versions.get(db, made), cast(TaskModel, None))  # nobody asks it anything
    app: Any = service.app
    app.state.serving.model_order = ModelOrder((loaded,), wanted=(made,))
    page = said(grace.get("/admin"))
    for sentence in (
        "Kind of model LNIRT Version 1 Trained on 40 finished tasks",
        "Evaluated on 120 tasks, the newest at the time, which it did not learn from.",
        "Log-loss 0.55 ± 0.02 How surprising the results were",
        "AUC 70% Of all pairs of a task that went right",
        "Calibration error 0.04 How far predicted chances and results are apart",
        "Time error (MAE) 17 s How far a predicted time is off",
    ):
        assert sentence in page


def test_what_should_answer_and_can_not_is_told(grace: Browser, two: tuple[int, int]) -> None:
    assert "The model that should answer can't: Version 2 of embedding_v2 can't be loaded" in said(grace.get("/admin"))


def test_admins_are_told_where_the_store_is_that_can_not_be_used_and_others_are_not(
    service: TestClient, grace: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "The store of the models, s3://pupils/school, can't be used: nobody is there."
    monkeypatch.setattr(ServingModels, "store_problem", why)
    assert "s3://pupils/school" in grace.get("/admin").text
    for path in ("/dashboard", "/dashboard/training", "/model/status", "/readyz"):
        assert "pupils" not in service.get(path).text


def test_a_version_is_promoted_and_rolled_back_by_name_and_once(
    grace: Browser, db: Session, two: tuple[int, int]
) -> None:
    old, new = two
    page = grace.send(f"/admin/versions/{old}/promote")
    assert (page.url.path, status(page)) == (
        "/admin",
        "The version was promoted; the model now in service is shown below.",
    )
    assert f"Version {old} of embedding_v2 was promoted by {ME}." in said(page)
    assert {each.id: each.answers for each in model_versions.latest(db, 5)} == {old: True, new: False}
    assert status(grace.send("/admin/rollback")).startswith("Rolled back")
    assert acts(db) == [(ME, "rolled back", f"version {new}"), (ME, "promoted", f"version {old}")]
    (entry, *_) = audit.newest(db, 1)
    assert (entry.address, len(entry.request_id or "")) == ("testclient", 32)


def test_what_can_not_be_done_is_a_sentence_on_the_page(grace: Browser, db: Session, two: tuple[int, int]) -> None:
    pruned(db, two[0])
    page = grace.send(f"/admin/versions/{two[0]}/promote")
    assert (page.status_code, alert(page)[:36]) == (409, "The files of version 1 are gone sinc")
    page = grace.send("/admin/rollback")
    assert (page.status_code, alert(page)) == (409, "There is no earlier version to go back to.")
    page = grace.send("/admin/train")
    assert (page.status_code, alert(page)) == (422, "0 finished tasks are too few to train on; it starts at 10.")
    page = grace.send("/admin/versions/99/promote")
    assert (page.status_code, "There is nothing here" in said(page)) == (404, True)
    assert acts(db) == []


def test_a_promotion_is_offered_where_it_is_possible(grace: Browser, db: Session) -> None:
    kinds = [version(db), version(db, usable=False, log_loss=None), version(db), version(db)]
    pruned(db, kinds[2])
    serving(db, kinds[3])
    page = grace.get("/admin/versions").text
    assert re.findall(r'action="/admin/versions/(\d+)/promote"', page) == [str(kinds[0])]
    told = {each: said(grace.get(f"/admin/versions/{each}")) for each in kinds}
    assert "Promote" in told[kinds[0]]
    assert "it gave answers that are not numbers" in told[kinds[1]]
    assert "its files were deleted" in told[kinds[2]]
    assert "It is in service already." in told[kinds[3]]
    db.execute(text("INSERT INTO erasures DEFAULT VALUES"))
    db.commit()
    assert "it may know a student who has been erased since" in said(grace.get(f"/admin/versions/{kinds[0]}"))
    for each in kinds:
        assert grace.send(f"/admin/versions/{each}/promote").status_code == 409


def test_a_training_of_one_kind_or_of_all_is_asked_for(grace: Browser, db: Session) -> None:
    tasks(db)
    page = grace.send("/admin/train", kind="lnirt")
    assert status(page) == "The training begins as soon as no other is running."
    (newest,) = training_runs.newest(db)
    assert newest.kinds == ["lnirt"]
    assert acts(db) == [(ME, "training asked", f"run {newest.id}")]
    page = grace.send("/admin/train", kind="nonsense")
    assert (page.status_code, alert(page)) == (422, "Please choose one of the kinds of model.")


def test_a_training_that_has_to_wait_for_two_is_refused_in_words(
    grace: Browser, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> int:
        raise TrainingBusy

    tasks(db)
    monkeypatch.setattr(training_runs, "order", busy)
    page = grace.send("/admin/train")
    assert (page.status_code, alert(page)) == (409, TrainingBusy.__doc__)


def test_trainings_are_paused_with_a_reason_and_let_on(grace: Browser, db: Session) -> None:
    page = grace.send("/admin/pause", reason="Exams are on.")
    assert status(page).startswith("Training is paused")
    assert "paused Exams are on." in said(page)
    assert f"by {ME}" in said(page)
    assert grace.client.get("/model/status").json()["paused"]["reason"] == "Exams are on."
    grace.send("/admin/pause", reason="Again.")  # it was so already: the first reason stays
    assert training_control.read(db).reason == "Exams are on."
    assert status(grace.send("/admin/resume")).startswith("Training is resumed")
    assert acts(db) == [(ME, "trainings resumed", None), (ME, "trainings paused", None)]
    page = grace.send("/admin/pause", reason="x" * 201)
    assert (page.status_code, alert(page)) == (422, "A reason has at most 200 characters.")


def test_a_service_that_paused_by_itself_says_why(grace: Browser, db: Session) -> None:
    for n in range(5):
        training_runs.finish(db, training_runs.ask(db), "failed", f"No luck {n}.")
    db.commit()
    assert "paused No luck 4. By the service itself, after 5 failures in a row." in said(grace.get("/admin"))


def test_versions_come_in_pages_with_their_reasons_and_a_chart(grace: Browser, db: Session) -> None:
    for n in range(52):
        version(db, "lnirt" if n % 2 else "embedding_v2", log_loss=0.6 - n / 1000)
    db.execute(text("UPDATE model_versions SET state = 'rejected', reason = 'Was worse than ' || id"))
    db.commit()
    page = grace.get("/admin/versions")
    assert "Log-loss on unseen tasks" in said(page)
    assert "Was worse than 52" in said(page)
    (older,) = re.findall(r'href="/admin/versions\?before=(\d+)"', page.text)
    rest = grace.get("/admin/versions", before=older)
    assert re.findall(r"Was worse than (\d+)", said(rest)) == ["2", "1"]
    assert "before=" not in rest.text
    for nonsense in ("0", "-1", "x", str(2**31), "1" * 5000, "١"):
        assert grace.get("/admin/versions", before=nonsense).is_success


def test_runs_come_with_who_trained_how_they_ended_and_why(grace: Browser, db: Session) -> None:
    first = training_runs.ask(db, ["lnirt"], trainer="host-a:17")
    training_runs.start(db, first)
    training_runs.finish(db, first, "rejected", "Version 3's log-loss is worse.", n_tasks=1234)
    training_runs.finish(db, training_runs.ask(db), "failed", "There are too few tasks.")
    db.commit()
    page = said(grace.get("/admin/runs"))
    assert "host-a:17 nothing better 1,234 0 s only LNIRT from scratch Version 3's log-loss is worse." in page
    assert "failed – – all from scratch There are too few tasks." in page
    assert "How long trainings take" in page


def test_what_a_run_says_is_one_line_with_the_rest_behind_it(grace: Browser, db: Session) -> None:
    run = training_runs.ask(db)
    training_runs.finish(db, run, "failed", "The log-loss 0.7 is worse than 0.6. Version 3 stays. LNIRT answers.")
    db.commit()
    page = grace.get("/admin/runs").text
    assert "<summary>The log-loss 0.7 is worse than 0.6.</summary>Version 3 stays. LNIRT answers.</details>" in page


def test_kinds_are_compared_by_day_and_a_shadow_is_told_apart(grace: Browser, db: Session) -> None:
    lnirt, v2 = version(db, "lnirt"), version(db)
    for n in range(6):
        shadowed(db, done(db, 0.8, n % 3 > 0, v2, days_ago=n % 2), 0.6, lnirt)
    db.commit()
    page = said(grace.get("/admin/comparison"))
    assert "Log-loss by day" in page
    assert "ahead of version" in page
    assert "The V2 network 6" in page
    assert "LNIRT (shadow) 6" in page
    assert '<option value="7" selected>' in grace.get("/admin/comparison", days="7").text
    for nonsense in ("0", "31", "x", "-7"):
        assert '<option value="30" selected>' in grace.get("/admin/comparison", days=nonsense).text


def test_predictions_in_use_and_what_has_moved_are_drawn(grace: Browser, db: Session) -> None:
    made, rng = version(db), np.random.default_rng(1)
    for _ in range(60):
        p = float(rng.choice([0.25, 0.5, 0.75]))
        done(db, p, bool(rng.random() < p), made)
    db.commit()
    page = said(grace.get("/admin"))
    assert "Calibration in use" in page
    assert "embedding_v2: log-loss" in page
    assert "The V2 network 60" in page


def test_the_audit_comes_in_pages_and_hides_nothing(grace: Browser, db: Session) -> None:
    for n in range(51):
        audit.record(db, COMMAND_LINE, "key created", f"school {n} <b>", prefix="ssk_abcd", kinds=["a", "b"])
    db.commit()
    page = grace.get("/admin/audit")
    assert "command line created a key school 50 <b> kinds: a, b; prefix: ssk_abcd" in said(page)
    assert "school 0 <b>" not in said(page)
    (older,) = re.findall(r'href="/admin/audit\?before=(\d+)"', page.text)
    assert "school 0 <b>" in said(grace.get("/admin/audit", before=older))


@pytest.mark.parametrize("path", ["/admin", "/admin/versions", "/admin/runs", "/admin/comparison", "/admin/audit"])
def test_the_address_bar_says_nothing_of_its_own(grace: Browser, path: str) -> None:
    page = grace.get(path, done="call 555-1234", wrong="555-1234", before="555-1234", days="555-1234")
    assert "555-1234" not in page.text
    assert 'role="status"' not in page.text


def test_moments_are_told_in_the_visitors_language_and_zone(grace: Browser, db: Session) -> None:
    at = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    audit.record(db, COMMAND_LINE, "promoted", "version 1")
    db.execute(text("UPDATE audit_log SET at = :at"), {"at": at + timedelta(hours=1)})
    db.commit()
    grace.client.cookies.set("zone", "Asia/Tokyo")
    assert "Mar 2, 2026, 8:30" in said(grace.get("/admin/audit"))

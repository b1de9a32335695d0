"""A slip is put right in a real browser: at once by keyboard, and later from the history, after a training too."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.ml.evaluation import sample
from app.ml.training.scheduler import trainer
from tests.e2e.visits import PHONE, Visits

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("javascript", [True, False])
def test_a_slip_is_undone_at_once_and_a_result_changed_after_a_training(
    visit: Callable[..., Visits], db: Session, javascript: bool
) -> None:
    with new_session().begin() as session:
        sample.load(session)
    window = visit(size=PHONE, java_script_enabled=javascript).register()
    page = window.page
    window.ask("Calculus")
    window.answer(right=False, seconds=95)
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.get_by_text("The result is taken back")).to_be_visible()
    expect(page.get_by_label("Time it took")).to_have_value("1:35")
    page.get_by_role("button", name="I got it right").click()
    expect(page.get_by_role("heading", name="Right, in 95 s")).to_be_visible()
    trainer().train_now(lambda step: None)  # it learns that
    window.open("/dashboard/history")
    page.get_by_text("Change the result").first.press("Enter")
    page.get_by_role("radio", name="wrong").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The result is changed")).to_be_visible()
    expect(page.get_by_text("from right, in 95 s")).to_be_visible()
    window.fits()
    window.ask("Waves")
    page.get_by_role("button", name="Discard this one").click()
    expect(page.get_by_text("The task is discarded.")).to_be_visible()
    assert page.get_by_role("link", name="Waves").count() == 0

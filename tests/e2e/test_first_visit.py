"""The short path through the pages in a real browser; `make e2e` goes the long one."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect
from sqlalchemy.orm import Session

from app.ml.evaluation.simulated import school, simulate
from tests.e2e.visits import Visits
from tests.school import imported


def test_a_student_registers_practises_sees_the_training_plans_an_exam_and_takes_the_data_along(
    db: Session, visit: Callable[..., Visits], tmp_path: Path
) -> None:
    imported(db, simulate(school(5, seed=1), 1, seed=1).attempts)  # five tasks of others: five more make the first run
    window = visit()
    page = window.register().page
    for number in range(5):
        window.ask("Calculus")
        page.get_by_text("How do you know?").click()
        expect(page.get_by_text("from the tasks finished so far")).to_be_visible()
        window.answer(right=number % 2 == 0, seconds=20 + number)
    expect(page.locator("#training")).to_contain_text(re.compile("Last training: .*, on 10 tasks"), timeout=120_000)
    window.ask("Calculus")
    page.get_by_text("How do you know?").click()
    expect(page.get_by_text(re.compile(r"Predicted by (the (V2|LSTM) network|LNIRT), version \d+"))).to_be_visible()
    window.answer(seconds=31)
    expect(page.get_by_role("heading", name=re.compile("Right"))).to_be_visible()
    window.plan_an_exam()
    expect(page.locator("main")).to_contain_text(re.compile(r"21 days to practise until .*4 topics"))
    expect(page.get_by_role("button", name=re.compile("Start: ")).first).to_be_visible()
    window.is_accessible()
    _takes_the_data_along(window, tmp_path)


def _takes_the_data_along(window: Visits, folder: Path) -> None:
    page = window.open("/dashboard/settings")
    with page.expect_download() as coming:
        page.get_by_role("link", name="JSON").click()
    coming.value.save_as(folder / "mine.json")
    mine = json.loads((folder / "mine.json").read_text())
    assert mine["account"]["email"] == "ada@example.com"
    assert len(mine["tasks"]) == 6
    assert mine["tasks"][-1]["actual_time_seconds"] == 31
    assert [topic.lower() for topic in mine["exams"][0]["topics"]] == ["calculus", "waves", "statistics", "geometry"]

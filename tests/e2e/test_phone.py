"""On a phone: the answer buttons are on the first screen, and Today and Analytics stay short.

With `-rP` it prints the words and the height of each page, which docs/pages.md has.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy.orm import Session

from tests.e2e.visits import Visits
from tests.finished import account_of, class_of, finish

PHONE = {"width": 390, "height": 844}
MOST_PIXELS = {"/dashboard": 2030, "/dashboard/analytics": 2575}  # half of what they were
BUTTONS = "[...document.querySelectorAll('button.right, button.wrong')]"
PAGES = [f"/dashboard{path}" for path in ("", "/tasks", "/history", "/analytics", "/preparation", "/settings")]
LONG = "The theory of everything that could possibly be asked in an exam, " * 3
ROWS = "new Set([...document.querySelectorAll('.top nav:not(.account) li')].map(each => each.offsetTop)).size"
BOTTOM = f"Math.max(...{BUTTONS}.map(each => each.getBoundingClientRect().bottom))"


def weeks_of_practice(db: Session) -> None:
    """Sixty predicted tasks on eight topics, and students to compare with."""
    drawn, now = np.random.default_rng(1), datetime.now(UTC)
    class_of(db, 20, now)
    for number in range(60):
        chance, topic = drawn.uniform(0.3, 0.95), f"Topic {drawn.integers(8)}"
        at, right, seconds = now - timedelta(hours=8 * number), bool(drawn.random() < chance), drawn.uniform(15, 90)
        finish(db, account_of(db), at, topic=topic, right=right, chance=chance, within=(15.0, 90.0), seconds=seconds)


@pytest.mark.parametrize("locale", ["en", "de-DE"])
def test_the_first_screen_has_the_answer_and_the_pages_are_short(
    db: Session, visit: Callable[..., Visits], locale: str
) -> None:
    window = visit(size=PHONE, locale=locale)
    page = window.open("/register")
    page.fill("input[name=email]", "ada@example.com")
    page.fill("input[name=password]", "a long sentence of words")
    page.click("main form button")
    page.wait_for_url("**/dashboard")
    weeks_of_practice(db)
    window.open("/dashboard/tasks?topic=Waves")
    page.click("main form button")
    page.wait_for_url("**/dashboard/tasks/*")
    task = page.url.removeprefix(window.address)
    print(f"{locale} {task}: the answers end at {page.evaluate(BOTTOM):.0f} px")
    assert page.evaluate(BOTTOM) <= PHONE["height"]
    window.fits()
    for path in PAGES:
        window.open(path)
        assert page.evaluate(ROWS) == 1, path
    for path in (*PAGES, "/", task):
        window.open(path)
        window.fits()
        pixels = page.evaluate("document.documentElement.scrollHeight")
        print(f"{locale} {path}: {len(page.inner_text('body').split())} words, {pixels:,} px")
        assert pixels <= MOST_PIXELS.get(path, 5000)


@pytest.mark.parametrize("locale", ["en", "de-DE"])
def test_a_question_or_a_long_topic_moves_no_answer_off_the_first_screen(
    visit: Callable[..., Visits], locale: str
) -> None:
    window = visit(size=PHONE, locale=locale)
    page = window.page
    page.clock.install()
    window.open("/register")
    page.fill("input[name=email]", "ada@example.com")
    page.fill("input[name=password]", "a long sentence of words")
    page.click("main form button")
    page.wait_for_url("**/dashboard")
    window.open("/dashboard/tasks")
    page.fill("#topic", LONG.strip())
    page.click("main form button")
    page.wait_for_url("**/dashboard/tasks/*")
    page.click("[data-start] button")
    page.clock.fast_forward(20 * 60_000)
    page.clock.run_for(2000)
    assert page.is_visible("[data-away]")
    assert page.evaluate(BOTTOM) <= PHONE["height"]
    page.click("[data-count]")
    page.fill("#seconds", "5:00:00")
    page.click("button.right")
    page.wait_for_selector("[role=alert]")
    assert page.evaluate(BOTTOM) <= PHONE["height"]
    window.fits()
    window.faults.clear()  # the browser tells of the question as of an error


def test_text_of_twice_the_size_stays_within_the_window(visit: Callable[..., Visits]) -> None:
    window = visit(size={"width": 320, "height": 640}, locale="de-DE")
    page = window.open("/register")
    page.fill("input[name=email]", "ada@example.com")
    page.fill("input[name=password]", "a long sentence of words")
    page.click("main form button")
    page.wait_for_url("**/dashboard")
    for path in PAGES:
        window.open(path)
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        window.fits()

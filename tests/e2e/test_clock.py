"""The clock of a task in a real browser, whose own clock the tests move."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.web.task_time import seconds_of
from tests.e2e.visits import Visits

SLACK = 30
ASKED = re.compile(r"You were away for 12 min: count them\?")
HIDDEN = """hidden => {
  Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def window(visit: Callable[..., Visits]) -> Visits:
    """A task is open, and nothing has been pressed."""
    made = visit()
    made.page.clock.install()
    made.register().ask("Calculus")
    return made


def start(window: Visits) -> Page:
    window.page.get_by_role("button", name="Start", exact=True).click()
    return window.page


def away(page: Page, seconds: float) -> None:
    """Another window is looked at."""
    page.evaluate(HIDDEN, True)
    page.clock.fast_forward(int(seconds * 1000))
    page.evaluate(HIDDEN, False)


def worked(page: Page, seconds: int) -> None:
    """Time passes before the student's eyes."""
    page.clock.run_for(seconds * 1000)


def shows(page: Page, seconds: int) -> None:
    expect(page.get_by_role("timer")).to_be_visible()
    is_about(page.get_by_role("timer").inner_text(), seconds)


def is_about(told: str, seconds: int) -> None:
    """A busy machine takes its time too."""
    assert seconds - 2 <= seconds_of(told) < seconds + SLACK


def recorded(page: Page) -> str:
    page.get_by_role("button", name="I got it right").click()
    page.get_by_role("heading", name="Go on").wait_for()
    return page.get_by_role("heading", name=re.compile("^Right, in")).inner_text().removeprefix("Right, in ")


def test_the_clock_begins_with_start_and_what_it_shows_is_recorded(window: Visits) -> None:
    page = window.page
    worked(page, 60)
    expect(page.get_by_role("timer")).to_be_hidden()
    start(window)
    worked(page, 75)
    shows(page, 75)
    window.is_accessible()
    is_about(recorded(page), 75)


def test_time_out_of_sight_is_asked_about(window: Visits) -> None:
    page = start(window)
    worked(page, 20)
    away(page, 720)
    shows(page, 20)
    expect(page.get_by_text(ASKED)).to_be_visible()
    window.is_accessible()
    page.get_by_role("button", name="I got it right").click()  # nothing is recorded before it is answered
    expect(page.get_by_role("button", name="Count them")).to_be_focused()
    page.get_by_role("button", name="Leave them out").click()
    expect(page.get_by_text("You were away")).to_be_hidden()
    away(page, 60)
    page.get_by_role("button", name="Count them").click()
    shows(page, 80)
    is_about(recorded(page), 80)


def test_who_works_on_paper_says_so_once(window: Visits) -> None:
    page = start(window)
    away(page, 60)
    page.get_by_role("button", name="Count them").click()
    away(page, 90)
    shows(page, 150)
    expect(page.get_by_text("You were away")).to_be_hidden()
    away(page, 720)  # longer than the task may take
    shows(page, 150)
    page.get_by_role("button", name="Leave them out").click()
    away(page, 60)
    expect(page.get_by_text("You were away")).to_be_visible()


def test_nobody_is_asked_about_a_glance_elsewhere(window: Visits) -> None:
    page = start(window)
    away(page, 2)
    worked(page, 1)
    shows(page, 1)
    expect(page.get_by_text("You were away")).to_be_hidden()


def test_a_long_time_without_a_touch_is_asked_about(window: Visits) -> None:
    page = start(window)
    worked(page, 500)
    shows(page, 500)  # the first guess allows ten minutes
    worked(page, 220)
    expect(page.get_by_text(ASKED)).to_be_visible()
    shows(page, 0)
    page.get_by_role("button", name="Count them").click()
    shows(page, 720)


def test_the_clock_survives_a_reload_and_is_one_in_two_windows(window: Visits) -> None:
    page = start(window)
    worked(page, 40)
    page.reload()
    worked(page, 5)
    shows(page, 45)
    other = window.context.new_page()
    other.goto(page.url)
    shows(other, 45)
    expect(other.get_by_role("button", name="Pause")).to_be_visible()


def test_what_was_typed_stays_typed(window: Visits) -> None:
    page = start(window)
    page.get_by_label("Time it took").fill("1:30")
    worked(page, 40)
    page.reload()
    expect(page.get_by_label("Time it took")).to_have_value("1:30")
    assert recorded(page) == "90 s"


def test_enter_in_the_time_decides_neither_right_nor_wrong(window: Visits) -> None:
    page = window.page
    page.get_by_label("Time it took").fill("90 s")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Was it right or wrong?")
    expect(page.get_by_label("Time it took")).to_have_value("90 s")
    window.faults.clear()  # the console tells of the 422
    assert recorded(page) == "90 s"


def test_a_pause_stands_still_and_a_new_start_begins_at_nothing(window: Visits) -> None:
    page = start(window)
    worked(page, 20)
    page.get_by_role("button", name="Pause").click()
    worked(page, 900)
    shows(page, 20)
    expect(page.get_by_text("You were away")).to_be_hidden()
    page.get_by_role("button", name="Go on", exact=True).click()
    worked(page, 10)
    shows(page, 30)
    page.get_by_role("button", name="Start again").click()
    shows(page, 0)


def test_with_the_answer_the_clock_stands_still(window: Visits) -> None:
    page = start(window)
    worked(page, 20)
    page.get_by_label("Time it took").fill("soon")
    page.get_by_role("button", name="I got it right").click()
    expect(page.get_by_role("alert")).to_contain_text("“soon” can't be read as a time.")
    window.faults.clear()  # the console tells of the 422
    worked(page, 40)
    expect(page.get_by_role("button", name="Go on", exact=True)).to_be_visible()
    page.get_by_label("Time it took").fill("")
    is_about(recorded(page), 20)


def test_a_time_far_off_is_asked_about_and_can_be_changed(window: Visits) -> None:
    page = window.page
    page.get_by_label("Time it took").fill("24:00:00")
    page.get_by_role("button", name="I got it wrong").click()
    expect(page.get_by_role("alert")).to_contain_text("It took 24 h? Predicted was at most about 10 min.")
    window.faults.clear()  # the console tells of the 422
    window.is_accessible()
    page.get_by_role("link", name="Change the time").click()
    expect(page.get_by_label("Time it took")).to_be_focused()
    page.get_by_label("Time it took").fill("0:24")
    assert recorded(page) == "24 s"


def test_the_answer_stands_on_the_first_screen_of_a_phone(visit: Callable[..., Visits]) -> None:
    window = visit(size={"width": 390, "height": 844})
    window.register().ask("Calculus")
    page = start(window)
    for name in ("I got it right", "I got it wrong"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 844

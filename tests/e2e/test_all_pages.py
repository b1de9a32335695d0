"""Every page in a real browser: both themes, a wide window and a phone, by keyboard alone, without JavaScript.

`make e2e` runs this, with PICTURES naming the folder for screenshots; `make test` leaves it out.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.crud import accounts
from app.ml.evaluation import sample
from tests.e2e.visits import PHONE, Visits
from tests.school import PASSWORD, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PICTURES = Path(os.environ["PICTURES"]).absolute() if os.environ.get("PICTURES") else None
PAGES = {
    "today": "/dashboard",
    "practise": "/dashboard/tasks",
    "history": "/dashboard/history",
    "analytics": "/dashboard/analytics",
    "preparation": "/dashboard/preparation",
    "settings": "/dashboard/settings",
    "delete": "/dashboard/settings/delete",
    "training": "/dashboard/training",
}
ADMIN = {
    "admin": "/admin",
    "admin-versions": "/admin/versions",
    "admin-runs": "/admin/runs",
    "admin-comparison": "/admin/comparison",
    "admin-audit": "/admin/audit",
    "admin-topics": "/admin/topics",
    "admin-accounts": "/admin/accounts",
    "admin-demonstration": "/admin/demonstration",
    "forgot-password": "/forgot-password",
}
NOT_KEPT = ("-dark-wide", "-light-phone")  # of pictures, one of a window and one of a phone are enough
Visit = Callable[..., Visits]


@pytest.fixture(autouse=True)
def trained_on_the_sample(db: Session, address: str) -> None:
    with new_session().begin() as session:
        sample.load(session)
    until(lambda: _answering(address))


def _answering(address: str) -> bool:
    found: bool = httpx.get(f"{address}/model/status").json()["serving"]["model_version_id"] is not None
    return found


def looked_at(window: Visits, name: str, path: str) -> Page:
    page = window.open(path)
    window.is_accessible()
    window.fits()
    if not name.endswith(NOT_KEPT):
        window.picture(PICTURES, name)
    return page


def a_week_of_practice(window: Visits) -> str:
    """Some tasks, right and wrong; the path of the last."""
    for number in range(8):
        window.ask(("Calculus", "Waves", "Statistics")[number % 3], ("easy", "medium", "hard")[number % 3])
        window.answer(right=number % 3 != 2, seconds=18 + 5 * number)
    return window.page.url.removeprefix(window.address)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_every_page_is_whole_and_accessible(visit: Visit, db: Session, theme: str, size: str) -> None:
    ending = {"light-wide": "", "dark-phone": "-phone"}.get(f"{theme}-{size}", f"-{theme}-{size}")
    window = visit(size=PHONE if size == "phone" else None, color_scheme=theme)
    for name, path in {"home": "/", "sign-in": "/sign-in", "register": "/register"}.items():
        looked_at(window, name + ending, path)
    window.register()
    for name, path in PAGES.items():
        looked_at(window, f"newcomer-{name}{ending}", path)
    result = a_week_of_practice(window)
    looked_at(window, f"result{ending}", result)
    looked_at(window, f"why{ending}", f"{result}/why")
    looked_at(window, f"plan{ending}", window.plan_an_exam())
    window.ask("Geometry")
    looked_at(window, f"task{ending}", window.page.url.removeprefix(window.address))
    for name, path in PAGES.items():
        looked_at(window, name + ending, path)
    with new_session().begin() as session:
        accounts.make_admin(session, "ada@example.com")
    for name, path in (ADMIN | {"keys": "/dashboard/settings"}).items():
        looked_at(window, name + ending, path)
    looked_at(window, f"nothing-here{ending}", "/dashboard/nothing")
    window.faults[:] = [fault for fault in window.faults if "404" not in fault]  # that page is one


def test_the_whole_way_by_keyboard_alone(visit: Visit) -> None:
    window = visit()
    page = window.open("/register")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    _typed(page, "Name", "Ada")
    _typed(page, "E-mail address", "ada@example.com")
    _typed(page, "Password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard")
    _to(page, "link", "Practise")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/tasks")
    _typed(page, "Topic", "Calculus")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="hard")).to_be_checked()
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/tasks/*")
    _to(page, "button", "Start")
    page.keyboard.press("Enter")
    expect(page.get_by_role("timer")).to_be_visible()
    _to(page, "button", "I got it right")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("Right"))).to_be_visible()


def _typed(page: Page, label: str, text: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.labels?.[0]?.innerText ?? ''")
        if str(focused).startswith(label):
            page.keyboard.type(text)
            return
    raise AssertionError(f"the keyboard does not come to {label}")


def _to(page: Page, role: str, name: str) -> None:
    wanted = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the keyboard does not come to {name}")


def test_the_whole_way_without_javascript(visit: Visit) -> None:
    window = visit(java_script_enabled=False)
    page = window.register().page
    for number in range(6):
        window.ask("Calculus")
        expect(page.get_by_role("timer")).to_be_hidden()
        window.answer(right=number % 2 == 0, seconds=None if number else 12)
    page.get_by_text("How do you know?").click()
    page.get_by_role("link", name="See what moved it").click()
    expect(page.get_by_role("heading", name="Why this prediction?")).to_be_visible()
    window.open(window.plan_an_exam())
    page.get_by_role("button", name=re.compile("Start: ")).first.click()
    expect(page.get_by_text("Chance of a right answer").first).to_be_visible()
    window.open("/dashboard/training")
    page.get_by_role("link", name="Look again").click()
    for path in PAGES.values():
        window.open(path)
        expect(page.locator("h1")).to_have_count(1)


def test_a_german_visitor_reads_german(visit: Visit) -> None:
    window = visit(locale="de-DE")
    page = window.open("/")
    expect(page.get_by_role("link", name="Registrieren").first).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.get_by_label("Sprache").select_option("en")
    expect(page.get_by_role("link", name="Register").first).to_be_visible()


def test_dark_pages_are_light_on_paper(visit: Visit) -> None:
    page = visit(color_scheme="dark").open("/")
    ink = "getComputedStyle(document.body).color"
    on_screen = page.evaluate(ink)
    page.emulate_media(media="print")
    assert (on_screen, page.evaluate(ink)) == ("rgb(233, 235, 247)", "rgb(27, 31, 51)")


def test_the_first_load_is_light(visit: Visit) -> None:
    window = visit()
    loaded: list[int] = []
    window.page.on("response", lambda response: loaded.append(len(response.body())))
    window.open("/")
    window.page.wait_for_load_state("networkidle")
    assert 0 < sum(loaded) < 150_000

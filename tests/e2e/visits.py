"""What a person does in a browser window, and what they must never see."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from tests.school import PASSWORD

WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
COLOURS = 256  # of a picture
SERIOUS = ("serious", "critical")
PATIENCE_MS = 60_000  # a training on a busy machine
RUN_TOGETHER = re.compile(r"\w*[^\W\d_]{2}[.!?][A-ZÄÖÜ][^\W\d_]+")
INTO_ONE_WINDOW = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@dataclass
class Visits:
    """A window on the service."""

    address: str
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)

    @classmethod
    def begun(cls, browser: Browser, address: str, *, size: dict[str, int] | None = None, **options: Any) -> Self:
        context = browser.new_context(viewport=size or WIDE, reduced_motion="reduce", **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        made = cls(address, context, context.new_page())
        made.page.on("console", made._heard)
        made.page.on("pageerror", lambda error: made.faults.append(f"script: {error}"))
        made.page.on("request", made._asked)
        made.page.on("response", made._answered)
        return made

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text} ({self.page.url})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.address):
            self.faults.append(f"another host: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.faults.append(f"{response.status} at {response.url}")

    def close(self) -> None:
        self.context.close()

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def register(self, name: str = "Ada") -> Self:
        self.open("/register")
        self.page.get_by_label("Name", exact=False).first.fill(name)
        self.page.get_by_label("E-mail address").fill(f"{name.lower()}@example.com")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.locator("main").get_by_role("button", name="Register").click()
        self.page.wait_for_url("**/dashboard")
        return self

    def ask(self, topic: str, difficulty: str = "medium") -> None:
        """Choose a task; the page with its prediction."""
        self.open("/dashboard/tasks")
        self.page.get_by_label("Topic").fill(topic)
        self.page.get_by_role("radio", name=difficulty).check()
        self.page.get_by_role("button", name="Show the prediction").click()
        self.page.wait_for_url("**/dashboard/tasks/*")

    def answer(self, *, right: bool = True, seconds: float | None = None) -> None:
        """Say how it went; without a time the clock counts from Start to the answer."""
        if seconds is not None:
            self.page.get_by_label("Time it took").fill(str(seconds))
        else:
            self.page.get_by_role("button", name="Start", exact=True).click()
        self.page.get_by_role("button", name="I got it right" if right else "I got it wrong").click()
        self.page.get_by_role("heading", name="Go on").wait_for()

    def plan_an_exam(self) -> str:
        """Three weeks from now; the path of the plan."""
        page = self.open("/dashboard/preparation")
        page.get_by_label("Name", exact=False).first.fill("Finals")
        page.get_by_label("Day of the exam").fill((datetime.now(UTC).date() + timedelta(days=21)).isoformat())
        page.get_by_label(re.compile("separated by commas")).fill("Calculus, Waves, Statistics, Geometry")
        page.get_by_role("button", name="Make the plan").click()
        page.get_by_role("heading", name="Day by day").wait_for()
        return page.url.removeprefix(self.address)

    def fits(self) -> None:
        """Nothing hangs over the edge of the window."""
        if not self.page.evaluate(INTO_ONE_WINDOW):
            self.faults.append(f"wider than the window: {self.page.url}")

    def is_accessible(self) -> None:
        """axe-core finds nothing serious, and a reader no two sentences without a space between."""
        if run_together := RUN_TOGETHER.search(self.page.inner_text("body")):
            self.faults.append(f"no space at {self.page.url}: {run_together.group()}")
        found = Axe().run(self.page).response["violations"]
        for each in found:
            if each["impact"] in SERIOUS:
                places = "; ".join(str(node["html"])[:150] for node in each["nodes"][:3])
                self.faults.append(f"axe {each['id']} at {self.page.url}: {each['help']}: {places}")

    def picture(self, folder: Path | None, name: str) -> None:
        """In few colours, which is enough for pages and a third of the size."""
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            shot = Image.open(BytesIO(self.page.screenshot(full_page=True)))
            shot.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE).save(folder / f"{name}.png", optimize=True)

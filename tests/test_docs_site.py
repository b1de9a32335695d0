"""The documentation site is whole: built strictly, no link leads nowhere, and no page asks another host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """What a page links to, what it asks for, and where one can land in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.asked: list[str] = []
        self.ids: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(str(given["id"]))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.asked.append(str(given["href"]))
        elif given.get("src"):
            self.asked.append(str(given["src"]))
        assert not given.get("srcset")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_link_and_anchor_of_the_site_leads_somewhere_in_it(site: Path) -> None:
    pages = {file: Page(file.read_text()) for file in site.rglob("*.html")}
    assert len(pages) > 30
    for file, page in pages.items():
        if file.name == "404.html":  # its links are those of the root of a server
            continue
        for link in [*page.links, *page.asked]:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert target.is_file(), f"{file.relative_to(site)}: {link}"
            if parts.fragment and not parts.fragment.startswith("__"):
                assert unquote(parts.fragment) in pages[target].ids, f"{file.relative_to(site)}: {link}"


def test_no_page_asks_another_host(site: Path) -> None:
    for file in site.rglob("*.html"):
        elsewhere = [each for each in Page(file.read_text()).asked if urlsplit(each).netloc or each.startswith("//")]
        assert elsewhere == [], file.relative_to(site)
    for file in site.rglob("*.css"):
        asked = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", file.read_text())
        assert asked == [], file.relative_to(site)

"""A browser without JavaScript, as far as a test needs one."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx

from tests.school import PASSWORD

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass
class Browser:
    """Follows redirects and keeps cookies, as browsers do."""

    client: httpx.Client

    def get(self, path: str, **query: Any) -> httpx.Response:
        answer: httpx.Response = self.client.get(path, params=query, headers=HTML, follow_redirects=True)
        return answer

    def send(self, path: str, headers: Any = None, **form: Any) -> httpx.Response:
        """Post a form."""
        sent = HTML | {"Origin": str(self.client.base_url).rstrip("/")} | (headers or {})
        answer: httpx.Response = self.client.post(path, data=form, headers=sent, follow_redirects=True)
        return answer

    def register(self, name: str = "ada") -> "Browser":
        self.client.cookies.clear()
        self.send("/register", name=name.title(), email=f"{name}@example.com", password=PASSWORD)
        assert "smartstudy" in self.client.cookies
        return self

    def practise(
        self, topic: str = "Calculus", difficulty: str = "medium", *, right: bool = True, seconds: float = 30
    ) -> httpx.Response:
        """Ask for a task and finish it; the page with the result."""
        asked = self.send("/dashboard/tasks", topic=topic, difficulty=difficulty)
        assert asked.status_code == 200, asked.text
        return self.send(asked.url.path, result="right" if right else "wrong", seconds=seconds)


def said(answer: httpx.Response) -> str:
    """What a reader of the page sees, roughly: its text without tags, in one line."""
    text = re.sub(r"<(script|style|head)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())

"""A lost password by mail, to a server that takes it, is away, or offers no TLS."""

import re
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import mail
from app.core.settings import settings
from tests.school import Student
from tests.web.browsing import Browser, said

NEW = "another long sentence of hers"
SAME = "If there is such an account, a mail with a link is on its way to it."


class Taking(socketserver.StreamRequestHandler):
    """As much of SMTP as a mail needs (RFC 5321), without TLS."""

    refuses = False

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline():
            command = line.decode().strip().upper()
            if command.startswith("EHLO"):
                self._say("250-here\r\n250 AUTH PLAIN")
            elif command.startswith("AUTH"):
                self.server.signed_in.append(command)  # type: ignore[attr-defined]
                self._say("235 yes")
            elif command.startswith("RCPT") and self.refuses:
                self._say("550 no such mailbox: ada@example.com")
            elif command == "DATA":
                self._say("354 go on")
                self._take()
            elif command == "QUIT":
                self._say("221 bye")
                break
            else:
                self._say("250 ok")

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        self.server.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))  # type: ignore[attr-defined]
        self._say("250 taken")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    signed_in: list[str]
    mails: list[EmailMessage]


@pytest.fixture
def post_office(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server that the service is set to."""
    with MailServer(("127.0.0.1", 0), Taking) as made:
        made.signed_in, made.mails = [], []
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setenv("SMTP_URL", f"smtp://school:p%40ss@127.0.0.1:{made.server_address[1]}")
        monkeypatch.setenv("PUBLIC_URL", "https://study.example.org")
        yield made
        made.shutdown()


def forgot(service: TestClient, email: str) -> tuple[int, str]:
    answer = service.post("/auth/forgot-password", json={"email": email})
    return answer.status_code, answer.json().get("message", answer.json().get("detail"))


def test_a_link_is_mailed_and_works(post_office: MailServer, service: TestClient) -> None:
    Student.registered(service, "ada")
    assert forgot(service, " Ada@example.com ") == (202, SAME)
    (sent,) = post_office.mails
    assert (sent["To"], sent["From"]) == ("ada@example.com", "smartstudy@study.example.org")
    link = re.search(r"https://study\.example\.org/new-password\?link=(\S+)", sent.get_content())
    assert link
    assert post_office.signed_in
    done = service.post("/auth/reset-password", json={"token": link[1], "password": NEW})
    assert done.status_code == 200


def test_who_has_no_account_hears_the_same_and_gets_no_mail(
    post_office: MailServer, service: TestClient, db: Session
) -> None:
    Student.registered(service, "ada")
    db.execute(text("UPDATE users SET disabled_at = now()"))
    db.commit()
    for email in ("nobody@example.com", "ada@example.com", "not an address", "x\x00y"):
        assert forgot(service, email) == (202, SAME)
    assert post_office.mails == []


def test_the_page_says_the_same_of_everybody_and_asks_in_the_accounts_language(
    post_office: MailServer, service: TestClient, db: Session
) -> None:
    browser = Browser(service).register("ada")
    db.execute(text("UPDATE users SET language = 'de'"))
    db.commit()
    browser.client.cookies.clear()
    answers = [browser.send("/forgot-password", email=f"{name}@example.com") for name in ("ada", "nobody")]
    assert answers[0].text == answers[1].text
    assert "If there is an account with this address" in said(answers[0])
    (sent,) = post_office.mails
    assert "Passwort" in sent["Subject"]


def test_it_is_asked_three_times_an_hour_and_no_more(post_office: MailServer, service: TestClient) -> None:
    Student.registered(service, "ada")
    for email in ("ada@example.com", "nobody@example.com"):
        assert [forgot(service, email)[0] for _ in range(4)] == [202, 202, 202, 429]
    page = Browser(service).send("/forgot-password", email="ada@example.com")
    assert (page.status_code, "Retry-After" in page.headers) == (429, True)
    assert len(post_office.mails) == 3


def test_a_mail_server_that_is_away_changes_no_answer(
    post_office: MailServer, service: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    Student.registered(service, "ada")
    post_office.shutdown()
    post_office.server_close()
    assert forgot(service, "ada@example.com") == (202, SAME)
    assert "A mail could not be sent" in caplog.text
    assert "ada@example.com" not in caplog.text


def test_a_password_is_never_sent_in_clear_to_another_machine(
    post_office: MailServer, environment: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mail, "is_loopback", lambda host: False)
    mail.send("ada@example.com", "Hello", "Hello")
    assert "offers no TLS" in caplog.text
    assert (post_office.signed_in, post_office.mails) == ([], [])


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"SMTP_URL": "mail.example.org"}, "SMTP_URL: takes smtp://user:password@host:587"),
        ({"SMTP_URL": "smtp://u:secret@host:port"}, "SMTP_URL: takes smtp://user:password@host:587"),
        ({"SMTP_URL": "smtp://mail.example.org"}, "SMTP_URL needs PUBLIC_URL"),
        ({"PUBLIC_URL": "study.example.org"}, "PUBLIC_URL: takes the address that the service is reached by"),
    ],
)
def test_a_wrong_setting_is_said_at_the_start(
    given: dict[str, str], wrong: str, environment: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALLOWED_HOSTS")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(SystemExit) as said_why:
        settings()
    assert wrong in str(said_why.value)
    assert "secret" not in str(said_why.value)


def test_who_asks_for_a_link_has_no_say_in_where_it_leads(post_office: MailServer, service: TestClient) -> None:
    Student.registered(service, "ada")
    asked = {"json": {"email": "ada@example.com"}, "headers": {"Host": "testserver:6666"}}
    assert service.post("/auth/forgot-password", **asked).status_code == 202
    assert "https://study.example.org/new-password?link=" in post_office.mails[0].get_content()


def test_mails_that_hang_keep_nobody_waiting(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("PUBLIC_URL", "https://study.example.org")
    settings.cache_clear()
    answered, hanging = threading.Event(), threading.Semaphore(0)

    def hang(*_given: object) -> None:
        hanging.release()
        assert answered.wait(60)

    monkeypatch.setattr(mail, "send", hang)
    students = [Student.registered(service, f"student-{number}") for number in range(45)]  # there are 40 threads
    with ThreadPoolExecutor(45) as asking:
        for number in range(45):
            asking.submit(forgot, service, f"student-{number}@example.com")
        try:
            for _ in range(mail.AT_ONCE):
                assert hanging.acquire(timeout=60)
            assert students[0].get("/users/me").status_code == 200
            assert not hanging.acquire(blocking=False)
        finally:
            answered.set()


def test_a_refusal_is_told_without_whom_it_was_for(
    post_office: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Taking, "refuses", True)
    mail.send("ada@example.com", "Hello", "Hello")
    assert "SMTPRecipientsRefused" in caplog.text
    assert "ada@example.com" not in caplog.text

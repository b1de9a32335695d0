"""Mail, where SMTP_URL says through whom it is sent."""

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import unquote, urlsplit

from anyio import CapacityLimiter, to_thread

from app.core.observability.logs import log
from app.core.settings import is_loopback, settings

TIMEOUT_SECONDS = 10.0
AT_ONCE = 4  # mails, in threads of their own: a slow mail server keeps none of those that answer requests
at_work = CapacityLimiter(AT_ONCE)
PORTS = {"smtp": 587, "smtps": 465}


def is_sent() -> bool:
    """Tell whether mails can be sent."""
    return settings().smtp_url is not None


async def in_turn(work: Callable[..., None], *given: Any) -> None:
    """Do what makes and sends a mail, in one of the threads for that."""
    await to_thread.run_sync(work, *given, limiter=at_work)


def send(to: str, subject: str, text: str) -> None:
    """Send a mail; blocks. What goes wrong is logged, for whoever asked for it must not learn whether one was sent."""
    from email_validator import EmailNotValidError, validate_email

    message = EmailMessage()
    message["Subject"], message["From"], message["Date"] = subject, settings().mail_sender(), formatdate()
    message["Message-ID"] = make_msgid(domain=settings().mail_sender().partition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    try:
        found = validate_email(to, check_deliverability=False, globally_deliverable=False)
        message["To"] = found.ascii_email or to
        with _server() as server:
            server.send_message(message)
    except (OSError, ValueError, EmailNotValidError) as why:  # smtplib's errors are OSErrors
        said = f"{type(why).__name__}: {why}".replace(to, "the address")
        log.error("A mail could not be sent through SMTP_URL. %s", said)


@contextmanager
def _server() -> Iterator[smtplib.SMTP]:
    """Connect and sign in: over TLS where the server offers it; without it no password is sent to another machine."""
    secret = settings().smtp_url
    at = urlsplit(secret.get_secret_value() if secret else "")
    host, port, trusted = at.hostname or "", at.port or PORTS[at.scheme], ssl.create_default_context()
    if at.scheme == "smtps":
        made: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=trusted)
    else:
        made = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    with made as server:
        server.ehlo()
        elsewhere = at.scheme == "smtp" and not is_loopback(host)
        if elsewhere and server.has_extn("starttls"):
            server.starttls(context=trusted)
            server.ehlo()
        elif elsewhere and at.password:
            raise smtplib.SMTPException("the server offers no TLS, so the password of SMTP_URL is not sent to it")
        if at.username and at.password:
            server.login(unquote(at.username), unquote(at.password))
        yield server

"""The log: one JSON object a line, or lines for people; everything that this process says goes through it.

Modules log through the standard library, as uvicorn and the others do; structlog writes. Within a request a line has
its `request_id` and `trace_id`, within a training its `run_id`.
"""

import logging
import logging.config
import re
import sys
import threading
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.core.http import request_id
from app.core.settings import settings

log = logging.getLogger("smartstudy")
EXTRA = ("run_id", "method", "route", "status", "duration_ms")
SECRETS = re.compile(
    r"(?P<user>://[^\s:/@]+:)[^\s@]+(?=@)"  # a password in a URL
    r"|ssk_[\w-]+"  # a service key
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"  # a token
    r"|(?P<scheme>Bearer )\S+"
    r"|[\w.+-]+@[\w-]+\.[\w.-]*\w"  # an e-mail address
)
run_id: ContextVar[int | None] = ContextVar("run_id", default=None)


def configure() -> None:
    """Have this process log as the settings say."""
    logging.config.dictConfig(as_dict())
    logging.captureWarnings(True)
    if is_json():
        sys.excepthook = _uncaught
        threading.excepthook = lambda of: _uncaught(of.exc_type, of.exc_value, of.exc_traceback)


def as_dict() -> dict[str, Any]:
    """Describe the log for `dictConfig`; uvicorn passes it on to its web processes."""
    given = settings()
    others = max(logging.WARNING, logging.getLevelNamesMapping()[given.log_level])
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": {"()": "app.core.observability.logs.formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "ours"}},
        "root": {"handlers": ["stderr"], "level": "DEBUG" if given.log_level == "DEBUG" else others},
        "loggers": {
            "smartstudy": {"level": given.log_level},
            "smartstudy.access": {"level": "INFO" if given.access_log else given.log_level},
            "uvicorn": {"level": others},
        },
    }


def is_json() -> bool:
    """Tell whether programs are to read the log."""
    wanted = settings().log_format
    return wanted == "json" if wanted != "auto" else not sys.stderr.isatty()


def formatter() -> logging.Formatter:
    """Return what makes a line of a record."""
    processors: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _without_secrets,
        structlog.processors.JSONRenderer(default=str) if is_json() else _for_people,
    ]
    return structlog.stdlib.ProcessorFormatter(processors=processors, foreign_pre_chain=_before())


def _before() -> list[Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(EXTRA),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _in_context,
    ]


def _in_context(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Add the request or the training that the process is busy with."""
    names = request_id.current.get()
    if names:
        event.update(request_id=names.request_id, trace_id=names.trace.trace_id)
    if run := run_id.get():
        event["run_id"] = run
    return event


def _without_secrets(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Remove secrets that libraries and the messages of their errors may hold; nothing of ours logs one."""
    return {key: SECRETS.sub(_removed, value) if isinstance(value, str) else value for key, value in event.items()}


def _removed(found: re.Match[str]) -> str:
    return f"{found['user'] or found['scheme'] or ''}[removed]"


def _for_people(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    """Write `2026-03-01T10:00:00Z info     smartstudy: what happened  key=value`, then the traceback."""
    at, level, name, said = (event.pop(key, "") for key in ("timestamp", "level", "logger", "event"))
    trace = event.pop("exception", None)
    more = "".join(f"  {key}={value}" for key, value in event.items())
    return f"{str(at)[:19]}Z {level:<8} {name}: {said}{more}" + (f"\n{trace}" if trace else "")


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Log an uncaught error as one line of JSON instead of a traceback of many lines."""
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical("not caught: %s", kind.__name__, exc_info=(kind, error or kind(), trace))

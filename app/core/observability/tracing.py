"""OpenTelemetry, where the environment asks for it (extra `smartstudy[otel]`); otherwise nothing of it is imported."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event

from app.core.http import request_id
from app.core.http.request_id import Trace
from app.core.settings import settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

NOT_INSTALLED = (
    "OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER asks for traces, but OpenTelemetry is not installed: "
    "run `pip install 'smartstudy[otel]'`, or unset them."
)
NOT_TRACED = ("/healthz", "/readyz", "/metrics")
SERVICE = "smartstudy"
FLUSH_MILLISECONDS = 2_000


def is_wanted() -> bool:
    given = settings()
    exporter = (given.otel_traces_exporter or "").lower()
    endpoint = given.otel_exporter_otlp_endpoint or given.otel_exporter_otlp_traces_endpoint
    return exporter != "none" and bool(exporter or endpoint)


def of_requests() -> "TelemetryConfig":
    """Configure FastAPI's telemetry: spans for requests, and ours for statements, where they are wanted.

    Raises SystemExit where the packages are not there.
    """
    nothing: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
    if not is_wanted():
        return nothing
    provider = _provider()
    if not request_id.tracer:
        request_id.tracer.append(_span_of_request)
        _trace_statements(provider.get_tracer(SERVICE))
    return {
        **nothing,
        "tracing": True,
        "tracer_provider": provider,
        "exclude": lambda scope: scope.get("path") in NOT_TRACED,
    }


def _trace_statements(tracer: "Tracer") -> None:
    """Make spans of the statements through psycopg2, without their values.

    Ours, for OpenTelemetry's instrumentation ends at SQLAlchemy 2.0.
    """
    from opentelemetry.trace import SpanKind, StatusCode

    def begin(_db: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:
        known = {"db.system.name": "postgresql", "db.query.text": statement}
        name = statement.split(maxsplit=1)[0].upper()
        context.span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=known)

    def end(_db: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        context.span.end()

    def fail(failed: Any) -> None:
        if found := getattr(failed.execution_context, "span", None):
            found.set_status(StatusCode.ERROR, type(failed.original_exception).__name__)
            found.end()

    event.listen(Engine, "before_cursor_execute", begin)
    event.listen(Engine, "after_cursor_execute", end)
    event.listen(Engine, "handle_error", fail)


@contextmanager
def span(name: str, **attributes: int | str) -> Iterator[None]:
    """Make a span of what happens inside, where traces are wanted."""
    if not is_wanted():
        yield
        return
    with _provider().get_tracer(SERVICE).start_as_current_span(name, attributes=attributes):
        yield


def flush() -> None:
    """Export the spans that have ended, and wait for that, but not for long."""
    if _provider.cache_info().currsize:
        _provider().force_flush(FLUSH_MILLISECONDS)


@lru_cache
def _provider() -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError:
        raise SystemExit(NOT_INSTALLED) from None

    given = settings()
    made = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", SERVICE)}))
    if (given.otel_traces_exporter or "").lower() == "console":
        console = ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: span.to_json(indent=None) + "\n")
        made.add_span_processor(SimpleSpanProcessor(console))
        return made
    for name in ("otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint"):
        if value := getattr(given, name):  # .env may have what the exporter looks for in the environment
            os.environ.setdefault(name.upper(), value)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def _span_of_request() -> Trace | None:
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:  # a route that is not traced
        return None
    return Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled)

"""Every error as `application/problem+json` (RFC 9457), with the request's id."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.core.db.outages import NO_DATABASE, code_of, outage, reason
from app.core.http.request_id import RequestNames
from app.domain.errors import AppError

log = logging.getLogger("smartstudy.requests")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
GIVEN_UP = ("40", "57P")  # by a server that ends, or by a replica whose database changed what was read
MOST_NAMED = 20  # fields that are wrong; who sends thousands needs no list of them


def problem(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object
) -> Response:
    """Answer with an error: as a page to those who look at pages, where the app has one for errors; else as JSON."""
    body = problem_body(request, status, detail, **more)
    as_page = getattr(request.app.state, "error_page", None)
    if as_page and (page := as_page(request, body, headers or {})):
        return cast(Response, page)
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def problem_body(request: Request, status: int, detail: str, **more: object) -> dict[str, Any]:
    """Return what the answer says."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": printable(detail, 2_000),
        "request_id": request.scope.get("request_id", ""),
        **more,
    }


def printable(text: str, most: int) -> str:
    """Make what callers wrote fit to be shown and logged: control characters spelt out, and not too long."""
    short = text if len(text) <= most else f"{text[:most]} ..."
    return short if short.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)


def method_not_allowed(request: Request) -> Response:
    """Answer a 405 that names all methods of the path; Starlette knows only those of the first route."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    methods = [m for m, scope in scopes.items() if any(r.matches(scope)[0] is Match.FULL for r in request.app.routes)]
    methods += ["HEAD"] if "GET" in methods and "HEAD" not in methods else []
    allowed = ", ".join(methods)
    detail = f"{printable(request.method, 20)} is not possible here; what is: {allowed}."
    return problem(request, 405, detail, {"Allow": allowed})


def install(app: FastAPI) -> None:
    """Let the app answer every error as a problem."""

    @app.exception_handler(AppError)
    async def ours(request: Request, error: AppError) -> Response:
        return problem(request, error.status, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        wrong = error.errors()
        detail, errors = what_is_wrong(wrong)
        if any(e["type"] == "json_invalid" for e in wrong):
            return problem(request, 400, "The body is not valid JSON.", errors=errors)
        return problem(request, 422, detail, errors=errors)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            detail = f"There is nothing at {printable(request.url.path, 200)}; the routes are listed at /docs."
        if error.status_code == 405:
            return method_not_allowed(request)
        return problem(request, error.status_code, detail, error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("not foreseen: %r", error)  # the server logs its traceback
        names: RequestNames | None = request.scope.get("names")  # this answer leaves outside of what names the others
        detail = "Something went wrong on our side; the log has it under this request's id."
        return problem(request, 500, detail, names.headers() if names else None)

    async def no_database(request: Request, error: Exception) -> Response:
        said = outage(error)
        if said is None:
            log.error("the database refused: %s", reason(error), exc_info=error)
            return await unforeseen(request, error)
        request.scope["connection_lost"] = (code_of(error) or "57P").startswith(GIVEN_UP)  # reading may begin anew
        log.warning("no database: %s", reason(error))
        return await ours(request, said)

    for kind in NO_DATABASE:
        app.add_exception_handler(kind, no_database)


def what_is_wrong(wrong: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    """Return the errors of a validation in a sentence, and by field; the first twenty."""
    errors = [{"field": _field(e["loc"]), "message": _message(e)} for e in wrong[:MOST_NAMED]]
    more = [f"and {len(wrong) - MOST_NAMED} more"] if len(wrong) > MOST_NAMED else []
    return "; ".join([*(f"{e['field']}: {e['message']}" for e in errors), *more]), errors


def _field(location: tuple[int | str, ...]) -> str:
    """Name a field as the caller does: `body.topic` is plain `topic`."""
    parts = [str(part) for part in location or ("body",)]
    named = parts[1:] if parts[0] in ("body", "query", "path") and len(parts) > 1 else parts
    return printable(".".join(named), 200)


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field of this request"
    return printable(str(error["msg"]).removeprefix("Value error, "), 300)

"""Every error as `application/problem+json` (RFC 9457), with the request's id."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.core.outages import NO_DATABASE, outage, reason
from app.core.request_id import Names
from app.domain.errors import AppError

log = logging.getLogger("smartstudy.requests")


def problem(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object
) -> JSONResponse:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request.scope.get("request_id", ""),
        **more,
    }
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""

    @app.exception_handler(AppError)
    async def ours(request: Request, error: AppError) -> JSONResponse:
        return problem(request, error.status, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"field": _field(e["loc"]), "message": _message(e)} for e in error.errors()]
        if any(e["type"] == "json_invalid" for e in error.errors()):
            return problem(request, 400, "The body is not valid JSON.", errors=errors)
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
        return problem(request, 422, detail, errors=errors)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if error.status_code == 404 and detail == "Not Found":
            detail = f"There is nothing at {request.url.path}; the routes are listed at /docs."
        return problem(request, error.status_code, detail, error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        names: Names | None = request.scope.get("names")  # this answer leaves outside of what names the others
        detail = "Something went wrong on our side; the log has it under this request's id."
        return problem(request, 500, detail, names.headers() if names else None)

    async def no_database(request: Request, error: Exception) -> JSONResponse:
        said = outage(error)
        if said is None:
            log.error("not foreseen: %s", reason(error), exc_info=error)
            return await unforeseen(request, error)
        log.warning("no database: %s", reason(error))
        return await ours(request, said)

    for kind in NO_DATABASE:
        app.add_exception_handler(kind, no_database)


def _field(location: tuple[int | str, ...]) -> str:
    """`body.topic` is plain `topic` to the caller."""
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[0] in ("body", "query", "path") and len(parts) > 1 else parts)


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field of this request"
    return str(error["msg"]).removeprefix("Value error, ")

from typing import Any

from pydantic import BaseModel, Field


class FieldProblem(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """An error as RFC 9457 writes it (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str = Field(description="Also in the header X-Request-ID and in the log.")
    reasons: list[str] | None = Field(None, description="Of /readyz: why the service can't serve.")
    errors: list[FieldProblem] | None = Field(None, description="Which fields were wrong, and what is accepted.")


MEANINGS = {
    400: "The request could not be read.",
    401: "Not signed in, or the token or key is not valid.",
    403: "Others may do this: admins, or service keys, or students with an account.",
    404: "There is no such thing, or it is not yours.",
    409: "It contradicts what is stored.",
    410: "This link has been used, or has run out.",
    413: "The body is longer than is accepted (`MAX_BODY_BYTES`).",
    422: "A value is not accepted; `errors` says which and why.",
    429: "This was asked too often; try again after `Retry-After` seconds.",
    503: "The database does not answer; try again after `Retry-After` seconds.",
}


WAIT = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: the errors it answers with. Whoever is let in has a budget of requests."""
    return {status: _described(status) for status in (*statuses, *((429,) if 401 in statuses else ()), 503)}


def _described(status: int) -> dict[str, Any]:
    described = {"model": Problem, "description": MEANINGS[status]}
    return {**described, "headers": WAIT} if status in (429, 503) else described

"""The address that links to this service begin with, where they are read somewhere else: in a mail, in a chat."""

from fastapi import Request

from app.core.settings import settings

LINK = "/new-password?link="  # the page by which a new password is set


def of_request(request: Request) -> str:
    """Return PUBLIC_URL, else what the request was sent to; only the path where any name in Host is taken unchecked."""
    given, path = settings(), str(request.scope.get("root_path", ""))
    if given.public_url:
        return given.public_url
    return path if "*" in given.host_names() else f"{request.scope['scheme']}://{request.headers['host']}{path}"


def of_this_machine() -> str:
    """Return the same for the command line; nothing where it is not known by what name others reach the service."""
    given = settings()
    if given.public_url or given.allowed_hosts or "*" in given.host_names():
        return given.public_url
    return f"http://{given.host}:{given.port}"

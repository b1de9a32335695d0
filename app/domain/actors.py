"""Who does what only admins may do, for the audit."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Actor:
    """An admin by a request, or whoever sits at the command line."""

    name: str  # the address to sign in with, or "command line"
    id: UUID | None = None  # of the account
    request_id: str | None = None
    address: str | None = None  # where the request came from


COMMAND_LINE = Actor("command line")

"""Which errors of the database pass, so that the caller may try again, and why."""

import logging

import psycopg2
from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.database import without_password
from app.domain.errors import DatabaseUnavailable

OTHER_TABLES = "The database's tables are not those of this service: it is being migrated, or has to be"
REFUSED = "The database does not let the service in"
# By the beginning of PostgreSQL's code; the longest that fits counts.
MEANINGS = {
    "08": "The connection to the database was lost",
    "25006": "The database can only be read just now",
    "26": "The connection to the database was changed underway",
    "28": REFUSED,
    "3D": REFUSED,
    "42501": REFUSED,
    "40": "Others were changing the same at this moment",
    "55P03": "Others hold what this request has to change",
    "53": "The database has run out of resources",
    "53100": "The database has no room left on its disk",
    "53300": "The database takes no more connections just now",
    "57": "The database gave the request up",
    "57014": "The database took too long",
    "57P03": "The database is starting or stopping",
    "58": "The database can't read or write its files",
    "0A000": OTHER_TABLES,  # of a statement prepared before
    "42703": OTHER_TABLES,
    "42704": OTHER_TABLES,
    "42804": OTHER_TABLES,
    "42883": OTHER_TABLES,
    "42P01": OTHER_TABLES,
}
AGAIN = "Try again shortly; what was stored all the same counts once."
# Without a code of PostgreSQL's: there was no answer at all. asyncpg calls it an error of its own where the server said
# farewell on a connection that nobody was using, and it is used before its end is seen. Of a COPY, in which
# SQLAlchemy has no part, they are psycopg2's own.
OF_COPY = (psycopg2.OperationalError, psycopg2.InterfaceError)
SILENCE = (OperationalError, PoolTimeout, InterfaceError, InternalClientError, ConnectionError, TimeoutError, *OF_COPY)
NO_DATABASE = (*SILENCE, DBAPIError, PostgresError, psycopg2.Error)  # what `outage` should be asked about


def outage(error: BaseException) -> DatabaseUnavailable | None:
    """Return what to answer; None where the database works and refused something that is wrong."""
    code = code_of(error)
    if code is None:
        silent = isinstance(error, SILENCE) or getattr(error, "connection_invalidated", False)
        return DatabaseUnavailable() if silent else None
    fitting = [MEANINGS[code[:n]] for n in (5, 2) if code[:n] in MEANINGS]
    return DatabaseUnavailable(f"{fitting[0]}. {AGAIN}") if fitting else None


def code_of(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error, from either driver."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "pgcode", None) or getattr(original, "sqlstate", None)
    return str(code) if code else None


def reason(error: BaseException) -> str:
    """Return the error in the words of the database or its driver, on one line and without the password."""
    original = getattr(error, "orig", None) or error
    server_said = getattr(getattr(original, "diag", None), "message_primary", None)  # without where in the statement
    said = " ".join(str(server_said or original).split())
    return without_password(said) or type(error).__name__


def meaning(error: BaseException) -> str:
    """Return what an outage means for the service, as the beginning of a sentence."""
    why = outage(error)
    return why.detail.split(".")[0] if why and code_of(error) else "The database does not answer"


def will_stay(error: BaseException) -> bool:
    """Tell whether it is no outage, or one that no waiting ends: libpq does not take a value in the address."""
    return outage(error) is None or (code_of(error) is None and reason(error).startswith("invalid "))


def tell(log: logging.Logger, what: str, error: Exception) -> None:
    """Log what went wrong: a sentence where the database is away, a traceback of anything else."""
    if isinstance(error, NO_DATABASE) and outage(error):
        log.error("%s, for the database is away: %s", what, reason(error))
    else:
        log.error("%s", what, exc_info=error)

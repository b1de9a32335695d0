"""What may stand in the address of a database, and what each of the drivers is given of it."""

import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

ENCODED = "in a user's name or a password % is written %25, / %2F, # %23, ? %3F, : %3A and @ %40"
# What asyncpg reads itself or sends on to the server; libpq's other options are about its own connection.
FOR_ASYNCPG = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "passfile", "application_name", "client_encoding", "options"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "gsslib"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "target_session_attrs"),
    }
)


def check(url: str) -> None:
    """Raises ValueError, with a sentence that quotes nothing but an option's name, where it can't mean what it says."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"can't be read; {ENCODED}") from None
    if "#" in url or url.count("@") != parts.netloc.count("@") or url.count("@") > 1:
        raise ValueError(f"can't be read; {ENCODED}")
    if re.search("%(?![0-9A-Fa-f]{2})", url):
        raise ValueError(f"can't be read; {ENCODED}")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if not _is_known(name):
            raise ValueError(f"has the option {name!r}, which PostgreSQL does not know: take it out of the address")


def with_socket(url: str) -> str:
    """The same address with a socket's folder, which libpq takes for a host too, where both drivers read it."""
    before, _, host = (parts := urlsplit(url)).netloc.rpartition("@")
    if not host.lower().startswith("%2f"):
        return url
    folder, _, port = host.partition(":")
    given = [("host", unquote(folder)), *([("port", port)] if port else []), *parse_qsl(parts.query)]
    return urlunsplit(parts._replace(netloc=f"{before}@" if before else "", query=urlencode(given)))


def for_asyncpg(url: str) -> str:
    """The same address without what only libpq understands."""
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    known = [(name, value) for name, value in given if name in FOR_ASYNCPG]
    return url if known == given else urlunsplit(parts._replace(query=urlencode(known)))


def _is_known(name: str) -> bool:
    """libpq itself says so: its options grow with each release."""
    from psycopg2 import ProgrammingError  # here, for who only fits a file needs no database
    from psycopg2.extensions import parse_dsn

    try:
        return name.isidentifier() and bool(parse_dsn(f"{name}=x"))
    except ProgrammingError:
        return False

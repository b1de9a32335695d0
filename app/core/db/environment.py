"""Variables of the shell that libpq and asyncpg read; none of them changes which database we talk to, or how."""

import logging
import os

log = logging.getLogger("smartstudy")
# What libpq 18 documents (section "Environment Variables") and PostgreSQL's own programs read, but for what completes
# an address and never contradicts it: PGPASSWORD, PGPASSFILE and the files of certificates.
IGNORED = (
    *("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGAPPNAME"),
    *("PGREQUIREAUTH", "PGCHANNELBINDING", "PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLCOMPRESSION"),
    *("PGSSLCERTMODE", "PGSSLSNI", "PGREQUIREPEER", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION"),
    *("PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION", "PGGSSENCMODE", "PGGSSDELEGATION", "PGKRBSRVNAME", "PGGSSLIB"),
    *("PGCONNECT_TIMEOUT", "PGCLIENTENCODING", "PGTARGETSESSIONATTRS", "PGTARGETSESSION", "PGLOADBALANCEHOSTS"),
    *("PGDATESTYLE", "PGTZ", "PGGEQO", "PGSYSCONFDIR", "PGLOCALEDIR", "PGREALM", "PGSSLKEYLOGFILE", "PGDATA"),
)


def forget() -> None:
    """Take them out of this process's environment, so that drivers and child processes see none; says which, once."""
    found = [name for name in IGNORED if os.environ.pop(name, None) is not None]
    if found:
        log.warning("%s in the environment change nothing; what should hold belongs in DATABASE_URL.", ", ".join(found))

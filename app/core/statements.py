"""SQL that is written once and run by either door."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.orm import Session


class Statement:
    """One statement with :named values; compiled for asyncpg when it is written."""

    def __init__(self, sql: str) -> None:
        self._clause = text(sql)
        compiled = self._clause.compile(dialect=asyncpg_dialect())  # type: ignore[no-untyped-call]
        self._sql = str(compiled)
        self._order: tuple[str, ...] = tuple(compiled.positiontup or ())

    async def first(self, connection: Any, **values: object) -> Mapping[str, Any] | None:
        """The first row through asyncpg."""
        row: Mapping[str, Any] | None = await connection.fetchrow(self._sql, *(values[name] for name in self._order))
        return row

    def first_now(self, db: Session, **values: object) -> Mapping[str, Any] | None:
        """The first row through the session."""
        row = db.execute(self._clause, values).mappings().first()
        return None if row is None else dict(row)

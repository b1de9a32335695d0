"""SQL that is written once and run by either door."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.orm import Session

Row = Mapping[str, Any]
Rows = Sequence[Row]
T = TypeVar("T")


class Statement:
    """One statement with :named values; compiled for asyncpg when it is written."""

    def __init__(self, sql: str) -> None:
        self._clause = text(sql)
        compiled = self._clause.compile(dialect=asyncpg_dialect())  # type: ignore[no-untyped-call]
        self._sql = str(compiled)
        self._order: tuple[str, ...] = tuple(compiled.positiontup or ())

    async def rows(self, connection: Any, **values: object) -> Rows:
        """All rows through asyncpg."""
        rows: Rows = await connection.fetch(self._sql, *(values[name] for name in self._order))
        return rows

    async def first(self, connection: Any, **values: object) -> Row | None:
        """The first row through asyncpg."""
        row: Row | None = await connection.fetchrow(self._sql, *(values[name] for name in self._order))
        return row

    def rows_now(self, db: Session, **values: object) -> Rows:
        """All rows through the session."""
        result = cast(CursorResult[Any], db.execute(self._clause, values))
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def first_now(self, db: Session, **values: object) -> Row | None:
        """The first row through the session."""
        return next(iter(self.rows_now(db, **values)), None)


Question = tuple[Statement, Mapping[str, object]]
Conversation = Generator[Question, Rows, T]  # asks for rows, statement by statement, and comes to a result


async def hold(conversation: Conversation[T], connection: Any) -> T:
    """Hold a conversation with the database through asyncpg; its result."""
    try:
        statement, values = next(conversation)
        while True:
            statement, values = conversation.send(await statement.rows(connection, **values))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def hold_now(conversation: Conversation[T], db: Session) -> T:
    """The same through the session."""
    try:
        statement, values = next(conversation)
        while True:
            statement, values = conversation.send(statement.rows_now(db, **values))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]

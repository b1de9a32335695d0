"""SQL that is written once and run by either driver: psycopg2 through the session, or asyncpg."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

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

    async def rows(self, connection: Any, values: Mapping[str, object]) -> Rows:
        """Return all rows, through asyncpg."""
        rows: Rows = await connection.fetch(self._sql, *self._placed(values))
        return rows

    def _placed(self, values: Mapping[str, object]) -> list[object]:
        return [values[name] for name in self._order]

    def rows_sync(self, db: Session, **values: object) -> Rows:
        """Return all rows, through the session."""
        result = cast(CursorResult[Any], db.execute(self._clause, values))
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def first_sync(self, db: Session, **values: object) -> Row | None:
        """Return the first row, through the session."""
        return next(iter(self.rows_sync(db, **values)), None)


class BatchedStatement(Statement):
    """A statement that gives one row for its values, and can be asked by several requests at once."""

    def __init__(self, sql: str, about: str | None = None, at_once: int = 1) -> None:
        super().__init__(sql)
        self._about = about
        self.at_once = at_once  # batches under way

    def about(self, values: Mapping[str, object]) -> object:
        """Return what two requests of a batch must not share, or None."""
        return self._about and values[self._about]

    async def each(self, connection: Any, many: Sequence[Mapping[str, object]]) -> Rows:
        """Return one row for each, in one round trip and one transaction."""
        rows: Rows = await connection.fetchmany(self._sql, [self._placed(values) for values in many])
        return rows


class BatchedColumns(BatchedStatement):
    """A batched statement that takes arrays itself and gives one row for each of their elements, in order."""

    async def each(self, connection: Any, many: Sequence[Mapping[str, object]]) -> Rows:
        columns = {name: [values[name] for values in many] for name in self._order}
        return await super().rows(connection, columns)

    async def rows(self, connection: Any, values: Mapping[str, object]) -> Rows:
        return await self.each(connection, [values])

    def rows_sync(self, db: Session, **values: object) -> Rows:
        return self.each_sync(db, [values])

    def each_sync(self, db: Session, many: Sequence[Mapping[str, object]]) -> Rows:
        """Return one row for each, through the session."""
        return super().rows_sync(db, **{name: [values[name] for values in many] for name in self._order})


Query = tuple[Statement, Mapping[str, object]]
QueryFlow = Generator[Query, Rows, T]  # asks for rows, statement by statement, and comes to a result


class Database(Protocol):
    """The asynchronous database that a query flow is run against."""

    async def rows(self, statement: Statement, values: Mapping[str, object]) -> Rows: ...


async def run_async(flow: QueryFlow[T], database: Database) -> T:
    """Run a query flow through asyncpg and return its result."""
    try:
        statement, values = next(flow)
        while True:
            statement, values = flow.send(await database.rows(statement, values))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def run_sync(flow: QueryFlow[T], db: Session) -> T:
    """Run a query flow through the session and return its result."""
    try:
        statement, values = next(flow)
        while True:
            statement, values = flow.send(statement.rows_sync(db, **values))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]

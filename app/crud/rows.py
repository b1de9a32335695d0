"""Plain SQL through the session, its rows as values."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.orm import Session

T = TypeVar("T")


def execute(db: Session | Connection, sql: str, /, **values: object) -> CursorResult[Any]:
    """Run a statement with its :named values."""
    return cast(CursorResult[Any], db.execute(text(sql), values))


def all_as(kind: Callable[..., T], db: Session, sql: str, /, **values: object) -> list[T]:
    """Every row as one of a kind, which takes the columns by their names."""
    return [kind(**row) for row in execute(db, sql, **values).mappings()]


def first_as(kind: Callable[..., T], db: Session, sql: str, /, **values: object) -> T | None:
    """The first row likewise; None where there is no row."""
    return next(iter(all_as(kind, db, sql, **values)), None)


def number(db: Session | Connection, sql: str, /, **values: object) -> int:
    """The first column of the first row."""
    return int(execute(db, sql, **values).scalar_one())


def take_turn(db: Session | Connection, what: str) -> None:
    """Wait for whoever else changes this; nobody else does until the transaction ends."""
    execute(db, "SELECT pg_advisory_xact_lock(hashtext(:what))", what=f"smartstudy.{what}")

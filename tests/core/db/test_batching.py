"""Requests that share a transaction don't feel it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg.exceptions import CheckViolationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import AsyncDatabase
from app.core.db.batching import MOST, Batcher
from app.core.db.statements import BatchedStatement, Row, Rows, run_async
from app.crud import practice_tasks
from app.domain.errors import OtherResult
from app.ml.embedding_service import complete

Values = Mapping[str, object]


class Told(BatchedStatement):
    """Notes what is sent together; an odd number spoils the batch, -1 the connection."""

    def __init__(self, about: str | None = None) -> None:
        super().__init__("SELECT :number", about)
        self.sent: list[list[object]] = []

    async def each(self, connection: Any, many: Sequence[Values]) -> Rows:
        numbers = [values["number"] for values in many]
        self.sent.append(numbers)
        await asyncio.sleep(0)
        if -1 in numbers:
            raise ConnectionError("gone")
        if any(isinstance(number, int) and number % 2 for number in numbers):
            raise CheckViolationError("odd")
        return [{"number": number} for number in numbers]


@asynccontextmanager
async def nothing() -> Any:
    yield None


def ask(statement: Told, numbers: Sequence[int]) -> list[Row | BaseException]:
    async def run() -> list[Row | BaseException]:
        together = Batcher(statement, nothing)
        return await asyncio.gather(*(together.row({"number": n}) for n in numbers), return_exceptions=True)

    return asyncio.run(run())


def test_each_gets_its_own_answer() -> None:
    statement, numbers = Told(), [2 * n for n in range(100)]
    assert ask(statement, numbers) == [{"number": number} for number in numbers]
    assert max(map(len, statement.sent)) == MOST
    assert len(statement.sent) < 10


def test_one_that_is_refused_spoils_no_other() -> None:
    answers = ask(Told(), [2, 4, 5, 6])
    assert answers[:2] + answers[3:] == [{"number": 2}, {"number": 4}, {"number": 6}]
    assert isinstance(answers[2], CheckViolationError)


def test_after_a_lost_connection_nothing_is_sent_twice() -> None:
    statement = Told()
    answers = ask(statement, [2, -1, 4])
    assert [type(answer) for answer in answers] == [ConnectionError] * 3
    assert statement.sent == [[2, -1, 4]]


def test_two_about_the_same_go_one_after_the_other() -> None:
    statement = Told(about="number")
    assert ask(statement, [2, 2, 4, 2]) == [{"number": number} for number in (2, 2, 4, 2)]
    assert statement.sent == [[2, 4], [2], [2]]


def test_who_asks_again_the_moment_an_answer_comes_is_answered() -> None:
    async def run() -> list[Row]:
        together = Batcher(Told(), nothing)
        async with asyncio.timeout(30):
            return [await together.row({"number": 2 * n}) for n in range(20)]

    assert asyncio.run(run()) == [{"number": 2 * n} for n in range(20)]


def test_a_request_that_was_given_up_holds_up_no_other() -> None:
    async def run() -> Row:
        together = Batcher(Told(), nothing)
        given_up = asyncio.create_task(together.row({"number": 2}))
        other = asyncio.create_task(together.row({"number": 4}))
        await asyncio.sleep(0)
        given_up.cancel()
        return await other

    assert asyncio.run(run()) == {"number": 4}


# On the real tables.


def with_database(environment: Path, work: Callable[[AsyncDatabase], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        database = AsyncDatabase()
        await database.pool()
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def open_task(db: Session) -> UUID:
    made = uuid4()
    db.execute(
        text("INSERT INTO practice_tasks (id, user_id, topic, difficulty) VALUES (:id, :id, 'T', 'easy')"), {"id": made}
    )
    db.commit()
    return made


def since_training(db: Session) -> int:
    found: int = db.scalar(text("SELECT n_samples_since_training FROM embedding_model_tracker"))
    return found


def test_of_two_results_at_once_the_first_counts_and_the_other_is_refused(db: Session, environment: Path) -> None:
    task, other = open_task(db), open_task(db)

    async def work(database: AsyncDatabase) -> list[Any]:
        results = [(task, True), (task, False), (other, True), (task, True)]
        talks = (run_async(complete(which, None, is_correct, 5.0), database) for which, is_correct in results)
        return await asyncio.gather(*talks, return_exceptions=True)

    first, second, third, again = with_database(environment, work)
    assert isinstance(second, OtherResult)
    assert (first[0].is_correct, third[1], again) == (True, 2, (first[0], 0))
    assert since_training(db) == 2


def test_a_task_that_somebody_holds_locked_holds_up_no_other(db: Session, environment: Path) -> None:
    held, free = open_task(db), [open_task(db) for _ in range(3)]

    async def work(database: AsyncDatabase) -> Any:
        async with database.acquire() as ops:
            changes = ops.transaction()
            await changes.start()
            await ops.execute("SELECT FROM practice_tasks WHERE id = $1 FOR UPDATE", held)
            waiting = [asyncio.create_task(run_async(complete(t, None, True, 5.0), database)) for t in (held, *free)]
            done = await asyncio.gather(*waiting[1:])
            assert not waiting[0].done()
            await changes.rollback()
        return [*done, await waiting[0]]

    assert [task.id for task, _ in with_database(environment, work)] == [*free, held]
    assert since_training(db) == 4


def test_a_result_that_the_database_refuses_spoils_no_other(db: Session, environment: Path) -> None:
    good, bad = open_task(db), open_task(db)

    async def work(database: AsyncDatabase) -> list[Any]:
        talks = (run_async(complete(t, None, True, seconds), database) for t, seconds in ((good, 5.0), (bad, -1.0)))
        return await asyncio.gather(*talks, return_exceptions=True)

    done, refused = with_database(environment, work)
    assert done[1] == 1
    assert isinstance(refused, CheckViolationError)
    assert since_training(db) == 1


def test_a_connection_goes_back_without_what_was_left_open_in_it(db: Session, environment: Path) -> None:
    task = open_task(db)
    result = {"id": task, "is_correct": True, "seconds": 5.0, "student": None, "key_hash": None, "token": None}

    async def work(database: AsyncDatabase) -> list[Any]:
        async with database.acquire() as connection:
            await connection.execute("BEGIN")
            await practice_tasks.COMPLETE.rows(connection, result)
        async with database.acquire() as connection:
            found = await connection.fetchrow(
                "SELECT completed, current_setting('lock_timeout') AS patience, pg_backend_pid() AS pid"
                " FROM practice_tasks WHERE id = $1", task
            )  # fmt: skip
        return list(found)

    completed, patience, _ = with_database(environment, work)
    assert (completed, patience) == (False, "0")
    assert since_training(db) == 0


@pytest.mark.parametrize("n", [1, 7])
def test_no_patience_is_left_behind_in_the_session(db: Session, environment: Path, n: int) -> None:
    tasks = [open_task(db) for _ in range(n)]

    async def work(database: AsyncDatabase) -> list[str]:
        await asyncio.gather(*(run_async(complete(task, None, True, 5.0), database) for task in tasks))
        async with database.acquire() as connection:
            found: str = await connection.fetchval("SHOW lock_timeout")
        return [found]

    assert with_database(environment, work) == ["0"]

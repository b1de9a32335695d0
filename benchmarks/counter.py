"""What the counter's one row allows: completions a second by connections, each its own transaction, committed to disk.

    python -m benchmarks.counter [--seconds 4]

Beside each the same without the counter, for what the rest of a completion allows, and what batches of `MOST` make of
it: what web processes really send (app/core/db/batching.py).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from app.core.database import engine_for
from app.core.db import addresses, embedded_postgres, migrations

CONNECTIONS = (1, 8, 32)
BATCH = 32
COMPLETE = "SELECT admitted FROM complete_tasks($1, $2, $3, $4, $5)"
# A completion but for its last step: the task and its student's totals.
WITHOUT_COUNTER = """
    UPDATE practice_tasks SET completed = true, is_correct = true, actual_time_seconds = 30, completed_at = now()
    WHERE id = ANY ($1::uuid[])"""
ASK = "INSERT INTO practice_tasks (id, user_id, topic, difficulty) SELECT unnest($1::uuid[]), $2, 'algebra', 'easy'"
Complete = Callable[[asyncpg.Connection, list[UUID]], Awaitable[None]]


async def counted(connection: asyncpg.Connection, ids: list[UUID]) -> None:
    """As a web process does: a batch that waits too long for the others is sent one by one."""
    n = len(ids)
    try:
        await connection.fetch(COMPLETE, ids, [True] * n, [30.0] * n, [None] * n, [None] * n)
    except asyncpg.LockNotAvailableError:
        for each in ids:
            await counted(connection, [each])


async def uncounted(connection: asyncpg.Connection, ids: list[UUID]) -> None:
    await connection.execute(WITHOUT_COUNTER, ids)


async def rate(url: str, clients: int, seconds: float, batch: int, complete: Complete) -> float:
    """Completions a second; each client has a student of its own, whose tasks are asked beforehand."""
    connections = [await asyncpg.connect(addresses.for_asyncpg(url)) for _ in range(clients)]
    tasks = list[list[UUID]]()
    for connection in connections:
        tasks.append(ids := [uuid4() for _ in range(round(seconds * 2_000) + batch)])
        await connection.execute(ASK, ids, uuid4())
    end, done = time.monotonic() + seconds, 0

    async def work(connection: asyncpg.Connection, ids: list[UUID]) -> None:
        nonlocal done
        while time.monotonic() < end and len(ids) >= batch:
            some, ids[:] = ids[:batch], ids[batch:]
            await complete(connection, some)
            done += batch

    begun = time.monotonic()
    await asyncio.gather(*(work(each, ids) for each, ids in zip(connections, tasks, strict=True)))
    taken = time.monotonic() - begun
    for connection in connections:
        await connection.close()
    return done / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        url = embedded_postgres.start(Path(folder))
        engine = engine_for(url)
        migrations.migrate(engine)
        engine.dispose()
        print(f"{'connections':>12} {'counted':>9} {'without':>9} {f'in {BATCH}s':>9}  completions/s")
        for n in CONNECTIONS:
            found = [
                asyncio.run(rate(url, n, seconds, batch, complete))
                for batch, complete in ((1, counted), (1, uncounted), (BATCH, counted))
            ]
            print(f"{n:>12} {found[0]:>9,.0f} {found[1]:>9,.0f} {found[2]:>9,.0f}", flush=True)
        embedded_postgres.stop(Path(folder))


if __name__ == "__main__":
    main()

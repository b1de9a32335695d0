"""What the hot routes are measured against: bare FastAPI routes, without and with one raw statement through asyncpg.

    uvicorn benchmarks.reference.bare_web:app      (DATABASE_URL, a database with the service's tables)

The rows go to a copy of practice_tasks with all its rows, columns, defaults, checks and indexes, but no triggers.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from fastapi import FastAPI, Request

COPY = """DROP TABLE IF EXISTS bare_tasks; CREATE TABLE bare_tasks (LIKE practice_tasks INCLUDING ALL);
    INSERT INTO bare_tasks SELECT * FROM practice_tasks; ANALYZE bare_tasks"""
INSERT = """INSERT INTO bare_tasks (id, user_id, topic, difficulty, created_at, correctness_prob,
    estimated_time_seconds, lnirt_model_version, correctness_prob_low, correctness_prob_high, time_low_seconds,
    time_high_seconds, features) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"""
UPDATE = """UPDATE bare_tasks SET completed = true, is_correct = $2, actual_time_seconds = $3,
    completed_at = greatest(now(), created_at + interval '1 microsecond') WHERE id = $1"""
NUMBERS = (0.7, 42.0, "embedding_v2", 0.6, 0.8, 20.0, 80.0, [0.5] * 24)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=10) as pool:
        await pool.execute(COPY)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def ready() -> None:
    """The copy is made."""


@app.post("/bare", status_code=201)
async def nothing(new: dict[str, Any]) -> dict[str, str]:
    return {"id": new["user_id"]}


@app.patch("/bare/{task_id}")
async def nothing_changed(task_id: UUID, result: dict[str, Any]) -> dict[str, str]:
    return {"id": str(task_id)}


@app.post("/raw", status_code=201)
async def insert(new: dict[str, Any], request: Request) -> dict[str, str]:
    task = uuid4()
    values = (task, UUID(new["user_id"]), new["topic"], new["difficulty"], datetime.now(UTC))
    await request.app.state.pool.execute(INSERT, *values, *NUMBERS)
    return {"id": str(task)}


@app.patch("/raw/{task_id}")
async def update(task_id: UUID, result: dict[str, Any], request: Request) -> dict[str, str]:
    await request.app.state.pool.execute(UPDATE, task_id, result["is_correct"], result["actual_time_seconds"])
    return {"id": str(task_id)}

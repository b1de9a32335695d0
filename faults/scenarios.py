"""What is going on when the fault comes: a run, completions, an import, a promotion. And how it is tried again."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import text

from app.core.database import new_session
from app.domain.actors import Actor
from faults import fixtures
from faults.failpoints import FILE_ERRORS, KILL, LOST, MODES
from faults.fixtures import World, rows

Tell = Callable[[Any], None]
PATH = "/practice-tasks"
QUICK, V2, ALL = "lnirt", "lnirt,embedding_v2", "lnirt,embedding_v2,embedding_lstm"


class Broken(AssertionError):
    """What was promised doesn't hold; the message says what."""


@dataclass(frozen=True)
class Scenario:
    """`attempt` meets the fault; `again` comes after it and must succeed. What was told is what the caller knows."""

    name: str
    attempt: Callable[[World, int, Tell], None]
    again: Callable[[World, int, Sequence[Any]], None]
    starts: tuple[str, ...] = ("trained",)  # by seed
    kinds: str = QUICK
    modes: tuple[str, ...] = MODES
    step: int = 1  # every which point is tried

    def start(self, seed: int) -> str:
        return self.starts[seed % len(self.starts)]


# A training run.


def train(world: World, seed: int, tell: Tell) -> None:
    """Asked, or because it was due; from scratch, or going on."""
    if seed % 2:
        fixtures.go_on()
    tell(fixtures.train(_wanted(world), forced=seed % 4 > 1))


def train_again(world: World, seed: int, told: Sequence[Any]) -> None:
    """Five more tasks make a run due, and it ends with new versions."""
    from app.crud import imports

    with new_session().begin() as db:
        imports.add(db, rows(seed, 100, 105))
    result = fixtures.train(_wanted(world), forced=False)
    if result["outcome"] not in ("published", "rejected"):
        raise Broken(f"The next run ended {result['outcome']}: {result['message']}")


def _wanted(world: World) -> list[str] | None:
    """None for all of them: only such runs can be gone on from."""
    return None if world.kinds == tuple(ALL.split(",")) else list(world.kinds)


# Completions.


def complete(world: World, seed: int, tell: Tell) -> None:
    """Three students ask for a task each and finish it, the last two at once."""
    asyncio.run(_completions(world, seed, tell))


async def _completions(world: World, seed: int, tell: Tell) -> None:
    async with _Service(world) as client:

        async def one(number: int) -> None:
            made = await client.post(PATH, json=_question(seed, number))
            tell(["post", made.status_code, dict(made.headers), made.text])
            if made.status_code == 201:
                task = made.json()["id"]
                tell(["sent", task, number])
                done = await client.patch(f"{PATH}/{task}", json=_result(seed, number))
                tell(["patch", done.status_code, dict(done.headers), done.text, task])

        await one(0)
        await asyncio.gather(one(1), one(2))


def complete_again(world: World, seed: int, told: Sequence[Any]) -> None:
    """Whatever was not acknowledged is sent again, and what was, too: each counts once, with its result."""
    for kind, status, headers, said, *_ in (each for each in told if each[0] != "sent"):
        if status >= 400 and not (status == 503 and "retry-after" in headers):
            raise Broken(f"{kind} was answered {status}: {said}")
    sent = {task: number for kind, task, number in (each for each in told if each[0] == "sent")}
    acknowledged = {each[4] for each in told if each[0] == "patch" and each[1] == 200}
    _are_stored(acknowledged)
    asyncio.run(_send_again(world, seed, sent))
    _are_stored(set(sent))


def _are_stored(tasks: set[str]) -> None:
    with new_session()() as db:
        n = db.scalar(
            text("SELECT count(*) FROM practice_tasks WHERE completed AND id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": list(tasks)},
        )
    if n != len(tasks):
        raise Broken(f"{len(tasks) - n} acknowledged completions are lost.")


async def _send_again(world: World, seed: int, sent: dict[str, int]) -> None:
    async with _Service(world) as client:
        for task, number in sent.items():
            result = _result(seed, number)
            for _ in range(2):
                answer = await client.patch(f"{PATH}/{task}", json=result)
                if answer.status_code != 200 or answer.json()["is_correct"] != result["is_correct"]:
                    raise Broken(f"Sent again, a completion is answered {answer.status_code}: {answer.text}")
        made = await client.post(PATH, json=_question(seed, 3))
        if made.status_code != 201:
            raise Broken(f"The next task is answered {made.status_code}: {made.text}")


class _Service(AbstractAsyncContextManager[httpx.AsyncClient]):
    """The real application on the real database, in this process."""

    def __init__(self, world: World) -> None:
        from app.main import create_app

        self._app = create_app()
        self._life = self._app.router.lifespan_context(self._app)
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {world.key}"}
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def __aenter__(self) -> httpx.AsyncClient:
        await self._life.__aenter__()
        return self._client

    async def __aexit__(self, *error: Any) -> None:
        await self._client.aclose()
        await self._life.__aexit__(*error)


def _question(seed: int, number: int) -> dict[str, str]:
    row = rows(seed, 70 + number, 71 + number)[0]
    return {"user_id": str(fixtures.SOMEBODY), "topic": row.topic, "difficulty": row.difficulty}


def _result(seed: int, number: int) -> dict[str, Any]:
    row = rows(seed, 70 + number, 71 + number)[0]
    return {"is_correct": row.correct, "actual_time_seconds": row.seconds}


# An import.


def bring_in(world: World, seed: int, tell: Tell) -> None:
    """Of an odd seed half of the rows are there already."""
    from app.crud import imports

    with new_session().begin() as db:
        added = imports.add(db, rows(seed, *_span(seed)))
    tell(added)


def bring_in_again(world: World, seed: int, told: Sequence[Any]) -> None:
    from app.crud import imports

    asked = rows(seed, *_span(seed))
    with new_session().begin() as db:
        added = imports.add(db, asked)
    new = sum(row >= 70 for row in range(*_span(seed)))
    if added not in (0, new) or (told and added):
        raise Broken(f"The second import added {added} of {new} new rows, the first said {told}.")
    with new_session()() as db:
        n = db.scalar(
            text("SELECT count(*) FROM practice_tasks WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": [row.id.hex() for row in asked]},
        )
    if n != len(asked):
        raise Broken(f"{n} of {len(asked)} imported rows are there.")


def _span(seed: int) -> tuple[int, int]:
    return (50, 130) if seed % 2 else (70, 130)


# A promotion and a rollback.


def promote(world: World, seed: int, tell: Tell) -> None:
    """The oldest version that is kept answers from now on; then it doesn't any more."""
    _promote(tell)
    _roll_back(tell)


def promote_again(world: World, seed: int, told: Sequence[Any]) -> None:
    """Both are done again, each has its effect, and the process answers with it."""
    said: list[Any] = []
    _promote(said.append)
    if _answering() != said[0]:
        raise Broken(f"Version {said[0]} was promoted, but version {_answering()} answers.")
    _roll_back(said.append)
    if _answering() == said[0]:
        raise Broken("Rolled back, the promoted version answers still.")


def _promote(tell: Tell) -> None:
    from app.crud import model_versions, serving_changes
    from app.ml.serving.model_order import serving_models

    with new_session().begin() as db:
        serving = next(iter(model_versions.serving(db).values())).id
        kept = [each for each in model_versions.latest(db, 100) if each.pruned_at is None and each.id != serving]
        which = kept[-1].id
        serving_changes.promote(db, which, Actor("the suite"))
    serving_models().refresh()
    tell(which)


def _roll_back(tell: Tell) -> None:
    from app.crud import serving_changes
    from app.ml.serving.model_order import serving_models

    with new_session().begin() as db:
        tell(serving_changes.roll_back(db, Actor("the suite")))
    serving_models().refresh()


def _answering() -> int:
    from app.ml.serving.model_order import serving_models

    serving_models().refresh()
    first = serving_models().model_order.first
    return first.version.id if first else 0


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("run", train, train_again, ("trained", "fresh")),
        Scenario("run of V2", train, train_again, ("fresh", "trained"), V2, step=6),  # seconds each: not every point
        Scenario("run of all", train, train_again, ("trained",), ALL, (KILL, LOST, *FILE_ERRORS), step=20),
        Scenario("completion", complete, complete_again),
        Scenario("import", bring_in, bring_in_again, modes=(KILL, LOST)),
        Scenario("promotion", promote, promote_again),
    )
}

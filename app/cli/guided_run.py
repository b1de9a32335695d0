"""The first minute with SmartStudy: students do tasks through the HTTP API while you watch."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from rich.console import Console
from rich.progress import Progress

from app.core.database import new_session
from app.core.settings import settings
from app.crud import attempts, demonstration, service_keys
from app.domain.actors import COMMAND_LINE
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.interactions import Interactions, attempts_of, opened, student_uuid

NAMES = ("Ada", "Ben", "Chloe", "Dan")
TASKS = 160  # in all
SHOWN = 15  # of them, one by one: two trainings
READY_SECONDS = 30
TRAINING_SECONDS = 90  # for TensorFlow's first import on a slow machine
POLL_SECONDS = 0.1
REMOVE = (
    "The made-up students lead no suggestion of real ones; when you begin in earnest they go with "
    "`.venv/bin/smartstudy sample --remove`, or on /admin."
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one student does next."""

    name: str
    student: str
    topic: str
    difficulty: str
    correct: bool
    seconds: float


Truth = Callable[[Step], str]  # what is really to be expected of a task, in words; empty where nobody knows


class Interrupted(RuntimeError):
    """The guided run could not go on; the service does."""


def in_background(address: str, console: Console) -> None:
    """Start it beside the service; it ends by itself."""
    threading.Thread(target=_run, args=(address, console), daemon=True, name="guided-run").start()


def _run(address: str, console: Console) -> None:
    with httpx.Client(base_url=address, timeout=30) as client:
        try:
            GuidedRun(client, address, console).run()
        except (httpx.HTTPError, Interrupted, OSError, ValueError) as why:
            with suppress(httpx.TransportError):  # it was ended meanwhile: there is nothing to tell
                client.get("/healthz")
                console.print(f"\nThe guided run stopped: {why}\nThe service itself runs on {address}.")


class GuidedRun:
    """Tells on a console what happens at a service whose database is empty."""

    def __init__(self, client: httpx.Client, address: str, console: Console) -> None:
        self._client, self._address, self._console = client, address, console

    def run(self) -> None:
        self._wait_until_ready()
        with new_session().begin() as db:
            if attempts.count(db):
                self._console.print(
                    f"\nSmartStudy on {self._address}, its API at {self._address}/docs. The database has tasks already,"
                    f" so no guided run.\n{_what_is_seen(demonstration.found(db))}\n"
                    "A key for your own calls: .venv/bin/smartstudy key create NAME. Ctrl-C ends it."
                )
                return
            key = service_keys.create(db, demonstration.GUIDED_RUN, COMMAND_LINE)
        self._client.headers["Authorization"] = f"Bearer {key}"
        data, truth = self._students()
        steps = list(_steps(data))
        with new_session().begin() as db:
            demonstration.mark(db, {UUID(step.student) for step in steps})
        self._one_by_one(steps[:SHOWN])
        self._in_a_hurry(steps[SHOWN:])
        self._compare(steps, truth)
        self._farewell(steps[0], key)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                if self._client.get("/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not listening yet: that is what we wait for
            time.sleep(POLL_SECONDS)
        raise Interrupted(f"the service did not get ready within {READY_SECONDS} s")

    def _students(self) -> tuple[Attempts, Truth]:
        """Those of the file named by SAMPLE, of whom nobody knows their true chances, or simulated ones."""
        if not os.environ.get("SAMPLE"):
            self._console.print(
                "\nFour [bold]simulated[/bold] students (made up, with a known truth) do tasks over the HTTP API."
            )
            return _simulated()
        file = Path(os.environ["SAMPLE"])
        self._console.print(f"\nStudents of {file.name} do their first tasks again, through the HTTP API.")
        with opened(file) as (text, _):
            data = attempts_of(Interactions(text))
        first = list(dict.fromkeys(data.student.tolist()))[: len(NAMES)]
        return _renamed(data.take(np.flatnonzero(np.isin(data.student, first))[:TASKS])), lambda step: ""

    def _one_by_one(self, steps: list[Step]) -> None:
        first, every = settings().min_training_tasks, settings().retrain_every
        self._console.print(
            f"Each result moves the next prediction. Models train after {first} tasks, then after every {every}.\n",
            highlight=False,
        )
        self._console.print("[dim]predicted before the task      what then happened[/dim]")
        for step in steps:
            done = self._do(step)
            counter = self._status()["counter"]
            result = "[green]right[/green]" if step.correct else "[red]wrong[/red]"
            self._console.print(
                f"{_predicted(done)} by {_model(done):<18}{step.name:<6}{result} in {step.seconds:3.0f} s  "
                f"[dim]{step.topic}, {step.difficulty}; {counter['text'].partition(';')[0]}[/dim]",
                highlight=False,
            )
            self._watch_training()

    def _watch_training(self) -> None:
        """If the counter is full, wait until the training that it set off has ended, and say how."""
        started = time.monotonic()
        with self._console.status("The model trains in the background") as spinner:
            message = self._trained(lambda now: spinner.update(f"The model trains in the background. {now}"))
        if message:
            self._console.print(f"[bold]{message}[/bold]  [dim]{time.monotonic() - started:.1f} s[/dim]")

    def _in_a_hurry(self, steps: list[Step]) -> None:
        """The rest: every five tasks a training, as before; who answers then."""
        trainings = 0
        with Progress(console=self._console, transient=True) as progress:
            for step in progress.track(steps, description="They go on; every five tasks the model trains anew"):
                self._do(step)
                trainings += self._trained(lambda _: None) is not None
        model = _model(self._status()["serving"])
        self._console.print(
            f"They did {len(steps)} more, with {trainings} trainings; {model} answers now.", highlight=False
        )

    def _trained(self, progress: Callable[[str], None]) -> str | None:
        """Wait for the training that is due, if one is; how it ended."""
        before = self._status()
        counter = before["counter"]
        if counter["since_training"] < counter["retrain_every"] or "first training" in counter["text"]:
            return None
        deadline = time.monotonic() + TRAINING_SECONDS
        while time.monotonic() < deadline:
            now = self._status()
            if now["last_run"] and now["last_run"] != before["last_run"] and not now["training"]:
                return str(now["last_run"]["message"])
            step = (now["training"] or {}).get("progress", {})
            progress(f"Epoch {step['epoch']}" if "epoch" in step else str(step.get("step", "")))
            time.sleep(POLL_SECONDS)
        raise Interrupted("the training takes unusually long; `smartstudy status --watch` shows how it goes")

    def _compare(self, steps: list[Step], truth: Truth) -> None:
        """The same task for each student: the predictions follow what each has shown."""
        topic, difficulty = steps[0].topic, steps[0].difficulty
        students = {step.name: step for step in reversed(steps)}
        self._console.print(f"\nThe same task ({topic}, {difficulty}) for each of them now:")
        for name, step in sorted(students.items()):
            same = replace(step, topic=topic, difficulty=difficulty)
            task = self._ask(same)
            self._console.print(f"  {name:<6}{_predicted(task)} by {_model(task)}{truth(same)}", highlight=False)

    def _farewell(self, step: Step, key: str) -> None:
        task, address = self._ask(step), self._address
        headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
        self._console.print(
            f"\n[bold]SmartStudy stays up on {address}[/bold], its API at {address}/docs. Ctrl-C ends it."
            f"\n[bold]What you see is a demonstration.[/bold] {REMOVE}"
            "\nA service key for your calls is in these lines; they work when pasted:\n"
        )
        question = f'{{"user_id":"{step.student}","topic":"{step.topic}","difficulty":"hard"}}'
        print(f"curl -X POST {address}/practice-tasks {headers} -d '{question}'\n")
        result = '{"is_correct":true,"actual_time_seconds":42.5}'
        print(f"curl -X PATCH {address}/practice-tasks/{task['id']} {headers} -d '{result}'\n", flush=True)

    def _do(self, step: Step) -> dict[str, Any]:
        """Ask for the task, do it, say how it went."""
        result = {"is_correct": step.correct, "actual_time_seconds": step.seconds}
        return _answered(self._client.patch(f"/practice-tasks/{self._ask(step)['id']}", json=result))

    def _ask(self, step: Step) -> dict[str, Any]:
        question = {"user_id": step.student, "topic": step.topic, "difficulty": step.difficulty}
        return _answered(self._client.post("/practice-tasks", json=question))

    def _status(self) -> dict[str, Any]:
        return _answered(self._client.get("/model/status"))


def _simulated() -> tuple[Attempts, Truth]:
    """Made-up students, from able and quick to weak and slow, whose true chances are known."""
    from app.ml.evaluation.simulated import TOPICS, school, simulate

    school_of_four = replace(
        school(len(NAMES), TOPICS[:3], learning=0.1, seed=3),
        ability=np.array([1.2, 0.4, -0.3, -1.1]),
        speed=np.array([0.4, 0.1, 0.0, -0.4]),
    )
    data = _renamed(simulate(school_of_four, TASKS // len(NAMES), seed=5).attempts)

    def truth(step: Step) -> str:
        places = (
            data.students.index(step.student),
            data.topics.index(step.topic),
            DIFFICULTIES.index(step.difficulty),
            TASKS // len(NAMES) // len(data.topics),  # tasks of the topic that the student has done
        )
        at = [np.array([place]) for place in places]
        chance, seconds = school_of_four.probability(*at)[0], school_of_four.median_seconds(*at)[0]
        return f"   [dim]the truth: {chance:4.0%}, {seconds:3.0f} s[/dim]"

    return data, truth


def _renamed(data: Attempts) -> Attempts:
    """Return the same tasks as those of students who are nobody else's."""
    own = (str(UUID(bytes=student_uuid(f"guided run {student}"))) for student in data.students)
    return replace(data, students=tuple(own))


def _what_is_seen(found: demonstration.Demonstration | None) -> str:
    """Say whether one looks at a demonstration."""
    if found is None:
        return "Nothing in it is a demonstration: none of its students is made up."
    return f"What you see is a demonstration: {found.students:,} of its students are made up. {REMOVE}"


def _steps(data: Attempts) -> Iterator[Step]:
    """Everybody does a first task, then everybody a second."""
    rows: dict[int, list[int]] = {}
    for row, student in enumerate(data.student.tolist()):
        rows.setdefault(student, []).append(row)
    for turn in zip_longest(*rows.values()):
        for (student, name), row in zip(zip(rows, NAMES, strict=False), turn, strict=True):
            if row is not None:
                yield Step(
                    name,
                    data.students[student],
                    data.topics[data.topic[row]],
                    DIFFICULTIES[data.difficulty[row]],
                    bool(data.correct[row]),
                    round(float(data.seconds[row]), 1),
                )


def _predicted(task: dict[str, Any]) -> str:
    return f"{task['correctness_prob']:4.0%}, {task['estimated_time_seconds']:3.0f} s"


def _model(answer: dict[str, Any]) -> str:
    version = answer["model_version_id"]
    return f"{answer['model_version']}" + (f" version {version}" if version else "")


def _answered(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise Interrupted(response.json()["detail"])
    body: dict[str, Any] = response.json()
    return body

"""The first minute with SmartStudy: students do tasks through the HTTP API while you watch."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import Progress

from app.core.database import new_session
from app.core.settings import settings
from app.crud import attempts, service_keys
from app.domain.actors import COMMAND_LINE
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.interactions import Interactions, attempts_of, opened

KEY_NAME = "guided run"
NAMES = ("Ada", "Ben", "Chloe", "Dan")
TASKS = 160  # in all
SHOWN = 15  # of them, one by one: two trainings
PATIENCE_SECONDS = 90  # for TensorFlow's first import on a slow machine


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
            _until_ready(client)
            with new_session().begin() as db:
                begun = attempts.count(db) > 0
            if begun:
                console.print(
                    f"\nSmartStudy on {address}, its API at {address}/docs. The database has tasks already, so no"
                    " guided run.\nA key for your own calls: .venv/bin/smartstudy key create NAME. Ctrl-C ends it."
                )
                return
            _show(client, address, console)
        except (httpx.HTTPError, Interrupted, OSError, ValueError) as why:
            console.print(f"\nThe guided run stopped: {why}\nThe service itself runs on {address}.")


def _show(client: httpx.Client, address: str, console: Console) -> None:
    with new_session().begin() as db:
        key = service_keys.create(db, KEY_NAME, COMMAND_LINE)
    client.headers["Authorization"] = f"Bearer {key}"
    steps, truth = _real(console) if os.environ.get("SAMPLE") else _simulated(console)
    first, every = settings().min_training_tasks, settings().retrain_every
    console.print(
        f"Each result moves the next prediction. Models train after {first} tasks, then after every {every}.\n",
        highlight=False,
    )
    console.print("[dim]predicted before the task      what then happened[/dim]")
    for step in steps[:SHOWN]:
        done = _do(client, step)
        console.print(_line(step, done, client.get("/model/status").json()["counter"]), highlight=False)
        _watch_training(client, console)
    _go_on(client, steps[SHOWN:], console)
    _compare(client, steps, truth, console)
    _farewell(client, steps[0], address, key, console)


def _real(console: Console) -> tuple[list[Step], Truth]:
    """Students of the file named by SAMPLE; nobody knows their true chances."""
    file = Path(os.environ["SAMPLE"])
    console.print(f"\nStudents of {file.name} do their first tasks again, through the HTTP API.")
    return list(_taken_from(_sample(file))), lambda step: ""


def _simulated(console: Console) -> tuple[list[Step], Truth]:
    """Made-up students, from able and quick to weak and slow, whose true chances are known."""
    from app.ml.evaluation.simulated import TOPICS, school, simulate

    console.print("\nFour [bold]simulated[/bold] students (made up, with a known truth) do tasks over the HTTP API.")
    school_of_four = replace(
        school(len(NAMES), TOPICS[:3], learning=0.1, seed=3),
        ability=np.array([1.2, 0.4, -0.3, -1.1]),
        speed=np.array([0.4, 0.1, 0.0, -0.4]),
    )
    data = simulate(school_of_four, TASKS // len(NAMES), seed=5).attempts

    def truth(step: Step) -> str:
        at = (
            np.array([data.students.index(step.student)]),
            np.array([data.topics.index(step.topic)]),
            np.array([DIFFICULTIES.index(step.difficulty)]),
            np.array([TASKS // len(NAMES) // len(data.topics)]),
        )
        chance, seconds = school_of_four.probability(*at)[0], school_of_four.median_seconds(*at)[0]
        return f"   [dim]the truth: {chance:4.0%}, {seconds:3.0f} s[/dim]"

    return list(_taken_from(data)), truth


def _sample(file: Path) -> Attempts:
    with opened(file) as (text, _):
        data = attempts_of(Interactions(text))
    first = list(dict.fromkeys(data.student.tolist()))[: len(NAMES)]
    return data.take(np.flatnonzero(np.isin(data.student, first))[:TASKS])


def _taken_from(data: Attempts) -> Iterator[Step]:
    names: dict[int, str] = {}
    for row in _in_turns(data.student.tolist()):
        student = int(data.student[row])
        if student not in names:
            names[student] = NAMES[len(names)]
        yield Step(
            names[student],
            data.students[student],
            data.topics[data.topic[row]],
            DIFFICULTIES[data.difficulty[row]],
            bool(data.correct[row]),
            round(float(data.seconds[row]), 1),
        )


def _in_turns(students: list[int]) -> list[int]:
    """Rows in such an order that everybody does a first task, then everybody a second."""
    done: dict[int, int] = {}
    turns = []
    for row, student in enumerate(students):
        done[student] = done.get(student, 0) + 1
        turns.append((done[student], row))
    return [row for _, row in sorted(turns)]


def _do(client: httpx.Client, step: Step) -> dict[str, Any]:
    """Ask for the task, do it, say how it went."""
    task = _answered(client.post("/practice-tasks", json=_question(step)))
    result = {"is_correct": step.correct, "actual_time_seconds": step.seconds}
    return _answered(client.patch(f"/practice-tasks/{task['id']}", json=result))


def _question(step: Step) -> dict[str, str]:
    return {"user_id": step.student, "topic": step.topic, "difficulty": step.difficulty}


def _line(step: Step, task: dict[str, Any], counter: dict[str, Any]) -> str:
    result = "[green]right[/green]" if step.correct else "[red]wrong[/red]"
    return (
        f"{task['correctness_prob']:4.0%}, {task['estimated_time_seconds']:3.0f} s by {_by(task):<18}"
        f"{step.name:<6}{result} in {step.seconds:3.0f} s  "
        f"[dim]{step.topic}, {step.difficulty}; {_counter(counter)}[/dim]"
    )


def _counter(counter: dict[str, Any]) -> str:
    """How far it is to the next training."""
    wanted = counter["retrain_every"] if counter["trained_on"] else settings().min_training_tasks
    return f"{counter['since_training']} of {wanted}"


def _by(task: dict[str, Any]) -> str:
    version = task["model_version_id"]
    return f"{task['model_version']}" + (f" version {version}" if version else "")


def _watch_training(client: httpx.Client, console: Console) -> None:
    """If the counter is full, wait until the training that it set off has ended, and say how."""
    started = time.monotonic()
    with console.status("The model trains in the background") as spinner:
        message = _trained(client, lambda progress: spinner.update(f"The model trains in the background. {progress}"))
    if message:
        console.print(f"[bold]{message}[/bold]  [dim]{time.monotonic() - started:.1f} s[/dim]")


def _trained(client: httpx.Client, say: Callable[[str], None]) -> str | None:
    """Wait for the training that is due, if one is; how it ended."""
    before = client.get("/model/status").json()
    counter = before["counter"]
    if counter["since_training"] < counter["retrain_every"] or "first training" in counter["text"]:
        return None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        now = client.get("/model/status").json()
        if now["last_run"] and now["last_run"] != before["last_run"] and not now["training"]:
            return str(now["last_run"]["message"])
        say(_epoch((now["training"] or {}).get("progress", {})))
        time.sleep(0.1)
    raise Interrupted("the training takes unusually long; `smartstudy status --watch` shows how it goes")


def _go_on(client: httpx.Client, steps: list[Step], console: Console) -> None:
    """The rest in a hurry: every five tasks a training, as before; who answers then."""
    trainings = 0
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as progress:
        for step in progress.track(steps, description="They go on; every five tasks the model trains anew"):
            _do(client, step)
            trainings += _trained(client, lambda _: None) is not None
    who = _by(client.get("/model/status").json()["serving"])
    console.print(f"They did {len(steps)} more, with {trainings} trainings; {who} answers now.", highlight=False)


def _epoch(progress: dict[str, Any]) -> str:
    return f"Epoch {progress['epoch']}" if "epoch" in progress else str(progress.get("step", ""))


def _compare(client: httpx.Client, steps: list[Step], truth: Truth, console: Console) -> None:
    """The same task for each student: the predictions follow what each has shown."""
    students = {step.name: step for step in reversed(steps)}
    console.print(f"\nThe same task ({steps[0].topic}, {steps[0].difficulty}) for each of them now:")
    for name, step in sorted(students.items()):
        same = Step(name, step.student, steps[0].topic, steps[0].difficulty, True, 1)
        task = _answered(client.post("/practice-tasks", json=_question(same)))
        console.print(
            f"  {name:<6}{task['correctness_prob']:4.0%}, {task['estimated_time_seconds']:3.0f} s by {_by(task)}"
            f"{truth(same)}",
            highlight=False,
        )


def _farewell(client: httpx.Client, step: Step, address: str, key: str, console: Console) -> None:
    task = _answered(client.post("/practice-tasks", json=_question(step)))
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    console.print(
        f"\n[bold]SmartStudy stays up on {address}[/bold], its API at {address}/docs. Ctrl-C ends it."
        "\nA service key for your calls is in these lines; they work when pasted:\n"
    )
    question = f'{{"user_id":"{step.student}","topic":"{step.topic}","difficulty":"hard"}}'
    print(f"curl -X POST {address}/practice-tasks {headers} -d '{question}'\n")
    result = '{"is_correct":true,"actual_time_seconds":42.5}'
    print(f"curl -X PATCH {address}/practice-tasks/{task['id']} {headers} -d '{result}'\n", flush=True)


def _until_ready(client: httpx.Client) -> None:
    for _ in range(300):
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # not listening yet: that is what we wait for
        time.sleep(0.1)
    raise Interrupted("the service did not get ready within 30 s")


def _answered(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise Interrupted(response.json()["detail"])
    body: dict[str, Any] = response.json()
    return body

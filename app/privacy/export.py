"""A person's data as one JSON document, or their tasks as CSV: written as it is read, however much it is."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import numpy as np
from pydantic_core import to_json
from sqlalchemy.orm import Session

from app.crud import allowed_schools, model_versions, person
from app.crud.model_versions import Version
from app.crud.person import Row
from app.domain.errors import StoreAway
from app.domain.tasks import Task
from app.ml.features.inputs import NETWORK_INPUTS
from app.ml.serving.model_order import ServingModels
from app.ml.serving.version_store import VersionStore

Ask = Callable[[Callable[[Session], list[Row]]], list[Row]]  # gives a session, for one page
PAGE = 500  # tasks or totals in memory
METADATA_FILE = "metadata.json"
# What a spreadsheet would take for a formula gets an apostrophe in front; so does what begins with one, so that taking
# one apostrophe away always gives the text back.
FORMULA = tuple("=+-@\t\r\n'＝＋－＠")  # the wide ones too
BROKEN_OFF = "THIS FILE IS NOT COMPLETE: the export broke off; ask for it again."
OF_TASK = (*Task.__slots__, "correctness_confidence")
COLUMNS = (*OF_TASK, *NETWORK_INPUTS, "shadow_predictions")
NUMBERS = {"lnirt": "<f8", "embedding_lstm": "<f4"}  # of a student's kept state


@runtime_checkable
class KnowsStudents(Protocol):
    """A model that says in words of the field what a student's kept state means."""

    def ability_estimate(self, state: bytes) -> Mapping[str, Any]:
        """`ability` and `speed`, each with `mean` and `sd`; nothing where the state isn't this model's."""
        ...


def head(db: Session, serving: ServingModels, student: UUID) -> dict[str, Any]:
    """All but what there may be any number of."""
    return {
        "account": person.account(db, student),
        "exported_at": datetime.now(UTC),
        "exams": person.exams(db, student),
        "schools": [asdict(each) for each in allowed_schools.listed(db, student)],
        "states": [_state(serving, row) for row in person.states(db, student)],
        "embedded_in": _embedded_in(db, serving.store, student),
    }


def as_json(before: Mapping[str, Any], lists: Mapping[str, Iterator[list[Row]]]) -> Iterator[bytes]:
    """One document, the lists at its end. Where something goes wrong on the way it is not closed, so nobody takes it
    for whole."""
    yield to_json(before, inf_nan_mode="null")[:-1]
    for name, pages in lists.items():
        yield b',"%s":[' % name.encode()
        for place, page in enumerate(pages):
            yield (b"," if place else b"") + to_json(page, inf_nan_mode="null")[1:-1]
        yield b"]"
    yield b"}"


def as_csv(pages: Iterator[list[Row]]) -> Iterator[bytes]:
    """One row a task, the features in columns of their own, shadow predictions as JSON in one.

    Where something goes wrong, the last line says so.
    """
    yield _lines([COLUMNS])
    try:
        for page in pages:
            yield _lines([_cells(task) for task in page])
    except Exception:
        yield _lines([[BROKEN_OFF]])
        raise


def totals(ask: Ask, student: UUID) -> Iterator[list[Row]]:
    """Sums over what they have finished, page by page."""
    after = "", ""
    while True:
        page = ask(partial(person.totals, student=student, after=after, limit=PAGE))
        if page:
            after = page[-1]["scope"], page[-1]["key"]
            yield page
        if len(page) < PAGE:
            return


def corrections(ask: Ask, student: UUID) -> Iterator[list[Row]]:
    """What their results were before they were corrected, page by page."""
    after = 0
    while True:
        page = ask(partial(person.corrections, student=student, after=after, limit=PAGE))
        if page:
            after = page[-1]["id"]
            yield [{name: value for name, value in row.items() if name != "id"} for row in page]
        if len(page) < PAGE:
            return


def pages(ask: Ask, student: UUID) -> Iterator[list[Row]]:
    """The tasks, oldest first. No connection is held while a page is on its way, however slowly it is fetched.

    Raises NotSignedIn where the student is erased meanwhile: what would follow is missing.
    """
    after = person.BEFORE_ALL
    while True:
        page = ask(partial(_tasks, student=student, after=after))
        if page:
            after = page[-1]["created_at"], page[-1]["id"]
            yield [_task(row) for row in page]
        if len(page) < PAGE:
            return


def _tasks(db: Session, student: UUID, after: tuple[datetime, UUID]) -> list[Row]:
    page = person.tasks(db, student, after, PAGE)
    person.account(db, student)
    return page


def _task(row: Row) -> Row:
    """As the schema ExportedTask has it."""
    p, features = row["correctness_prob"], row["features"]
    named = None if features is None else dict(zip(NETWORK_INPUTS, features, strict=False))
    return row | {"correctness_confidence": None if p is None else max(p, 1 - p), "features": named}


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cells(task: Row) -> list[object]:
    features = list((task["features"] or {}).values())
    shadows = to_json(task["shadow_predictions"]).decode() if task["shadow_predictions"] else None
    return [
        *(_cell(task[name]) for name in OF_TASK),
        *features,
        *[None] * (len(NETWORK_INPUTS) - len(features)),
        shadows,
    ]


def _cell(value: object) -> object:
    """Numbers as they are, moments as in JSON, nothing for nothing; a text never as a formula."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, bool | datetime):
        return to_json(value).decode().strip('"')
    return value


def _state(serving: ServingModels, row: Row) -> dict[str, Any]:
    state, loaded = row["state"], serving.model_order.of(row["kind"])
    told = {name: value for name, value in row.items() if name != "state"}
    if loaded and loaded.version.id == row["model_version_id"] and isinstance(loaded.model, KnowsStudents):
        told |= loaded.model.ability_estimate(state)
    return {"ability": None, "speed": None} | told | {"values": _numbers(row["kind"], state)}


def _numbers(kind: str, state: bytes) -> list[float]:
    numbers = np.dtype(NUMBERS.get(kind, "<f8"))
    whole = len(state) // numbers.itemsize * numbers.itemsize
    values: list[float] = np.frombuffer(state[:whole], numbers).tolist()
    return values


def _embedded_in(db: Session, store: VersionStore, student: UUID) -> list[dict[str, Any]]:
    """Versions that name the student: their vector stands in the files beside."""
    return [
        {"id": each.id, "kind": each.kind, "state": each.state}
        for each in model_versions.with_files(db)
        if _names(store, each, str(student))
    ]


def _names(store: VersionStore, version: Version, student: str) -> bool:
    try:
        return student.encode() in store.read(version, METADATA_FILE)
    except OSError:  # damaged or just removed
        return False
    except StoreAway as why:  # where it lies is no concern of who asks
        raise StoreAway from why

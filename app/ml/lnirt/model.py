"""LNIRT in the service: fitted to all finished tasks, saved as a version, answering from a student's kept state."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.core.db.statements import QueryFlow, Rows
from app.core.memory import give_back
from app.crud import student_states
from app.crud.student_sequences import latest
from app.crud.student_totals import HISTORY_GROUPS, StudentHistory, Sums
from app.domain.attempts import DIFFICULTIES, Attempts, plausible, shards
from app.domain.tasks import TaskRequest
from app.ml.answers import Answer, Answers, Coalitions
from app.ml.calibration.time_limits import USUAL, Limits, time_limits
from app.ml.features.history import COUNT_UNITS, History, created
from app.ml.features.inputs import INPUTS, ITEM_UNIT
from app.ml.lnirt import dynamics, parts
from app.ml.lnirt.ability import (
    STATE,
    Predictive,
    Responses,
    columns_of,
    estimate,
    follow,
    newcomers,
    practised,
    predict,
    predict_one,
    remembered,
)
from app.ml.lnirt.calibration import LnirtCalibration, calibrating
from app.ml.lnirt.dynamics import practice_of, practice_when_created
from app.ml.lnirt.estimation import fit
from app.ml.lnirt.groups import groups_of
from app.ml.lnirt.item_bank import UNSEEN, ItemBank, cell_label
from app.ml.lnirt.population import ItemParameters, Population
from app.ml.lnirt.small_data import cells_of, fit_small, is_small, without_slips

KIND = "lnirt"
METADATA_FILE = "metadata.json"
ON_ALL = "all-"  # before the names of files of the fit to all tasks, which serves
HELD_OUT = 0.15  # share, the newest
LEAST_HELD_OUT, MOST_HELD_OUT = 10, 2_000  # tasks, to calibrate anything
MOST_ITEMS, SOME_ANSWERS = 5_000, 5  # that are fitted: so many at least, and any with so many answers
KEEP_AFTER = 10  # tasks at the most, before the database is told anew what is known of a student
MOST_STUDENTS = 20_000  # that a process remembers
PRACTICE_INPUTS = [INPUTS.index("topic_task_count"), INPUTS.index("item_task_count")]
PRACTICE_UNITS = np.array([COUNT_UNITS[1], ITEM_UNIT])
TOPIC, ITEM = HISTORY_GROUPS.index("topic"), HISTORY_GROUPS.index("item")  # of a past's groups
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedLnirt:
    """A fit to finished tasks, with the (topic, difficulty) cells that unseen items fall back to."""

    bank: ItemBank
    report: dict[str, Any]
    calibration: LnirtCalibration = field(default_factory=LnirtCalibration)
    limits: Limits = USUAL

    def served(self) -> "ServedLnirt":
        """The same model as it is served."""
        return ServedLnirt(self.bank, self.calibration, self.limits)

    def moving(self, attempts: Attempts) -> "FittedLnirt":
        """With students who move as those of these attempts most likely did."""

        def predictions(population: Population, some: Attempts, rows: NDArray[np.intp]) -> Predictive[Floats]:
            return self.moving_as(population).served().predictions(some, rows)

        return self.moving_as(dynamics.estimated(self.bank.population, attempts, predictions))

    def moving_as(self, others: Population) -> "FittedLnirt":
        """With students who move as these do."""
        moving: dict[str, Any] = {name: float(getattr(others, name)) for name in dynamics.MOVING}
        bank = replace(self.bank, population=replace(self.bank.population, **moving))
        return replace(self, bank=bank, report=self.report | moving)

    def save(self, folder: Path, prefix: str = "") -> None:
        """Write the items and the population, not the students: theirs is kept in the database."""
        self.served().save(folder, prefix, self.report)
        ServedLnirt.load(folder, prefix)  # what can't be read back is not published


def fit_lnirt(attempts: Attempts) -> FittedLnirt:
    """Fit the items and the population to n finished tasks; a task that names no item counts for its cell.

    What it says of the newest tasks when it is fitted to the others calibrates it; then it is fitted to all.
    Raises ValueError where nothing can be fitted, or a number is not finite.
    """
    n = len(attempts)
    held_out = round(n * HELD_OUT)
    fitted = fitted_items(attempts)
    if held_out < LEAST_HELD_OUT or is_small(attempts):  # how unsure it is, it knows better than few answers tell
        return fitted.moving(attempts)
    rows, student = calibrating(attempts.student, np.arange(n - held_out, n)[-MOST_HELD_OUT:])
    known = attempts.take(slice(n - held_out))
    older = fitted_items(known).moving(known)
    predicted = older.served().predictions(attempts, rows)
    calibration = LnirtCalibration.fitted(attempts.correct[rows], attempts.seconds[rows], predicted, student)
    return replace(fitted.moving_as(older.bank.population), calibration=calibration)


def fitted_items(attempts: Attempts) -> FittedLnirt:
    """Items and population, not calibrated, of students who stay as they are."""
    if is_small(attempts):
        bank, students, converged = fit_small(attempts), len(np.unique(attempts.student)), True
        fitted_rows = len(attempts)
        numbers = columns_of(list(bank.items.values()))
    else:
        present, codes = _codes(attempts)
        worth = _worth_fitting(np.bincount(codes))
        labels, cells = _items(attempts, present, codes, worth)
        groups = [code for _, code in groups_of(cells)]
        chosen = worth[codes]
        rows = slice(None) if chosen.all() else chosen
        codes, student, correct = codes[rows], attempts.student[rows], attempts.correct[rows]
        fitted_rows = len(codes)
        found = fit(
            student, codes, correct, np.exp(without_slips(np.log(plausible(attempts.seconds[rows])), codes, student)),
            groups=groups, with_states=False,
        )  # fmt: skip
        give_back()  # the shards
        found = replace(found, items=np.array([labels[code] for code in found.items.tolist()], dtype=object))
        bank, students, converged = ItemBank.build(found, cells), len(found.persons), found.converged
        p = found.population
        numbers = np.array(
            [*found.alpha, *found.beta, *found.phi, *found.lambda_, *found.sigma2, p.var_theta, p.var_zeta, p.cov]
        )
    if not np.isfinite(numbers).all():
        raise ValueError("LNIRT came to numbers that are not finite")
    report = {"rows": fitted_rows, "items": len(bank.items), "students": students, "converged": converged}
    return FittedLnirt(bank, report, limits=time_limits(attempts.seconds))


def _worth_fitting(answers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of k items are fitted, by their answers (k,). Of very many those with hardly an answer are left out: they
    would take as long as the others, and what is known of them is what their topic and level say."""
    many = np.argsort(-answers, kind="stable")[:MOST_ITEMS]
    fitted = answers >= SOME_ANSWERS
    fitted[many] = True
    return fitted


def _codes(attempts: Attempts) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Which items there are answers to, and of tasks without one which cells, behind all items, (k,); each row's place
    among these, (n,)."""
    codes = np.where(attempts.item >= 0, attempts.item, (len(attempts.items) + cells_of(attempts)).astype(np.int32))
    seen = np.bincount(codes) > 0
    return np.flatnonzero(seen), (np.cumsum(seen, dtype=np.int32) - 1)[codes]


def _items(
    attempts: Attempts, present: NDArray[np.intp], codes: NDArray[np.int32], wanted: NDArray[np.bool_]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Labels of the items and cells that are present, and the cell of each that is wanted; `codes` (n,) as above."""
    names = [(topic, difficulty) for topic in attempts.topics for difficulty in DIFFICULTIES]
    every = [*attempts.items, *(cell_label(*name) for name in names)]
    labels = [every[place] for place in present.tolist()]
    pairs, counts = np.unique(cells_of(attempts) + codes * np.int64(len(names)), return_counts=True)
    usual: dict[int, int] = {}
    for pair, _ in sorted(zip(pairs.tolist(), counts.tolist(), strict=True), key=lambda pair: pair[1]):
        code, where = divmod(pair, len(names))
        usual[code] = where  # the one that the item most often had
    return labels, [names[usual[code]] for code in sorted(usual) if wanted[code]]


@dataclass(frozen=True, slots=True)
class CachedState:
    """What this process remembers of a student."""

    state: Floats  # (1, nodes + 3)
    kept: int = 0  # tasks that the database's own state holds
    sums: Sums = (0, 0, 0, None)  # of the tasks in it, as in StudentHistory.sums


class ServedLnirt:
    """A version in memory."""

    def __init__(self, bank: ItemBank, calibration: LnirtCalibration | None = None, limits: Limits = USUAL) -> None:
        """`limits`: between which seconds the data let answers stay, whichever kind they come from."""
        self.bank, self.limits, self.population = bank, limits, bank.population
        self._calibration = calibration or LnirtCalibration()
        self._students: dict[UUID, CachedState] = {}
        self._expected: dict[tuple[str | None, str], ItemParameters] = {}  # by topic and difficulty, not fitted

    @classmethod
    def load(cls, folder: Path, prefix: str = "") -> "ServedLnirt":
        """Read what `FittedLnirt.save` wrote; raises ValueError if the folder holds anything else."""
        metadata = json.loads((folder / f"{prefix}{METADATA_FILE}").read_text())
        if metadata.get("kind") != KIND:
            raise ValueError(f"expected a model of kind {KIND} in {folder}")
        least, most = metadata.get("limits", USUAL)
        return cls(ItemBank.load(folder, prefix), LnirtCalibration(**metadata.get("calibration", {})), (least, most))

    def save(self, folder: Path, prefix: str = "", report: Mapping[str, Any] | None = None) -> None:
        """Write what `load` reads."""
        self.bank.save(folder, prefix)
        metadata = {"kind": KIND, "items": len(self.bank.items), "calibration": self._calibration.to_dict()}
        metadata["limits"] = list(self.limits)
        (folder / f"{prefix}{METADATA_FILE}").write_text(json.dumps(metadata | {"report": report or {}}, indent=1))

    def parameters(self, item_id: str | None, topic: str, difficulty: str) -> ItemParameters:
        """Of a task. What is expected of items that were not fitted takes a while, so it is worked out once."""
        label = cell_label(topic, difficulty) if item_id is None else item_id
        if label in self.bank.items:
            return self.bank.items[label]
        where = (topic if topic in self.bank.topics.index else None, difficulty)
        if where not in self._expected:
            self._expected[where] = self.bank.find(UNSEEN, *where)
        return self._expected[where]

    def answer(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Answer]:
        """The posterior predictive, from what the student's answers say up to this moment."""
        return self._calibration.answer((yield from self.predicted(version_id, asked, past)))

    def predicted(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Predictive[float]]:
        """What the model itself says of it, not calibrated; worked out once for all models that ask."""
        known: Predictive[float] | None = past.memory.get((KIND, version_id))
        if known is None:
            state = yield from self.state(version_id, asked, past)
            practice = float(past.groups[0, 0, TOPIC]), float(past.groups[0, 0, ITEM])
            known = past.memory[KIND, version_id] = self._predicted(state, asked, practice)
        return known

    def answer_then(
        self, version_id: int, asked: TaskRequest, inputs: Floats | None, at: datetime
    ) -> QueryFlow[Answer]:
        """What it says of a task that was created `at` an earlier moment, from what was known then; nothing is kept."""
        tasks, _ = yield from latest(asked, at, remembered(self.population), practised=True)
        practice = practice_on(asked, tasks)
        if inputs is not None:  # these know of the whole past
            practice = np.rint(inputs[PRACTICE_INPUTS] * PRACTICE_UNITS).tolist()
        return self._calibration.answer(self._predicted(self.states_after(tasks)[-1:], asked, practice))

    def answer_after(self, tasks: Rows, asked: TaskRequest) -> Answer:
        """What it says where these are the student's finished tasks, as `student_sequences.latest` finds them."""
        predicted = self._predicted(self.states_after(tasks)[-1:], asked, practice_on(asked, tasks))
        return self._calibration.answer(predicted)

    def coalitions_then(self, asked: TaskRequest, at: datetime) -> QueryFlow[Coalitions]:
        """What it would have said `at` an earlier moment of each coalition of the task's parts."""
        tasks, _ = yield from latest(asked, at, remembered(self.population), practised=True)
        return self.coalitions(tasks, asked)

    def coalitions(self, tasks: Rows, asked: TaskRequest) -> Coalitions:
        """The same where these are the student's finished tasks; what they have practised counts throughout."""
        item = self.parameters(asked.item_id, asked.topic, asked.difficulty)
        state, practice = self.states_after(tasks)[-1:], practice_on(asked, tasks)
        predicted = parts.predictions(self.bank, item, state, practice, asked)
        return Coalitions(self._calibration.answers(predicted), len(tasks), self.limits)

    def on_average(self, state: Floats) -> Answer:
        """What is expected of a student, known as `state` (nodes + 3,), on a task of which nothing is known."""
        return self._calibration.answer(predict_one(self.population, state, self.bank.find(UNSEEN, None, None)))

    def states_after(self, tasks: Rows, begin: Floats | None = None) -> Floats:
        """What is known of a student before these tasks, and after each, (1 + m, nodes + 3); `begin` of a newcomer."""
        columns = columns_of([self.parameters(each["item_id"], each["topic"], each["difficulty"]) for each in tasks])
        correct = np.array([each["is_correct"] for each in tasks], np.bool_)
        seconds = np.array([each["actual_time_seconds"] for each in tasks], np.float64)
        responses = Responses(
            practised(self.population, columns, _practice(tasks)), correct, np.log(plausible(seconds))
        )
        begin = newcomers(self.population) if begin is None else begin
        return np.concatenate([begin, follow(self.population, responses, np.array([len(tasks)]), begin)])

    def trajectory(self, asked: TaskRequest, at: datetime, most: int) -> QueryFlow[Floats]:
        """What was known of the student before their last m <= `most` tasks, and after each, (1 + m, nodes + 3)."""
        tasks, _ = yield from latest(asked, at, most + remembered(self.population), practised=True)
        return self.states_after(tasks)[-most - 1 :]

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        """The same for these rows, each from all that its student had finished when it was created."""
        return self._calibration.answers(self.predictions(attempts, rows))

    def predictions(self, attempts: Attempts, rows: NDArray[np.intp]) -> Predictive[Floats]:
        """What the model itself says of them, not calibrated."""
        found = Predictive(*np.empty((5, len(rows))))
        for shard in shards(attempts, rows):  # nobody else's past matters
            of_shard = self._predictions(shard.attempts, shard.asked)
            for whole, part in zip(found, of_shard, strict=True):
                whole[shard.places] = part
        return found

    def _predictions(self, own: Attempts, asked: NDArray[np.intp]) -> Predictive[Floats]:
        """Those of a shard's students."""
        columns, practice = self._columns_of(own), practice_when_created(own, asked)
        coming = practised(self.population, columns[:, asked], practice)
        columns = practised(self.population, columns, practice_of(own))
        history = History(own.finished)
        known = history.before(created(own)[asked])
        spans = history.groups(own.student, own.student[asked], known)
        whose, counts = np.unique(own.student, return_counts=True)
        order = spans.order
        responses = Responses(columns[:, order], own.correct[order], np.log(plausible(own.seconds))[order])
        begin = newcomers(self.population, len(whose))
        after = follow(self.population, responses, counts, begin)
        states = np.where((spans.end > spans.start)[:, None], after[np.maximum(spans.end - 1, 0)], begin[:1])
        return predict(self.population, states, coming)

    def state(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow[Floats]:
        """What is known of the student, (1, nodes + 3): as this process remembers it and with what was finished since,
        or as the database kept it, or from all answers that still count, where that does not add up."""
        sums, known = past.sums, self._students.get(asked.user_id)
        if known and known.sums == sums:
            return known.state
        if known and past.last and known.sums == past.sums_before:
            known = replace(known, state=self.states_after([past.last], known.state)[-1:])
        elif past.n:
            known = yield from self._from_database(version_id, asked, past)
        else:
            known = CachedState(newcomers(self.population))
        if past.n - known.kept >= max(1, min(KEEP_AFTER, past.n // 5)):
            packed = known.state.astype("<f8").tobytes()
            yield from student_states.keep(asked.user_id, KIND, version_id, past.changed_at, past.n, past.at, packed)
            known = replace(known, kept=past.n)
        if len(self._students) >= MOST_STUDENTS:
            self._students.clear()
        self._students[asked.user_id] = replace(known, sums=sums)
        return known.state

    def _from_database(self, version_id: int, asked: TaskRequest, past: StudentHistory) -> QueryFlow["CachedState"]:
        kept = yield from student_states.kept(asked.user_id, KIND, version_id, past.changed_at)
        begin = self._unpacked(kept["state"]) if kept else None
        n, through = (kept["n"], kept["through"]) if kept and begin is not None else (0, None)
        if begin is not None and n == past.n:
            return CachedState(begin, n)
        most = remembered(self.population)
        tasks, before = yield from latest(asked, past.at, min(max(past.n - n, 0), most), practised=True)
        if through and not (tasks and before and before["completed_at"] <= through < tasks[0]["completed_at"]):
            begin, n = None, 0
            tasks, _ = yield from latest(asked, past.at, min(past.n, most), practised=True)
        return CachedState(self.states_after(tasks, begin)[-1:], n)

    def ability_estimate(self, state: bytes) -> dict[str, dict[str, float]]:
        """What a kept state says of the student: ability and speed, each with its sd."""
        known = self._unpacked(state)
        if known is None:
            return {}
        found = estimate(self.population, known[0])
        return {
            "ability": {"mean": found.theta, "sd": found.theta_sd},
            "speed": {"mean": found.zeta, "sd": found.zeta_sd},
        }

    def _columns_of(self, attempts: Attempts) -> Floats:
        """Of each row's item, (9, n)."""
        a = attempts
        rows, place = np.unique(np.column_stack([a.item, a.topic, a.difficulty]), axis=0, return_inverse=True)
        names = [(a.items[i] if i >= 0 else None, a.topics[t], DIFFICULTIES[d]) for i, t, d in rows.tolist()]
        return columns_of([self.parameters(*name) for name in names])[:, place.reshape(-1)]

    def _predicted(self, state: Floats, asked: TaskRequest, practice: Sequence[float]) -> Predictive[float]:
        """`practice`: tasks finished on the topic and on the exercise."""
        column = list(self.parameters(asked.item_id, asked.topic, asked.difficulty))
        return predict_one(self.population, state[0], practised(self.population, column, practice))

    def _unpacked(self, kept: bytes) -> Floats | None:
        """A state that was kept; none where it was not written by this release or is no number."""
        state = np.frombuffer(kept, "<f8") if len(kept) % 8 == 0 else np.zeros(0)
        if state.shape != (self.population.nodes + STATE,) or not np.isfinite(state).all():
            return None
        return state.astype(np.float64)[None]


def practice_on(asked: TaskRequest, tasks: Rows) -> tuple[float, float]:
    """How many tasks on its topic and on its exercise had been finished when all of `tasks`, in order, were."""
    newest = tasks[::-1]
    on_topic = next((task["on_topic"] for task in newest if task["topic"] == asked.topic), 0)
    on_item = next((task["on_item"] for task in newest if asked.item_id and task["item_id"] == asked.item_id), 0)
    return float(on_topic), float(on_item)


def _practice(tasks: Rows) -> Floats:
    """How many tasks on its topic and on its exercise had been finished before each of n, (2, n)."""
    later: dict[tuple[str, str | None], int] = {}
    found = []
    for task in reversed(tasks):
        counts = []
        for what, total in (("topic", "on_topic"), ("item_id", "on_item")):
            key = (what, task[what])
            later[key] = later.get(key, 0) + 1
            counts.append(max(task[total] - later[key], 0) if task[what] is not None else 0)
        found.append(counts)
    return np.array(found[::-1], np.float64).reshape(-1, 2).T

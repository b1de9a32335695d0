"""LNIRT in the service: fitted to all finished tasks, saved as a version, answering from a student's kept posterior."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.statements import Conversation, Row
from app.crud import student_states
from app.crud.student_totals import Past
from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.domain.tasks import Asked
from app.ml import lnirt_parts
from app.ml.answers import Answer, Answers, Coalitions
from app.ml.lnirt import fit
from app.ml.lnirt_calibration import LnirtCalibration
from app.ml.lnirt_groups import groups_of
from app.ml.lnirt_items import ItemBank, cell_label
from app.ml.lnirt_posterior import (
    ItemParameters,
    Population,
    Posterior,
    Prediction,
    add_sums,
    newcomer,
    predict,
    update,
)
from app.ml.lnirt_small import fit_small, is_small, without_slips

KIND = "lnirt"
METADATA_FILE = "metadata.json"
ON_ALL = "all-"  # before the names of files of the fit to all tasks, which serves
HELD_OUT = 0.15  # share, the newest
LEAST_HELD_OUT = 10  # tasks, to calibrate anything
MOST_HELD_OUT = 2_000
BEFORE_ALL = datetime(1900, 1, 1, tzinfo=UTC)
NOT_FITTED = object()  # no label of an item
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedLnirt:
    """A fit to finished tasks, with the (topic, difficulty) cells that unseen items fall back to."""

    bank: ItemBank
    report: dict[str, Any]
    calibration: LnirtCalibration = field(default_factory=LnirtCalibration)

    def served(self) -> "ServedLnirt":
        """The same model as it is served."""
        return ServedLnirt(self.bank, self.calibration)

    def save(self, folder: Path, prefix: str = "") -> None:
        """Write the items and the population, not the students: theirs is kept in the database."""
        self.bank.save(folder, prefix)
        metadata = {"kind": KIND, "items": len(self.bank.items), "calibration": self.calibration.to_dict()}
        metadata["report"] = self.report
        (folder / f"{prefix}{METADATA_FILE}").write_text(json.dumps(metadata, indent=1))
        ServedLnirt.load(folder, prefix)  # what can't be read back is not published


def fit_lnirt(attempts: Attempts) -> FittedLnirt:
    """Fit the items and the population to n finished tasks; a task that names no item counts for its cell.

    What it says of the newest tasks when it is fitted to the others calibrates it; then it is fitted to all.
    Raises ValueError where nothing can be fitted, or a number is not finite.
    """
    n = len(attempts)
    held_out = round(n * HELD_OUT)
    fitted = _fitted(attempts)
    if held_out < LEAST_HELD_OUT or is_small(attempts):  # how unsure it is, it knows better than few answers tell
        return fitted
    rows = np.arange(n - held_out, n)[-MOST_HELD_OUT:]
    said = _fitted(attempts.take(slice(n - held_out))).served().predictions(attempts, rows)
    return replace(fitted, calibration=LnirtCalibration.fitted(attempts.correct[rows], attempts.seconds[rows], said))


def _fitted(attempts: Attempts) -> FittedLnirt:
    report: dict[str, Any] = {"rows": len(attempts)}
    if is_small(attempts):
        bank = fit_small(attempts)
        numbers = np.array([astuple(item) for item in bank.items.values()])
        report |= {"items": len(bank.items), "students": len(np.unique(attempts.student)), "converged": True}
    else:
        bank, numbers, report = _large(attempts, report)
    if not np.isfinite(numbers).all():
        raise ValueError("LNIRT came to numbers that are not finite")
    return FittedLnirt(bank, report)


def _large(attempts: Attempts, report: dict[str, Any]) -> tuple[ItemBank, Floats, dict[str, Any]]:
    labels, codes, cells = _items(attempts)
    groups = [code for _, code in groups_of(cells)]
    seconds = np.exp(without_slips(np.log(plausible(attempts.seconds))))
    fitted = fit(attempts.student, codes, attempts.correct, seconds, groups=groups)
    fitted = replace(fitted, items=np.array([labels[code] for code in fitted.items.tolist()], dtype=object))
    numbers = (fitted.alpha, fitted.beta, fitted.phi, fitted.lambda_, fitted.sigma2, fitted.cov.ravel())
    report |= {"items": len(fitted.items), "students": len(fitted.persons), "converged": fitted.converged}
    return ItemBank.build(fitted, cells), np.concatenate(numbers), report


def _items(attempts: Attempts) -> tuple[list[str], NDArray[np.int64], list[tuple[str, str]]]:
    """Labels of all items and cells, each row's position among them, and the cell of each that occurs."""
    cell = attempts.topic.astype(np.int64) * len(DIFFICULTIES) + attempts.difficulty
    codes = np.where(attempts.item >= 0, attempts.item, len(attempts.items) + cell)
    names = [(topic, difficulty) for topic in attempts.topics for difficulty in DIFFICULTIES]
    labels = [*attempts.items, *(cell_label(*name) for name in names)]
    pairs, counts = np.unique(np.column_stack([codes, cell]), axis=0, return_counts=True)
    usual: dict[int, int] = {}
    for (code, where), _ in sorted(zip(pairs.tolist(), counts.tolist(), strict=True), key=lambda pair: pair[1]):
        usual[code] = where  # the one that the item most often had
    return labels, codes, [names[usual[code]] for code in sorted(usual)]


class ServedLnirt:
    """A version in memory."""

    def __init__(self, bank: ItemBank, calibration: LnirtCalibration | None = None) -> None:
        self._bank = bank
        self._calibration = calibration or LnirtCalibration()
        least, most = bank.times
        self._times = {"least": least, "most": most}
        self._expected: dict[tuple[str | None, str], ItemParameters] = {}  # of items that were not fitted

    @classmethod
    def load(cls, folder: Path, prefix: str = "") -> "ServedLnirt":
        """Read what `FittedLnirt.save` wrote; raises ValueError if the folder holds anything else."""
        metadata = json.loads((folder / f"{prefix}{METADATA_FILE}").read_text())
        if metadata.get("kind") != KIND:
            raise ValueError(f"expected a model of kind {KIND} in {folder}")
        return cls(ItemBank.load(folder, prefix), LnirtCalibration(**metadata.get("calibration", {})))

    @property
    def population(self) -> Population:
        return self._bank.population

    @property
    def times(self) -> tuple[float, float]:
        """The least and the most seconds that a time counts for."""
        return self._bank.times

    def parameters(self, item_id: str | None, topic: str, difficulty: str) -> ItemParameters:
        """Of a task. What is expected of items that were not fitted takes a while, so it is worked out once."""
        label = cell_label(topic, difficulty) if item_id is None else item_id
        if label in self._bank.items:
            return self._bank.items[label]
        where = (topic if topic in self._bank.topics.index else None, difficulty)
        if where not in self._expected:
            self._expected[where] = self._bank.find(NOT_FITTED, *where).parameters
        return self._expected[where]

    def answer(self, version_id: int, asked: Asked, past: Past) -> Conversation[Answer]:
        """The posterior predictive, from what the student's answers say up to this moment."""
        posterior = yield from self.posterior(version_id, asked, past)
        found = self._bank.find(asked.item_id, asked.topic, asked.difficulty)
        return self._calibration.answer(predict(posterior, found.parameters))

    def answer_then(self, version_id: int, asked: Asked, inputs: Floats, at: datetime) -> Conversation[Answer]:
        """What it says of a task that was created `at` an earlier moment, from what was known then; nothing is kept."""
        span = {"user_id": asked.user_id, "through": at, "after": BEFORE_ALL} | self._times
        rows = yield student_states.ANSWERS, span
        return self.answer_after(rows, asked)

    def answer_after(self, rows: Iterable[Row], asked: Asked) -> Answer:
        """The same where these are the student's answers, as `student_states.ANSWERS` has them."""
        item = self.parameters(asked.item_id, asked.topic, asked.difficulty)
        return self._calibration.answer(predict(self.after(rows), item))

    def coalitions_then(self, asked: Asked, at: datetime) -> Conversation[Coalitions]:
        """What it would have said `at` an earlier moment of each coalition of the task's parts."""
        span = {"user_id": asked.user_id, "through": at, "after": BEFORE_ALL} | self._times
        rows = yield student_states.ANSWERS, span
        return self.coalitions(rows, asked)

    def coalitions(self, rows: Sequence[Row], asked: Asked) -> Coalitions:
        """The same where these are the student's answers, as `student_states.ANSWERS` has them."""
        item = self.parameters(asked.item_id, asked.topic, asked.difficulty)
        said = lnirt_parts.predictions(self._bank, item, self.after(rows), asked)
        return Coalitions(self._calibrated(said), _count(rows))

    def on_average(self, posterior: Posterior) -> Answer:
        """What is expected of a student on a task of which nothing is known."""
        return self._calibration.answer(predict(posterior, self._bank.find(NOT_FITTED, None, None).parameters))

    def after(self, rows: Iterable[Row]) -> Posterior:
        """What these answers say of a student."""
        return self._add(newcomer(self.population), rows)

    def answers(self, attempts: Attempts, rows: NDArray[np.intp]) -> Answers:
        """The same for these rows, each from all that its student had finished when it was created."""
        return self._calibrated(self.predictions(attempts, rows))

    def _calibrated(self, predictions: Iterable[Prediction]) -> Answers:
        said = [self._calibration.answer(each) for each in predictions]
        return Answers(*(np.array([getattr(each, name) for each in said]) for name in Answers.__slots__))

    def predictions(self, attempts: Attempts, rows: NDArray[np.intp]) -> list[Prediction]:
        """What the model itself says of them, not calibrated."""
        return _Followed(attempts, self._bank).predictions(rows)

    def posterior(self, version_id: int, asked: Asked, past: Past) -> Conversation[Posterior]:
        """The kept posterior with the answers that came since, or all of them anew where it does not add up."""
        wanted = past.n
        whose = {"user_id": asked.user_id, "kind": KIND, "version_id": version_id}
        kept = yield student_states.KEPT, whose
        posterior, n, through = self._read(kept[0]) if kept else self._nothing()
        if n == wanted:
            return posterior
        span = {"user_id": asked.user_id, "through": past.at} | self._times
        rows = yield student_states.ANSWERS, {**span, "after": through}
        if n + _count(rows) != wanted and n:
            posterior, n, _ = self._nothing()
            rows = yield student_states.ANSWERS, {**span, "after": BEFORE_ALL}
        posterior, n = self._add(posterior, rows), n + _count(rows)
        state = posterior.to_array().astype("<f8").tobytes()
        yield student_states.KEEP, {**whose, "n": n, "through": past.at, "state": state}
        return posterior

    def told(self, state: bytes) -> dict[str, dict[str, float]]:
        """What a kept posterior says of the student: ability and speed, each with its sd."""
        try:
            said = Posterior.from_array(np.frombuffer(state, "<f8"), self.population).summary()
        except ValueError:  # not written by this version
            return {}
        return {"ability": {"mean": said.theta, "sd": said.theta_sd}, "speed": {"mean": said.zeta, "sd": said.zeta_sd}}

    def _nothing(self) -> tuple[Posterior, int, datetime]:
        return newcomer(self.population), 0, BEFORE_ALL

    def _read(self, row: Row) -> tuple[Posterior, int, datetime]:
        try:
            posterior = Posterior.from_array(np.frombuffer(row["state"], "<f8"), self.population)
        except ValueError:  # not written by us: all the answers anew
            return self._nothing()
        return posterior, row["n"], row["through"]

    def _add(self, posterior: Posterior, rows: Iterable[Row]) -> Posterior:
        for row in rows:
            item = self.parameters(row["item_id"], row["topic"], row["difficulty"])
            right, n = row["n_correct"], row["n"]
            posterior = add_sums(
                posterior, item, right=right, wrong=n - right, times=n, log_seconds=float(row["log_seconds"])
            )
        return posterior


def _count(rows: Sequence[Row]) -> int:
    return sum(row["n"] for row in rows)


@dataclass(frozen=True, slots=True)
class _Followed:
    """Students followed through their attempts."""

    attempts: Attempts
    bank: ItemBank

    def predictions(self, rows: NDArray[np.intp]) -> list[Prediction]:
        """Of each row, from what was finished when it was created."""
        a = self.attempts
        order = np.argsort(a.student, kind="stable")
        starts = np.searchsorted(a.student[order], np.arange(len(a.students) + 1))
        said: dict[int, Prediction] = {}
        for student in np.unique(a.student[rows]):
            mine = rows[a.student[rows] == student]
            mine = mine[np.argsort(a.started[mine], kind="stable")]
            said.update(self._follow(mine, order[starts[student] : starts[student + 1]]))
        return [said[int(row)] for row in rows]

    def _follow(self, rows: NDArray[np.intp], answers: NDArray[np.intp]) -> Iterator[tuple[int, Prediction]]:
        """One student's predictions for `rows`, by creation, as their `answers` come in."""
        a, done = self.attempts, 0
        posterior = newcomer(self.bank.population)
        for row in rows:
            at = min(a.started[row], a.finished[row] - 1)
            while done < len(answers) and a.finished[answers[done]] <= at:
                answer = int(answers[done])
                seconds = min(max(float(a.seconds[answer]), self.bank.times[0]), self.bank.times[1])
                posterior = update(posterior, self._item(answer), bool(a.correct[answer]), seconds)
                done += 1
            yield int(row), predict(posterior, self._item(int(row)))

    def _item(self, row: int) -> Any:
        a = self.attempts
        item = a.items[a.item[row]] if a.item[row] >= 0 else None
        return self.bank.find(item, a.topics[a.topic[row]], DIFFICULTIES[a.difficulty[row]]).parameters

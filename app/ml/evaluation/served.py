"""The service itself in a replay: its trainings, gate, mixture and first answers, by the same code; no database."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.domain.kinds import BASE, TRAINED
from app.domain.shares import Share
from app.ml.answers import Answers, TaskModel
from app.ml.evaluation.prequential import BASELINES, Contestant, Outcome, Retrained, RetrainingSchedule, turns
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.ml.lnirt.small_data import fit_small
from app.ml.lnirt.untrained import MOST as MOST_UNTRAINED
from app.ml.prior import prior_answers
from app.ml.registry import BY_NAME, MODELS, Fitted, ModelSpec, Progress
from app.ml.serving.model_order import on_base
from app.ml.serving.pool import pool
from app.ml.training.dataset import due_from_scratch
from app.ml.training.decision import Decision, Incumbent
from app.ml.training.gate import HoldoutSet, cut

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One model of the replayed installation."""

    id: int
    kind: ModelSpec
    fitted: Fitted
    evaluated: TaskModel  # as the gate asks it
    serving: TaskModel  # as students are answered: LNIRT fitted to all tasks
    n_tasks: int  # that it has learned from


@dataclass(frozen=True, slots=True)
class Served:
    """A contestant of a replay: what the service would have answered."""

    kinds: Sequence[str]  # that the installation trains
    growth: float  # of the tasks that makes a training from scratch due
    name: str = "served"

    def answer(self, attempts: Attempts, pace: RetrainingSchedule, progress: Progress | None) -> Outcome:
        """A task created at or after a training's last completion is answered by what serves from then on."""
        outcome, house = Outcome.of_prior(len(attempts)), Installation(self.kinds, self.growth)
        for rows, completed, steps in turns(attempts, pace, progress):
            if completed:
                house.train(attempts.take(slice(completed)), outcome, steps)
            if len(rows):
                found = house.answers(attempts, rows) if house.serving else untrained(attempts, rows)
                outcome.put(rows, found, attempts.started[rows] >= attempts.finished.min())
        return outcome


def untrained(attempts: Attempts, rows: Rows) -> Answers:
    """What is answered before the first training: LNIRT of the newest tasks that were finished by then."""
    parts = []
    for row in rows:
        finished = np.flatnonzero(attempts.finished <= attempts.started[row])[-MOST_UNTRAINED:]
        if len(finished) == 0:
            parts.append(prior_answers(1))
            continue
        model = ServedLnirt(fit_small(attempts.take(finished)))
        known = np.append(finished, row)
        parts.append(model.answers(attempts.take(known), np.array([len(finished)])))
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in Answers.__slots__))


@dataclass
class Installation:
    """What serves, and how it came about."""

    kinds: Sequence[str]
    growth: float
    serving: dict[str, ServedVersion] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    skilled: int | None = None
    versions: int = 0
    last_from_scratch: int | None = None
    learnt: int | None = None

    def answers(self, attempts: Attempts, rows: Rows) -> Answers:
        """Of those that have a part."""
        base = self.serving.get(BASE)
        parts = []
        for kind, share in self.shares.items():
            if share.has_part and kind in self.serving:
                model = on_base(self.serving[kind].serving, base.serving if base else None)
                parts.append((model.answers(attempts, rows), share))
        return pool(parts)

    def train(self, finished: Attempts, outcome: Outcome, progress: Progress) -> None:
        """One run, as app/ml/training/run.py makes it while all tasks are read."""
        progress({})
        n = len(finished)
        from_scratch = due_from_scratch(n, self.last_from_scratch, self.growth, self.learnt)
        holdout, older = HoldoutSet(finished), finished.take(slice(cut(n)))
        made, failures = self._made(older, from_scratch, progress)
        base = next((each for each in made if each.kind.name == BASE), self.serving.get(BASE))
        decision = Decision(holdout, self._incumbents(holdout), self.shares, self.skilled)
        for version in made:
            model = on_base(version.evaluated, base.evaluated if base else None)
            decision.settle(version.kind.name, version.id, holdout.evaluate(model))
        by_id = {version.id: version for version in (*self.serving.values(), *made)}
        model_order = decision.model_order()
        self.shares = decision.shares()
        self.serving = {kind: self._finished(by_id[each.id], finished) for kind, each in model_order}
        first = model_order[0][1] if model_order else None
        self.skilled = first.id if first and first.evaluation and first.evaluation.skilled else None
        outcome.failures += [f"after {n} tasks: {kind}: {why}" for kind, why in failures.items()]
        outcome.trainings += 1
        if made:
            self.learnt = n
        if from_scratch:
            self.last_from_scratch = n

    def _incumbents(self, holdout: HoldoutSet) -> dict[str, Incumbent]:
        base = self.serving.get(BASE)
        models = {k: on_base(v.evaluated, base.evaluated if base else None) for k, v in self.serving.items()}
        return {k: Incumbent(v.id, holdout.evaluate(models[k])) for k, v in self.serving.items()}

    def _made(
        self, older: Attempts, from_scratch: bool, progress: Progress
    ) -> tuple[list[ServedVersion], dict[str, str]]:
        made, failures = list[ServedVersion](), dict[str, str]()
        standing = self.serving.get(BASE)
        base = standing.evaluated if standing else None
        for spec in reversed(MODELS):
            if spec.name not in self.kinds and spec.name != BASE:
                continue
            try:
                fitted = self._fitted(spec, older, from_scratch, base, progress)
            except ValueError as why:
                failures[spec.name] = str(why)
                continue
            self.versions += 1
            model = fitted.served()
            made.append(ServedVersion(self.versions, spec, fitted, model, model, len(older)))
            base = model if spec.name == BASE else base
        return made, failures

    def _fitted(
        self, spec: ModelSpec, older: Attempts, from_scratch: bool, base: TaskModel | None, progress: Progress
    ) -> Fitted:
        earlier = self.serving.get(spec.name)
        if from_scratch or spec.update is None or earlier is None:
            return spec.fit(older, progress, None, base)
        return spec.update(earlier.fitted, older, np.arange(len(older)) >= earlier.n_tasks, progress, base)

    def _finished(self, version: ServedVersion, finished: Attempts) -> ServedVersion:
        """LNIRT serves as fitted to all tasks."""
        if version.kind.finish is None or version.serving is not version.evaluated:
            return version
        served = fit_lnirt(finished).served()
        return ServedVersion(version.id, version.kind, version.fitted, version.evaluated, served, version.n_tasks)


def contestants(*, lstm: bool = False, growth: float | None) -> tuple[Contestant, ...]:
    """The baselines, the service, and the kinds that are trained, each alone; without a `growth` every training is from
    scratch. The many trainings of the LSTM take long."""
    kinds = [name for name in TRAINED if lstm or name != "embedding_lstm"]
    alone = (Retrained(BY_NAME[name], growth) for name in reversed(kinds))
    return (*BASELINES, Served(kinds, growth or 0.0), *alone)

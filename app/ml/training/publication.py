"""What comes of a run: each new model serves or is rejected, all in one transaction, and each row says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.crud import model_tracker, model_versions, serving_changes, training_runs
from app.domain.shares import Share, Shares
from app.ml.answers import TaskModel
from app.ml.registry import BY_NAME
from app.ml.serving.pool import in_words
from app.ml.training.dataset import TrainingSet
from app.ml.training.decision import Decision, Incumbent
from app.ml.training.gate import Evaluation, HoldoutSet
from app.ml.training.reasons import Rejection, RunEnded, RunReason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Made:
    """A fitted model whose files are on disk."""

    kind: str
    place: Path
    files: Mapping[str, str]
    report: Mapping[str, Any]
    model: TaskModel  # as it would be served


@dataclass(frozen=True, slots=True)
class Candidate:
    """A new model that was evaluated and lies where a version belongs."""

    made: Made
    evaluation: Evaluation
    folder: str  # below MODEL_DIR


@dataclass(frozen=True, slots=True)
class Findings:
    """What the run had to work with."""

    run_id: int
    training_set: TrainingSet
    holdout: HoldoutSet
    keep_versions: int
    kinds: Sequence[str] | None = None  # that were to be trained; none: all of them
    inputs: Mapping[str, Any] = field(default_factory=dict)  # what the models learned from, in short
    practice_effect: Mapping[str, float] = field(default_factory=dict)  # how much practice helps: for plans
    workers_lost: str | None = None  # why the run did what Dask's workers should have
    told: Sequence[str] = ()  # what the run had to do without


class Publication:
    """The decisions of one run, made in the transaction that records them."""

    def __init__(self, db: Session, run: Findings, incumbents: Mapping[str, Incumbent]) -> None:
        self._db, self._run = db, run
        serving_changes.take_turn(db)
        none_erased(db, run.training_set)
        now = model_versions.serving(db)
        evaluations = {each.id: each.evaluation for each in incumbents.values()}
        self._now = [version.id for version in now.values()]
        self._changed = set(self._now) != set(evaluations)
        self._knowing = {k for k, v in now.items() if v.erasures < run.training_set.erasures}
        self._leaving = {k: v.id for k, v in now.items() if self._leaves(k)}
        staying = {k: v for k, v in now.items() if k not in self._leaving}
        first = next(iter(staying.values()), None)
        skilled = first is not None and first.kind == next(iter(now)) and first.scores.get("skilled")
        self._decision = Decision(
            run.holdout,
            {k: Incumbent(v.id, evaluations.get(v.id), v.by_hand) for k, v in staying.items()},
            {k: Share(v.chance_share, v.time_share) for k, v in staying.items()},
            first.id if first and skilled else None,
            frozenset(self._knowing - set(self._leaving)),
        )
        self._said: list[str] = []

    def decide(self, candidates: Sequence[Candidate], failures: Mapping[str, str]) -> dict[str, Any]:
        """Who serves from now on; how the run ended, with the sentence that says so."""
        for candidate in sorted(candidates, key=lambda each: each.made.kind != "lnirt"):  # what LNIRT can, others must
            self._settle(candidate)
        for kind, why in failures.items():
            self._say(RunReason.NOT_TRAINED, kind=kind, why=why.rstrip("."))
        for kind, version_id in self._leaving.items():
            self._say(RunReason.KNEW_ERASED, id=version_id, kind=kind)
        self._said += self._run.told
        model_order, found = self._model_order(), self._shares()
        published = [f"version {each.id} of {kind}" for kind, each in model_order if each.new]
        if published:
            tasks = self._run.training_set
            learnt = RunReason.TRAINED if tasks.from_scratch else RunReason.UPDATED
            said = learnt.said(new=tasks.counter_snapshot, tasks=tasks.tasks, versions=", ".join(published))
            self._said.insert(0, said.text)
        if model_order:
            self._say(RunReason.ANSWERED, parts=in_words(found))
        elif self._leaving:
            self._say(RunReason.UNTRAINED_ANSWERS)
        if self._run.workers_lost:  # last: `public.for_anybody` ends where a store is named
            self._say(RunReason.WORKERS_LOST, why=self._run.workers_lost.rstrip("."))
        if [each.id for _, each in model_order] != self._now:
            self._serve(model_order)
        serving_changes.share(self._db, {self._decision.incumbents[kind].id: share for kind, share in found.items()})
        return {
            "outcome": "published" if published else "rejected" if candidates else "failed",
            "message": " ".join(self._said),
            "n_tasks": self._run.training_set.tasks,
            "version_id": model_order[0][1].id if model_order else None,
        }

    def record(self, result: Mapping[str, Any], candidates: Sequence[Candidate]) -> list[str]:
        """Counter, tracker and run in the same transaction; the folders that may go after it."""
        run, first = self._run, next((kind for kind, _ in self._model_order()), None)
        counts: dict[str, Any] = {"n_tasks": run.training_set.tasks, "taken": run.training_set.counter_snapshot}
        on_tasks = BY_NAME[first].wire_name if first else "prior"
        if candidates:
            model_tracker.trained(self._db, **counts, model_version=on_tasks)
        elif self._leaving:
            model_tracker.answered_by(self._db, on_tasks)
        reports = {each.made.kind: {**each.made.report, **each.evaluation.scores} for each in candidates}
        notes = {"state": result["outcome"], **result, "run_id": run.run_id, "report": reports}
        model_tracker.note(self._db, notes)
        overran = "time" if run.told and not candidates else None  # the next run takes less
        training_runs.finish(self._db, run.run_id, result["outcome"], result["message"], overran=overran, **counts)
        pruned = model_versions.prune(self._db, [each.made.kind for each in candidates], run.keep_versions)
        return [*pruned, *model_versions.withdraw(self._db, run.kinds)]

    def _model_order(self) -> list[tuple[str, Incumbent]]:
        """Who serves from now on, best first; those who serve now, where they were changed during the run."""
        return list(self._decision.incumbents.items()) if self._changed else self._decision.model_order()

    def _shares(self) -> Shares:
        return self._decision.before if self._changed else self._decision.shares()

    def _leaves(self, kind: str) -> bool:
        """A version that knows somebody who was erased makes way, for a new one or for nobody; where others than those
        that were evaluated serve, the next run sees to it."""
        return kind in self._knowing and not self._changed and (self._run.kinds is None or kind in self._run.kinds)

    def _settle(self, candidate: Candidate) -> None:
        kind, version_id = candidate.made.kind, self._add(candidate)
        changed = Rejection.ORDER_CHANGED.said() if self._changed else None
        why = self._decision.settle(kind, version_id, candidate.evaluation, changed)
        if why:
            old = self._decision.incumbents.get(kind)
            kept = RunReason.KEPT.said(id=old.id, why=why.text) if old else RunReason.NONE_SERVES.said(why=why.text)
            model_versions.reject(self._db, version_id, kept.text[0].upper() + kept.text[1:])
            self._said.append(f"{kind}: {kept.text}")

    def _say(self, reason: RunReason, **values: object) -> None:
        self._said.append(reason.said(**values).text)

    def _add(self, candidate: Candidate) -> int:
        run, made = self._run, candidate.made
        fitted_on = run.training_set.attempts.finished[: run.training_set.fitted_rows]
        return model_versions.add(
            self._db,
            kind=made.kind,
            folder=candidate.folder,
            files=made.files,
            n_tasks=run.training_set.tasks,
            report={**made.report, "inputs": run.inputs, "practice_effect": run.practice_effect},
            scores=candidate.evaluation.scores,
            span=(_moment(int(fitted_on[0])), _moment(int(fitted_on[-1]))),
            run_id=run.run_id,
            erasures=run.training_set.erasures,
            corrections=run.training_set.corrections,
        )

    def _serve(self, model_order: Sequence[tuple[str, Incumbent]]) -> None:
        reason = " ".join(self._said)
        by_hand = next((each.id for _, each in model_order if each.by_hand), None)
        who = f"run {self._run.run_id}"
        ids = [each.id for _, each in model_order]
        serving_changes.serve(self._db, ids, what="published", made_by=who, reason=reason, by_hand=by_hand)
        for name, each in model_order:
            if each.new:
                model_versions.explain(self._db, each.id, _why_it_serves(name, each))


def _why_it_serves(kind: str, incumbent: Incumbent) -> str:
    scores = incumbent.evaluation.scores if incumbent.evaluation else {}
    loss, error = scores["log_loss"], scores["log_loss_standard_error"]
    return RunReason.SERVES.said(kind=kind, loss=loss, error=error, tasks=scores["held_out_rows"]).text


def none_erased(db: Session, training_set: TrainingSet) -> None:
    """Raise RunEnded where the training set may hold somebody who has been erased since it was read."""
    if model_versions.last_erasure(db) != training_set.erasures:
        raise RunEnded("interrupted", RunReason.ERASED_MEANWHILE)


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)

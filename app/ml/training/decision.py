"""Which of the evaluated models serve, and with which shares: values in, values out, for a run and a replay."""

from dataclasses import astuple, dataclass, field
from functools import cached_property

from app.domain.kinds import BASE
from app.domain.reasons import Said
from app.domain.shares import ALL, Share, Shares
from app.ml.training.gate import Champion, Evaluation, HoldoutSet, best_first, rejection_reason
from app.ml.training.mixture import shares
from app.ml.training.reasons import Rejection


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The version that serves for a kind, or is to; without evaluation where it can't be loaded."""

    id: int
    evaluation: Evaluation | None
    by_hand: bool = False
    new: bool = False


@dataclass
class Decision:
    """Taken step by step: each new model is settled, then the order and the shares follow."""

    holdout: HoldoutSet
    incumbents: dict[str, Incumbent]  # by kind; those in service at first
    before: Shares  # of those in service
    skilled: int | None = None  # the version that answered first, if it told right answers from wrong ones
    yielding: frozenset[str] = frozenset()  # kinds whose incumbent keeps nobody out
    rejected: set[str] = field(default_factory=set)

    def settle(self, kind: str, version_id: int, evaluation: Evaluation, why: Said | None = None) -> Said | None:
        """Let it serve, or say why not; `why` is a reason that was there before. LNIRT comes first."""
        why = why or self._rejection(kind, version_id, evaluation)
        if why is None:
            self.incumbents[kind] = Incumbent(version_id, evaluation, new=True)
        else:
            self.rejected.add(kind)
        return why

    def model_order(self) -> list[tuple[str, Incumbent]]:
        """The kinds that serve, the one that has most to say first."""
        chosen, evaluations = self._chosen(), self._evaluations
        ranked = best_first(self.holdout, evaluations, chosen or BASE)
        if chosen is None:
            ranked.sort(key=lambda kind: -sum(astuple(self._stacked.get(kind, Share()))))
        unknown = [kind for kind in self.incumbents if kind not in evaluations]
        if evaluations:
            unknown = [kind for kind in unknown if kind not in self.rejected]
        return [(kind, self.incumbents[kind]) for kind in (*ranked, *unknown)]

    def shares(self) -> dict[str, Share]:
        """What each kind has to say from now on; all of it the one that a person chose, or the best where there is no
        base."""
        kinds = [kind for kind, _ in self.model_order()]
        if self._chosen() or not self._stacked:
            return {kind: ALL if kind == kinds[0] else Share() for kind in kinds}
        return {kind: self._stacked.get(kind, Share()) for kind in kinds}

    def _chosen(self) -> str | None:
        """The kind to which a person gave all the say, until it is clearly outdone."""
        given = (kind for kind, each in self.incumbents.items() if each.by_hand and self.before.get(kind) == ALL)
        chosen = next(given, None)
        outdone = best_first(self.holdout, self._evaluations, chosen or BASE)[:1] not in ([chosen], [])
        return None if outdone else chosen

    @property
    def _evaluations(self) -> dict[str, Evaluation]:
        return {kind: each.evaluation for kind, each in self.incumbents.items() if each.evaluation}

    @cached_property
    def _stacked(self) -> dict[str, Share]:
        """By how all were evaluated; once everything is settled."""
        return shares(self.holdout, self._evaluations, self.before)

    def _rejection(self, kind: str, version_id: int, evaluation: Evaluation) -> Said | None:
        old, name = self.incumbents.get(kind), f"version {version_id}"
        if old and self.holdout.unfit:
            return self.holdout.unfit
        champion = Champion("the prior", self.holdout.prior, is_baseline=True)
        if old and old.evaluation:
            champion = Champion(f"version {old.id}", old.evaluation, old.by_hand)
        base, lnirt = self.incumbents.get(BASE), None
        if kind != BASE and base and base.evaluation and (base.new or BASE not in self.yielding):
            lnirt = Champion("LNIRT", base.evaluation, is_baseline=True)
        why = rejection_reason(self.holdout, name, evaluation, champion, lnirt)
        if why is None and self.skilled is not None and self.holdout.learnt_nothing(evaluation):
            # It takes no place beside a version that once told right from wrong: the data are odd.
            auc = evaluation.scores["auc"]
            return Rejection.NOTHING_LEARNT.said(name=name, auc=auc, tasks=len(self.holdout), skilled=self.skilled)
        return why

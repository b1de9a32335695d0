"""Which of the models that were judged serve, and with which shares: values in, values out, for a run and a replay."""

from dataclasses import astuple, dataclass, field
from functools import cached_property

from app.domain.kinds import BASE
from app.domain.shares import ALL, Share, Shares
from app.ml.training.gate import Champion, Evaluation, HoldoutSet, best_first, rejection_reason
from app.ml.training.mixture import shares


@dataclass(frozen=True, slots=True)
class Standing:
    """Who is to serve for a kind; not judged where it can't be loaded."""

    id: int
    judged: Evaluation | None
    by_hand: bool = False
    new: bool = False


@dataclass
class Decision:
    """Taken step by step: each new model is settled, then the order and the shares follow."""

    holdout: HoldoutSet
    standing: dict[str, Standing]  # by kind; those in service at first
    before: Shares  # of those in service
    skilled: int | None = None  # the version that answered first, if it told right answers from wrong ones
    no_rivals: frozenset[str] = frozenset()  # kinds whose standing version keeps nobody out
    rejected: set[str] = field(default_factory=set)

    def settle(self, kind: str, version_id: int, judged: Evaluation, why: str | None = None) -> str | None:
        """Let it serve, or say in a sentence why not; `why` is a reason that was there before. LNIRT comes first."""
        old = self.standing.get(kind)
        why = why or self._objection(kind, version_id, judged)
        if why is None:
            self.standing[kind] = Standing(version_id, judged, new=True)
            return None
        self.rejected.add(kind)
        return f"kept version {old.id}: {why}." if old else f"none serves: {why}."

    def model_order(self) -> list[tuple[str, Standing]]:
        """The kinds that serve, the one that has most to say first."""
        chosen = self._chosen()
        ranked = best_first(self.holdout, self._judged, chosen or BASE)
        if chosen is None:
            ranked.sort(key=lambda kind: -sum(astuple(self._stacked.get(kind, Share()))))
        judged = self._judged
        unknown = [kind for kind in self.standing if kind not in judged and not (judged and kind in self.rejected)]
        return [(kind, self.standing[kind]) for kind in (*ranked, *unknown)]

    def shares(self) -> dict[str, Share]:
        """What each kind has to say from now on; all of it the one that a person chose, or the best where there is no
        base."""
        model_order = self.model_order()
        if not model_order:
            return {}
        first, chosen = model_order[0][0], self._chosen()
        if chosen or not self._stacked:
            return {kind: ALL if kind == first else Share() for kind, _ in model_order}
        return {kind: self._stacked.get(kind, Share()) for kind, _ in model_order}

    def _chosen(self) -> str | None:
        """The kind to which a person gave all the say, until it is clearly outdone."""
        given = (kind for kind, each in self.standing.items() if each.by_hand and self.before.get(kind) == ALL)
        chosen = next(given, None)
        outdone = best_first(self.holdout, self._judged, chosen or BASE)[:1] not in ([chosen], [])
        return None if outdone else chosen

    @property
    def _judged(self) -> dict[str, Evaluation]:
        return {kind: each.judged for kind, each in self.standing.items() if each.judged}

    @cached_property
    def _stacked(self) -> dict[str, Share]:
        """By how all were judged; once everything is settled."""
        return shares(self.holdout, self._judged, self.before)

    def _objection(self, kind: str, version_id: int, judged: Evaluation) -> str | None:
        old, name = self.standing.get(kind), f"version {version_id}"
        if old and self.holdout.one_sided:
            return self.holdout.one_sided
        base = self.standing.get(BASE) if kind != BASE else None
        if base and BASE in self.no_rivals and not base.new:
            base = None
        rival = Champion("the prior", self.holdout.prior)
        if old and old.judged:
            rival = Champion(f"version {old.id}", old.judged, old.by_hand)
        lnirt = Champion("LNIRT", base.judged) if base and base.judged else None
        return rejection_reason(self.holdout, name, judged, rival, lnirt) or self._nothing_learnt(name, judged)

    def _nothing_learnt(self, name: str, judged: Evaluation) -> str | None:
        """Nothing takes its place beside a version that once told right from wrong, and doesn't: the data are odd."""
        if self.skilled is None or not self.holdout.learnt_nothing(judged):
            return None
        area = f"AUC {judged.scores['auc']:.2f} on {len(self.holdout)} tasks"
        return f"{name} can't tell right answers from wrong ones ({area}), as version {self.skilled} could"

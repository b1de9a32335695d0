"""Which of the models that were judged serve, in which order, and why the others don't."""

import pytest

from app.domain.kinds import BASE
from app.domain.shares import ALL, Share, Shares
from app.ml.training import gate
from app.ml.training.decision import Decision, Incumbent
from app.ml.training.reasons import Rejection
from tests.ml.training.test_mixture import NETWORK, Says, holdout

HOLDOUT = holdout(12_000)
GOOD, FAIR, POOR = (HOLDOUT.evaluate(Says(blur, seed)) for seed, blur in enumerate((0.1, 0.8, 3.0)))


@pytest.fixture(autouse=True)
def no_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BASELINES", {})


def decision(base: Incumbent | None, network: Incumbent | None, before: Shares | None = None) -> Decision:
    """Where these stand; the network has most to say."""
    standing = {kind: each for kind, each in ((BASE, base), (NETWORK, network)) if each}
    return Decision(HOLDOUT, standing, before or {BASE: Share(0.1, 0.1), NETWORK: Share(0.9, 0.9)})


def test_who_has_most_to_say_comes_first() -> None:
    made = decision(Incumbent(1, FAIR), Incumbent(2, FAIR))
    assert made.settle(NETWORK, 3, GOOD) is None
    assert [(kind, each.id, each.new) for kind, each in made.model_order()] == [(NETWORK, 3, True), (BASE, 1, False)]
    assert list(made.shares()) == [NETWORK, BASE]
    assert made.shares()[NETWORK].time > 0.7


def test_who_is_worse_is_refused_in_a_sentence() -> None:
    made = decision(Incumbent(1, GOOD), Incumbent(2, FAIR))
    said = made.settle(NETWORK, 3, POOR)
    assert said is not None
    assert said.kind is Rejection.WORSE
    assert said.text.startswith("version 3's log-loss")
    said = decision(Incumbent(1, GOOD), None).settle(NETWORK, 2, FAIR)
    assert said is not None
    assert said.kind is Rejection.WORSE_THAN_BASELINE
    assert said.text.startswith("version 2's log-loss")
    assert said.text.endswith("of LNIRT on 1800 tasks")


def test_what_a_person_chose_has_all_the_say_until_it_is_clearly_outdone() -> None:
    made = decision(Incumbent(1, GOOD, by_hand=True), Incumbent(2, FAIR), {BASE: ALL})
    assert made.shares() == {BASE: ALL, NETWORK: Share()}
    made = decision(Incumbent(1, GOOD), Incumbent(2, GOOD, by_hand=True), {NETWORK: ALL})
    assert made.shares() == {NETWORK: ALL, BASE: Share()}
    outdone, shares = Incumbent(2, POOR, by_hand=True), {NETWORK: ALL}
    for _ in range(50):
        before, shares = shares, decision(Incumbent(1, GOOD), outdone, shares).shares()
        assert shares[BASE].time > before.get(BASE, Share()).time or shares[BASE].time == 1
    assert shares == {BASE: ALL, NETWORK: Share()}


def test_what_can_not_be_loaded_leaves_when_its_successor_is_refused() -> None:
    made = decision(Incumbent(1, GOOD), Incumbent(2, None))
    assert [kind for kind, _ in made.model_order()] == [BASE, NETWORK]
    assert made.settle(NETWORK, 3, POOR)
    assert [kind for kind, _ in made.model_order()] == [BASE]


def test_the_only_one_there_is_has_all_the_say() -> None:
    made = Decision(HOLDOUT, {}, {})
    assert made.shares() == {}
    assert made.settle(NETWORK, 1, GOOD) is None
    assert made.shares() == {NETWORK: ALL}
    assert decision(None, Incumbent(1, None, by_hand=True), {NETWORK: ALL}).shares() == {NETWORK: ALL}


def test_what_learnt_nothing_takes_no_place_beside_one_that_knew_something() -> None:
    made = Decision(HOLDOUT, {NETWORK: Incumbent(1, None)}, {NETWORK: ALL}, skilled=1)
    said = made.settle(NETWORK, 2, HOLDOUT.prior)
    assert said is not None
    assert said.kind is Rejection.NOTHING_LEARNT
    assert said.text.startswith("version 2 can't tell right answers from wrong ones (AUC 0.50 on 1800 tasks)")

"""Of one topic: which difficulty to practise now, and how much the topic needs it. No database, clock or model."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import exp, log

from app.domain.attempts import DIFFICULTIES
from app.domain.planning import PractisedTask, TopicState
from app.planning import spacing

MEDIUM = "medium"
LATELY = timedelta(days=14)
TROUBLE_IN = 5  # of the last tasks are looked at for what went wrong
WRONG_IN_A_ROW, WRONG_OF_FIVE = 2, 3  # either is more than bad luck where four of five should go right
TOPIC_VARIANCE = 0.5  # logits^2: how far a topic may lie from what the models say of it, before the answers
NOT_DUE = 0.25  # what a topic counts that was just practised, beside one that is forgotten
MASSED = 6.0  # tasks on a topic in a day that halve the need of another one
EDGE = 1e-3
TIE = 1e-9


def logit(p: float) -> float:
    p = min(max(p, EDGE), 1 - EDGE)
    return log(p / (1 - p))


def chance(logits: float) -> float:
    return 1 / (1 + exp(-logits))


def nearest(chances: Sequence[float], target: float) -> int:
    """Return which of the chances, (3,) by difficulty, is nearest to the target; among equals, the higher one."""
    best, least = 0, abs(chances[0] - target)
    for place, p in enumerate(chances[1:], start=1):
        off = abs(p - target)
        if off < least - TIE or (off < least + TIE and p > target):
            best, least = place, off
    return best


def wrong_lately(topic: TopicState, now: datetime) -> tuple[int, int] | None:
    """Count how many of the last tasks went wrong, and of how many; none where that is no more than bad luck."""
    recent = lately(topic, now)
    wrong = sum(not done.is_correct for done in recent)
    in_a_row = len(recent) >= WRONG_IN_A_ROW and not any(done.is_correct for done in recent[:WRONG_IN_A_ROW])
    return (wrong, len(recent)) if in_a_row or wrong >= WRONG_OF_FIVE else None


def lately(topic: TopicState, now: datetime) -> list[PractisedTask]:
    return [done for done in topic.recent[:TROUBLE_IN] if now - done.at <= LATELY]


def hardest_allowed(topic: TopicState, now: datetime) -> int:
    """Return the position in DIFFICULTIES a step below what went wrong lately; the last where nothing did."""
    if wrong_lately(topic, now) is None:
        return len(DIFFICULTIES) - 1
    failed = [DIFFICULTIES.index(done.difficulty) for done in lately(topic, now) if not done.is_correct]
    return max(min(failed[:WRONG_IN_A_ROW]) - 1, 0)


def aimed(topic: TopicState, target: float, now: datetime) -> str:
    """Return the difficulty to practise now: nearest to the target, but easier for a while after it went wrong."""
    return DIFFICULTIES[min(nearest(probabilities(topic), target), hardest_allowed(topic, now))]


def probabilities(topic: TopicState) -> list[float]:
    """Return the chances of a right answer, (3,) by difficulty."""
    return [topic.chances[difficulty].correctness_prob for difficulty in DIFFICULTIES]


def off_the_models(topic: TopicState) -> float:
    """Return how far the last answers lie from what the models expect of this topic now, logits.

    One Newton step, from 0, of a random intercept with variance TOPIC_VARIANCE in a logistic model: models that know
    one ability for all topics (LNIRT) don't see that one of them is weak. It only orders topics; no chance that is
    shown is changed by it.
    """
    surprise, information = 0.0, 1 / TOPIC_VARIANCE
    for done in topic.recent:
        p = topic.chances[done.difficulty].correctness_prob
        surprise += done.is_correct - p
        information += p * (1 - p)
    return surprise / information


def weakness(topic: TopicState) -> float:
    """Return the chance to get a medium task wrong, 0-1, as the models and the last answers see it."""
    return 1 - chance(logit(topic.chances[MEDIUM].correctness_prob) + off_the_models(topic))


def need(weakness: float, due: float, tasks_today: float) -> float:
    """Return how much a topic needs practice now: the weaker and the longer ago the more, the more today the less."""
    return weakness * (NOT_DUE + (1 - NOT_DUE) * due) * 2 ** (-tasks_today / MASSED)


def need_of(topic: TopicState, now: datetime) -> float:
    due = spacing.due(spacing.days_since(topic.recent, now), spacing.strength(topic.recent))
    return need(weakness(topic), due, topic.tasks_today)

"""Reasons that suggestions and plans share, and the sentence of a reason in the reader's language."""

from datetime import date, datetime

from app.core.languages import Translator
from app.domain.planning import TopicState
from app.domain.reasons import Reason, ReasonKind
from app.planning import spacing
from app.planning.difficulty import wrong_lately

SHARES = ("chance", "target", "chance_now", "chance_at_exam")


def sentence(translator: Translator, reason: Reason) -> str:
    """Return the sentence of the reason, with its values as the reader writes them."""
    values = {name: _shown(translator, name, value) for name, value in reason.values.items()}
    return translator(reason.kind.value, **values)


def _shown(translator: Translator, name: str, value: str | float) -> str:
    if name == "exam" and isinstance(value, str):
        return _exam(translator, value)
    if isinstance(value, str):
        return value
    if name in SHARES:
        return translator.percent(value)
    if name == "days":
        return translator.many("%(num)s day", "%(num)s days", int(value))
    if name == "topics":
        return translator.many("%(num)s topic", "%(num)s topics", int(value))
    return translator.number(value, 1)


def _exam(translator: Translator, name: str) -> str:
    """An exam without a name goes by its date."""
    try:
        return translator.day(date.fromisoformat(name))
    except ValueError:
        return name


def went_wrong(topic: TopicState, now: datetime) -> list[Reason]:
    """Say so where more of the last tasks went wrong than by bad luck."""
    wrong = wrong_lately(topic, now)
    return [Reason(ReasonKind.WENT_WRONG_LATELY, {"wrong": wrong[0], "tasks": wrong[1]})] if wrong else []


def not_practised(topic: TopicState, now: datetime) -> list[Reason]:
    """Say so where more than half of it is likely forgotten."""
    days = spacing.days_since(topic.recent, now)
    if days is None or days < 1 or spacing.due(days, spacing.strength(topic.recent)) < 0.5:
        return []
    return [Reason(ReasonKind.NOT_PRACTISED_FOR_DAYS, {"days": int(days)})]

"""Why something is suggested or planned, as a sentence in the reader's language."""

from datetime import date

from app.core.languages import Translator
from app.domain.reasons import Reason

SHARES = ("chance", "target", "chance_now", "chance_at_exam")


def sentence(reason: Reason, translator: Translator) -> str:
    """The sentence of the reason, with its values as the reader writes them."""
    values = {name: _shown(name, value, translator) for name, value in reason.values.items()}
    return translator(reason.kind.value, **values)


def _shown(name: str, value: str | float, translator: Translator) -> str:
    if name == "exam" and isinstance(value, str):
        return _exam(value, translator)
    if isinstance(value, str):
        return value
    if name in SHARES:
        return translator.percent(value)
    if name == "days":
        return translator.many("%(num)s day", "%(num)s days", int(value))
    if name == "topics":
        return translator.many("%(num)s topic", "%(num)s topics", int(value))
    return translator.number(value, 1)


def _exam(name: str, translator: Translator) -> str:
    """An exam without a name goes by its date."""
    try:
        return translator.day(date.fromisoformat(name))
    except ValueError:
        return name

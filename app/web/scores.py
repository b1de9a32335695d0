"""A version's scores in words: what each says, for people who have never heard its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

from app.core.languages import Translator

COIN = 0.693  # log-loss of always saying 50 %


@dataclass(frozen=True, slots=True)
class Score:
    """One of them."""

    name: str
    value: str
    meaning: str


def explained(translator: Translator, scores: Mapping[str, Any]) -> list[Score]:
    """Those that are there; a version that gave no usable answers has none."""
    called, said, error = names(translator), meanings(translator), scores.get("log_loss_standard_error")
    return [
        Score(called[name], shown(translator, name, scores[name], error if name == "log_loss" else None), said[name])
        for name in called
        if scores.get(name) is not None
    ]


def names(translator: Translator) -> dict[str, str]:
    """What the scores are called, by their names in a version's row."""
    return {
        "log_loss": translator("Log-loss"),
        "auc": translator("Told apart (AUC)"),
        "calibration_error": translator("Off the promise (calibration)"),
        "rmse_log_time": translator("Time, by factor"),
        "mae_seconds": translator("Time, in seconds"),
        "time_interval_coverage": translator("Times within bounds"),
    }


def meanings(translator: Translator) -> dict[str, str]:
    return {
        "log_loss": translator(
            "How surprising the results were after what had been promised: 0 would be knowing them all, 0.69 is tossing"
            " a coin. Less is better; what follows ± is how far chance may move it."
        ),
        "auc": translator(
            "Take a task that went right and one that went wrong: in so many of such pairs the right one had been given"
            " the higher chance. 50 % is guessing; more is better."
        ),
        "calibration_error": translator(
            "Of tasks with a promised chance of 0.70 a share of 0.70 should go right; so far it was off on the average."
            " 0 is best."
        ),
        "rmse_log_time": translator("A predicted time is typically too long or too short by this factor; 1 is exact."),
        "mae_seconds": translator("So far is a predicted time off on the average."),
        "time_interval_coverage": translator(
            "So many of the real times lay between the bounds that were given with the prediction; 80 % is meant."
        ),
    }


def shown(translator: Translator, name: str, value: float | None, error: float | None = None) -> str:
    """One score as a table has it, with its standard error where there is one."""
    if value is None:
        return "–"
    if name in ("auc", "time_interval_coverage"):
        return translator.percent(value)
    if name == "mae_seconds":
        return translator.seconds(value)
    if name == "rmse_log_time":
        return f"× {translator.number(exp(value), 2)}"
    return translator.number(value, 3) + ("" if error is None else f" ± {translator.number(error, 3)}")

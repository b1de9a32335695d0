"""What the pages call things, in the visitor's language; templates call these functions without the translator."""

from collections.abc import Mapping
from math import exp
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.core.languages import Translator
from app.crud.model_versions import Version
from app.crud.training_runs import Run
from app.domain.characters import UnfitCharacter
from app.domain.kinds import KINDS
from app.domain.tasks import Task
from app.schemas.comparison import KindQuality


def model_name(translator: Translator, kind: str | None) -> str:
    """Return what people call a kind of model, by its name in the registry or on a task."""
    names = {
        "embedding_v2": translator("the V2 network"),
        "embedding_lstm": translator("the LSTM network"),
        "embedding_attention": translator("the attention network"),
        "embedding_joint": translator("the joint network"),
        "lnirt": "LNIRT",
        "v1.0": "LNIRT",
        "prior": translator("the first guess"),
    }
    return names.get(kind or "prior", kind or "")


def role_name(translator: Translator, each: KindQuality) -> str:
    name = model_name(translator, each.kind)
    return translator("%(model)s (shadow)", model=name) if each.role == "shadow" else name


def step_name(translator: Translator, step: str) -> str:
    """Return a step of a training run, by its name in the run's row."""
    fits = {f"fit {kind}": translator("fitting %(model)s", model=model_name(translator, kind)) for kind in KINDS}
    names = {
        "read": translator("reading the finished tasks"),
        "judge": translator("judging the new versions on tasks they have not seen"),
        "publish": translator("publishing"),
        "fetch": translator("waiting for the models in service"),
        "store": translator("waiting for the store of the models"),
    }
    return (names | fits).get(step, translator("getting ready"))


def unfit_text(translator: Translator, error: ValidationError, otherwise: str) -> str:
    """Name the character that a text must not hold; where that is not what is wrong, say what is."""
    return next(filter(None, (_unfit(translator, each) for each in error.errors())), otherwise)


def wrong_fields(translator: Translator, error: ValidationError, said: Mapping[str, str]) -> dict[str, str]:
    """Say by field what is wrong; `said` has the sentences of what usually is."""
    return {
        field: _unfit(translator, each) or said.get(field, str(error))
        for each in error.errors()
        for field in [str(each["loc"][0])]
    }


def _unfit(translator: Translator, error: ErrorDetails) -> str | None:
    found = error.get("ctx", {}).get("error")
    if not isinstance(found, UnfitCharacter):
        return None
    return translator(
        "%(character)s must not be in it: nobody sees it, or it changes what is seen.", character=found.character
    )


def difficulty_name(translator: Translator, name: str) -> str:
    return {"easy": translator("easy"), "medium": translator("medium"), "hard": translator("hard")}[name]


def feature_name(translator: Translator, name: str) -> str:
    """Return one of the eleven features, as students understand it."""
    names = {
        "overall_success_rate": translator("Right, of all your tasks"),
        "overall_avg_time": translator("Time, of all your tasks"),
        "overall_task_count": translator("Tasks done"),
        "topic_success_rate": translator("Right, on this topic"),
        "topic_avg_time": translator("Time, on this topic"),
        "topic_task_count": translator("Tasks done on this topic"),
        "difficulty_success_rate": translator("Right, at this difficulty"),
        "difficulty_avg_time": translator("Time, at this difficulty"),
        "difficulty_task_count": translator("Tasks done at this difficulty"),
        "recent_success_rate": translator("Right, of your last five"),
        "recent_avg_time": translator("Time, of your last five"),
    }
    return names.get(name, name)


def feature_value(translator: Translator, name: str, value: float) -> str:
    """Return a feature's value as a share, seconds, or a number of tasks."""
    if name.endswith("_success_rate"):
        return translator.percent(value)
    return translator.seconds(value) if name.endswith("_avg_time") else translator.number(value)


def part_name(translator: Translator, part: str, task: Task) -> str:
    """Return one of the parts that LNIRT adds up."""
    difficulty = difficulty_name(translator, task.difficulty)
    return {
        "student": translator("Your ability and speed"),
        "topic": translator("The topic: %(name)s", name=task.topic),
        "difficulty": translator("The difficulty: %(name)s", name=difficulty),
        "exercise": translator("The exercise: %(name)s", name=task.item_id),
    }[part]


def state_of(translator: Translator, version: Version) -> tuple[str, str]:
    """Return a version's state in a word or two, and how it is coloured."""
    if version.state == "serving":
        return (translator("in service") if version.answers else translator("stands in")), "good"
    if version.pruned_at is not None:
        return translator("files deleted"), ""
    names = {
        "candidate": translator("undecided"),
        "retired": translator("retired"),
        "rejected": translator("not good enough"),
    }
    return names.get(version.state, version.state), ""


def outcome_of(translator: Translator, run: Run) -> tuple[str, str]:
    """Return a run's outcome in a word or two, and how it is coloured."""
    names = {
        "asked": (translator("waits"), ""),
        "running": (translator("at work"), ""),
        "published": (translator("in service"), "good"),
        "rejected": (translator("nothing better"), ""),
        "failed": (translator("failed"), "bad"),
        "interrupted": (translator("interrupted"), "warn"),
        "merged": (translator("merged into another"), ""),
    }
    return names.get(run.outcome, (run.outcome, ""))


def act_name(translator: Translator, act: str) -> str:
    """Return an act in the audit trail."""
    names = {
        "promoted": translator("promoted a version"),
        "rolled back": translator("rolled back"),
        "retired": translator("took a version out of service"),
        "training asked": translator("requested a training"),
        "trainings paused": translator("paused training"),
        "trainings resumed": translator("resumed training"),
        "admin created": translator("made somebody an admin"),
        "key created": translator("created a key"),
        "key rotated": translator("replaced a key"),
        "key revoked": translator("revoked a key"),
        "student erased": translator("erased a student"),
        "demonstration removed": translator("removed the made-up students"),
        "account disabled": translator("disabled an account"),
        "account enabled": translator("enabled an account"),
        "password link made": translator("made a link for a new password"),
        "topic renamed": translator("renamed a topic"),
        "topic merged": translator("merged a topic"),
        "topic approved": translator("approved a topic"),
        "topic hidden": translator("hid a topic"),
        "topic shown": translator("withdrew the decision on a topic"),
        "settings tuned": translator("tuned the settings"),
        "tuned settings forgotten": translator("put the settings back"),
    }
    return names.get(act, act)


def score_texts(translator: Translator) -> dict[str, tuple[str, str]]:
    """Return what the scores are called and what they mean, by their names in a version's row."""
    return {
        "log_loss": (
            translator("Log-loss"),
            translator(
                "How surprising the results were, given the predicted chances: 0 would be knowing them all, 0.69 is"
                " tossing a coin. Lower is better; ± is the standard error."
            ),
        ),
        "auc": (
            translator("AUC"),
            translator(
                "Of all pairs of a task that went right and one that went wrong, the share in which the right one had"
                " the higher predicted chance. 50% is guessing, 100% is perfect."
            ),
        ),
        "calibration_error": (
            translator("Calibration error"),
            translator(
                "How far predicted chances and results are apart on average: of tasks predicted at 0.70, a share of"
                " 0.70 should go right. 0 is best."
            ),
        ),
        "rmse_log_time": (
            translator("Time error, as a factor"),
            translator(
                "A predicted time is typically too long or too short by this factor: the RMSE of the logarithms, as a"
                " factor. 1 is exact."
            ),
        ),
        "mae_seconds": (
            translator("Time error (MAE)"),
            translator("How far a predicted time is off on average: the mean absolute error."),
        ),
        "time_interval_coverage": (
            translator("Interval coverage"),
            translator("The share of actual times that lay within the predicted interval, which is made to hold 80%."),
        ),
    }


def explained_scores(translator: Translator, scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of those that are there; a version that gave no usable answers has none."""
    error = scores.get("log_loss_standard_error")
    return [
        (called, score_value(translator, name, scores[name], error if name == "log_loss" else None), meaning)
        for name, (called, meaning) in score_texts(translator).items()
        if scores.get(name) is not None
    ]


def score_value(translator: Translator, name: str, value: float | None, error: float | None = None) -> str:
    """Return a score as a table has it, with its standard error where there is one."""
    if value is None:
        return "–"
    if name in ("auc", "time_interval_coverage"):
        return translator.percent(value)
    if name == "mae_seconds":
        return translator.seconds(value)
    if name == "rmse_log_time":
        return f"× {translator.number(exp(value), 2)}"
    return translator.number(value, 3) + ("" if error is None else f" ± {translator.number(error, 3)}")


FOR_TEMPLATES = (
    model_name, role_name, difficulty_name, feature_name, feature_value, part_name, state_of, outcome_of, act_name,
    score_texts, explained_scores, score_value,
)  # fmt: skip

"""Why no better model answered, in one word of a few: for counting. The task's `fallback_reason` has the sentence."""

from app.ml.serving.model_order import ModelOrder

NONE, NO_MODEL, DAMAGED, NOT_TRAINED, NOT_FINITE, FAILED = CAUSES = (
    "none",
    "no_model_yet",
    "files_damaged",
    "kind_not_trained",
    "not_finite",
    "model_failed",
)


def cause(model_order: ModelOrder, reason: str | None) -> str:
    """The gravest thing that the reason tells of."""
    if reason is None:
        return NONE
    if not (model_order.models or model_order.broken):
        return NO_MODEL
    if "gave no usable answer" in reason:
        return NOT_FINITE if "not finite" in reason else FAILED
    return DAMAGED if any(text in reason for text in model_order.broken.values()) else NOT_TRAINED

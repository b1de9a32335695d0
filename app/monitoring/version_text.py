"""What the API and the command line say of versions, and of a change of who serves."""

from collections.abc import Mapping

from app.crud.model_versions import Version
from app.ml.serving.model_order import ServingModels


def told(version: Version) -> Mapping[str, object]:
    """A version as the schemas have it."""
    kept = {name: getattr(version, name) for name in Version.__slots__}
    return kept | {"answers_first": version.answers}


def outcome(message: str, wanted: Version, serving: ServingModels) -> str:
    """What was done, and should another than the wanted version answer all the same, who and why."""
    now = serving.model_order.first
    if now is not None and now.version.id == wanted.id:
        return message
    why = " ".join(serving.problems) or "The setting MODEL asks for that kind."
    return f"{message} Yet {now or 'LNIRT fitted to the newest tasks'} answers: {why}"

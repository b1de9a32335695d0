"""The registry of models that serve, best first. Adding one is one file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.ml.answers import TaskModel


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model: its name in model_versions, its historic name on the tasks, and how a folder is loaded."""

    name: str
    on_tasks: str
    load: Callable[[Path], TaskModel]


def _embedding_v2(folder: Path) -> TaskModel:
    from app.ml.numpy_v2 import NumpyV2  # SciPy: not before it is needed

    return NumpyV2.load(folder)


def _lnirt(folder: Path) -> TaskModel:
    from app.ml.lnirt_service import ServedLnirt

    return ServedLnirt.load(folder)


KINDS: tuple[Kind, ...] = (Kind("embedding_v2", "embedding_v2", _embedding_v2), Kind("lnirt", "v1.0", _lnirt))

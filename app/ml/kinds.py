"""The registry of models that serve. Adding one is one file and one line here.

Their order decides ties: as long as no other is clearly better, the first of them answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml.answers import TaskModel

Progress = Callable[[dict[str, Any]], None]


class Fitted(Protocol):
    """A model fresh from its training."""

    @property
    def report(self) -> dict[str, Any]: ...

    def save(self, folder: Path) -> None:
        """Write all that serving needs; raises ValueError where what was written would not say the same."""
        ...

    def serving(self) -> TaskModel: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model: its name in model_versions, its historic name on the tasks, how it is fitted and loaded."""

    name: str
    on_tasks: str
    fit: Callable[[Attempts, Progress], Fitted]  # raises ValueError, saying why no model came out
    load: Callable[[Path], TaskModel]
    # A version as it was fitted, and what comes of it when it goes on with tasks of which (n,) are new to it. None: it
    # is always fitted from scratch.
    resume: Callable[[Path], Fitted] | None = None
    go_on: Callable[[Any, Attempts, NDArray[np.bool_], Progress], Fitted] | None = None


GOES_ON_FROM = "training.npz"  # the file of a version that a training can go on from


# SciPy and TensorFlow are imported when they are needed, not when the registry is: most web processes never train.
def _fit_v2(attempts: Attempts, progress: Progress) -> Fitted:
    from app.ml.training import fit_v2

    return fit_v2(attempts, progress=progress)


def _resume_v2(folder: Path) -> Fitted:
    from app.ml.fitted_v2 import FittedV2

    return FittedV2.load(folder)


def _go_on_v2(before: Any, attempts: Attempts, fresh: NDArray[np.bool_], progress: Progress) -> Fitted:
    from app.ml.training import go_on_v2

    return go_on_v2(before, attempts, fresh, progress=progress)


def _load_v2(folder: Path) -> TaskModel:
    from app.ml.numpy_v2 import NumpyV2

    return NumpyV2.load(folder)


def _fit_lstm(attempts: Attempts, progress: Progress) -> Fitted:
    from app.ml.lstm_training import fit_lstm

    return fit_lstm(attempts, progress=progress)


def _resume_lstm(folder: Path) -> Fitted:
    from app.ml.lstm_training import FittedLstm

    return FittedLstm.load(folder)


def _go_on_lstm(before: Any, attempts: Attempts, fresh: NDArray[np.bool_], progress: Progress) -> Fitted:
    from app.ml.lstm_training import go_on_lstm

    return go_on_lstm(before, attempts, fresh, progress=progress)


def _load_lstm(folder: Path) -> TaskModel:
    from app.ml.numpy_lstm import NumpyLstm

    return NumpyLstm.load(folder)


def _fit_lnirt(attempts: Attempts, progress: Progress) -> Fitted:
    from app.ml.lnirt_service import fit_lnirt

    return fit_lnirt(attempts)


def _load_lnirt(folder: Path) -> TaskModel:
    from app.ml.lnirt_service import ServedLnirt

    return ServedLnirt.load(folder)


KINDS: tuple[Kind, ...] = (
    Kind("embedding_v2", "embedding_v2", _fit_v2, _load_v2, _resume_v2, _go_on_v2),
    Kind("embedding_lstm", "embedding_lstm", _fit_lstm, _load_lstm, _resume_lstm, _go_on_lstm),
    Kind("lnirt", "v1.0", _fit_lnirt, _load_lnirt),
)
BY_NAME = {kind.name: kind for kind in KINDS}

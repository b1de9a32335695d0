"""The registry of models that serve: how each kind is fitted, saved, loaded and updated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.domain.kinds import NETWORKS
from app.ml.answers import TaskModel

if TYPE_CHECKING:
    from app.ml.networks.network import Network

Progress = Callable[[dict[str, Any]], object]  # a network stops early where it says something true


def within(progress: Progress | None, **facts: Any) -> Progress:
    """Tells of steps that are part of something larger, of which these are the facts."""
    return (lambda step: progress(facts | step)) if progress else (lambda step: None)


def describe(step: Mapping[str, Any]) -> str:
    """A step of a training in words."""
    if "epoch" not in step:
        return ": ".join(str(said) for said in (step.get("step", "training"), step.get("why")) if said)
    numbers = "  ".join(
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in step.items() if isinstance(value, float)
    )
    return f"{step.get('step', 'fit')}: epoch {step['epoch']} of {step.get('epochs', '?')}  {numbers}"


def print_progress(step: Mapping[str, Any]) -> None:
    """For consoles and notebooks."""
    print(describe(step), flush=True)


class Fitted(Protocol):
    """A model that a training made."""

    @property
    def report(self) -> dict[str, Any]: ...

    def save(self, folder: Path) -> None:
        """Write all that serving needs; raises ValueError where what was written would not say the same."""
        ...

    def served(self) -> TaskModel: ...


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A kind of model: its name in model_versions, its historic name on the tasks, how it is fitted and loaded."""

    name: str
    wire_name: str
    # (attempts, progress, settings, base); raises ValueError, saying why no model came out. `base` is the LNIRT that a
    # network corrects, fitted to the same attempts; none: it fits one itself. `past`: see app/ml/networks/fit.py
    fit: Callable[..., Fitted]
    load: Callable[[Path], TaskModel]
    # A version as it was fitted, and what comes of it when it goes on with tasks of which (n,) are new to it. None: it
    # is always fitted from scratch.
    load_checkpoint: Callable[[Path], Fitted] | None = None
    update: Callable[[Any, Attempts, NDArray[np.bool_], Progress, Any], Fitted] | None = None
    # What is evaluated is fitted on the older tasks. A kind whose fit is quick is fitted once more, on all of them,
    # before it serves: `finish` writes that into the version's folder, `load` reads it and `load_evaluated` the other.
    finish: Callable[[Attempts, Path], None] | None = None
    load_evaluated: Callable[[Path], TaskModel] | None = None


def network(name: str, settings: Mapping[str, Any] | None = None) -> "Network":
    """The network of this kind, tuned where settings say so."""
    module, _, cls = NETWORKS[name].partition(":")
    made: Network = getattr(import_module(module), cls)()
    return made.tuned(settings) if settings else made


# TensorFlow is imported when it is needed, not when the registry is: most web processes never train.
def _network(name: str) -> ModelSpec:
    def fit(
        attempts: Attempts, progress: Progress, settings: Mapping[str, Any] | None = None, base: Any = None, **more: Any
    ) -> Fitted:
        from app.ml.networks import fit

        fitted = fit.fit(network(name, settings), attempts, base, progress=progress, **more)
        return replace(fitted, report=fitted.report | {"settings": dict(settings)}) if settings else fitted

    def load(folder: Path) -> TaskModel:
        from app.ml.networks.inference import load_served

        return load_served(network(name), folder)

    def load_checkpoint(folder: Path) -> Fitted:
        from app.ml.networks.checkpoint import FittedNetwork

        return FittedNetwork.load(network(name), folder)

    def update(
        before: Any, attempts: Attempts, new_mask: NDArray[np.bool_], progress: Progress, base: Any = None
    ) -> Fitted:
        from app.ml.networks import fit

        return fit.update(before, attempts, new_mask, base, progress=progress)

    return ModelSpec(name, name, fit, load, load_checkpoint, update)


def _fit_lnirt(
    attempts: Attempts, progress: Progress, settings: Mapping[str, Any] | None = None, base: Any = None
) -> Fitted:
    from app.ml.lnirt.model import fit_lnirt

    return fit_lnirt(attempts)


def _load_lnirt(folder: Path) -> TaskModel:
    from app.ml.lnirt.model import METADATA_FILE, ON_ALL, ServedLnirt

    return ServedLnirt.load(folder, ON_ALL if (folder / f"{ON_ALL}{METADATA_FILE}").exists() else "")


def _load_evaluated_lnirt(folder: Path) -> TaskModel:
    from app.ml.lnirt.model import ServedLnirt

    return ServedLnirt.load(folder)


def _finish_lnirt(attempts: Attempts, folder: Path) -> None:
    from app.ml.lnirt.model import ON_ALL, fit_lnirt

    fit_lnirt(attempts).save(folder, ON_ALL)


MODELS: tuple[ModelSpec, ...] = (
    *map(_network, NETWORKS),
    ModelSpec("lnirt", "v1.0", _fit_lnirt, _load_lnirt, finish=_finish_lnirt, load_evaluated=_load_evaluated_lnirt),
)
BY_NAME = {spec.name: spec for spec in MODELS}

"""Failpoints at the steps of a training run, from asking for it to counting down what it took."""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

from faults.failpoints import Failpoints

MOST = 3  # of the calls of each: an epoch is like the other
STEPS = (
    ("app.crud.training_runs", "ask"),
    ("app.crud.training_runs", "take_turn"),
    ("app.crud.training_runs", "start"),
    ("app.ml.training.run", "full"),  # the snapshot
    ("app.ml.training.run", "subsampled"),
    ("app.ml.networks.fit", "network_inputs"),  # features and base
    ("app.ml.lnirt.model", "fit_lnirt"),
    ("app.ml.networks.fit", "fit"),
    ("app.ml.networks.fit", "update"),
    ("app.ml.networks.loop", "Loop.start"),
    ("app.ml.networks.loop", "Loop.load"),
    ("app.ml.networks.loop", "Loop.epoch"),
    ("app.ml.networks.loop", "Loop.scores"),
    ("app.ml.lnirt.model", "FittedLnirt.save"),
    ("app.ml.networks.checkpoint", "FittedNetwork.model"),
    ("app.ml.networks.checkpoint", "FittedNetwork.save"),
    ("app.ml.networks.checkpoint", "FittedNetwork.compare"),
    ("app.ml.networks.checkpoint", "FittedNetwork.load"),
    ("app.ml.lnirt.model", "ServedLnirt.load"),
    ("app.ml.networks.inference", "load_served"),
    ("app.ml.serving.artifacts", "hashes"),
    ("app.ml.serving.artifacts", "verify"),
    ("app.core.object_store", "ObjectStore.create"),
    ("app.core.object_store", "ObjectStore.read"),
    ("app.ml.training.gate", "HoldoutSet.evaluate"),
    ("app.ml.serving.artifacts", "settle"),
    ("app.ml.training.publication", "Publication.decide"),
    ("app.crud.model_versions", "add"),  # the version's row
    ("app.crud.serving_changes", "serve"),  # the pointer
    ("app.crud.model_tracker", "trained"),  # the counter
    ("app.crud.training_runs", "finish"),
    ("app.crud.training_runs", "writes"),  # which folders, before they are
    ("app.crud.training_runs", "left_behind"),
    ("app.crud.training_runs", "tidied"),
    ("app.crud.model_versions", "prune"),
)


def install(points: Failpoints) -> None:
    """From now on, and for good."""
    for module, name in STEPS:
        *owner, last = name.split(".")
        holder = import_module(module)
        for each in owner:
            holder = getattr(holder, each)
        found = vars(holder)[last]  # as it stands there: a class method is one still
        if isinstance(found, classmethod):
            setattr(holder, last, classmethod(_guarded(points, name, found.__func__)))
        else:
            setattr(holder, last, _guarded(points, name, found))


def _guarded(points: Failpoints, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def guarded(*values: Any, **options: Any) -> Any:
        if points.strikes("training", name, MOST):
            points.fail()
        return call(*values, **options)

    return guarded

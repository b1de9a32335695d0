"""The settings of a network that may be tuned: which there are, and what they may be in this code."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.domain.kinds import NETWORKS
from app.ml import registry

if TYPE_CHECKING:
    from app.ml.networks.network import Network


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a value, or of each value of a tuple."""

    least: float
    most: float
    whole: bool = False


LIMITS = {
    "units": Limits(1, 4096, whole=True),  # of each layer
    "dropouts": Limits(0, 0.95),  # share left out behind a layer
    "vector": Limits(0.1, 100),  # a vector's length, in fourth roots of the number of ids
    "rate": Limits(1e-7, 1),  # learning rate at its highest
    "decay": Limits(0, 100),  # share given back at each step, times rate
    "epochs": Limits(1, 10_000, whole=True),  # the least and the most
    "id_dropout": Limits(0, 1),  # chance that a student, topic, difficulty, item is shown as unknown
}


def default(network: "Network", name: str) -> Any:
    """The value that a network's field, or its schedule's, has without tuning."""
    return getattr(network if hasattr(network, name) else network.schedule, name)


def checked(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings read from JSON, as `registry.network` takes them; ValueError where they don't fit this code."""
    if kind not in NETWORKS:
        raise ValueError(f"{kind!r} is no network; there are {', '.join(NETWORKS)}")
    if not isinstance(settings, Mapping):
        raise ValueError("the settings are no JSON object")
    usual = registry.network(kind)
    return {name: _checked(usual, name, value) for name, value in settings.items()}


def _checked(usual: "Network", name: str, value: Any) -> Any:
    if name not in LIMITS:
        raise ValueError(f"{name!r} can't be set; there are {', '.join(LIMITS)}")
    like, limits = default(usual, name), LIMITS[name]
    several = isinstance(like, tuple)
    if several and not (isinstance(value, list | tuple) and len(value) == len(like)):
        raise ValueError(f"{name} is {value!r}; it has {len(like)} values")
    values = tuple(_number(name, each, limits) for each in (value if several else [value]))
    if name == "epochs" and values[0] > values[1]:
        raise ValueError(f"epochs is {value!r}; the least comes first")
    return values if several else values[0]


def _number(name: str, value: Any, limits: Limits) -> float:
    is_number = isinstance(value, int if limits.whole else int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and limits.least <= value <= limits.most):
        kind = "a whole number" if limits.whole else "a number"
        raise ValueError(f"{name} holds {value!r}; it must be {kind} from {limits.least:g} to {limits.most:g}")
    return int(value) if limits.whole else float(value)

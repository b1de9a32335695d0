"""V2 with weights drawn at random: as large as a trained one, and as slow, without a training."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from app.domain.attempts import DIFFICULTIES
from app.ml.inputs import INPUTS
from app.ml.numpy_v2 import KIND, METADATA_FILE, WEIGHTS_FILE, NumpyV2, Weights

TOPICS = tuple(f"topic {number}" for number in range(30))
ITEMS = tuple(f"item {number}" for number in range(300))
LAYERS = ((len(INPUTS), 128), (128, 64), (64, 32), (32, 16), (16, 1))


def students(n: int) -> list[str]:
    return [str(UUID(int=number + 1)) for number in range(n)]


def weights(n_students: int) -> Weights:
    random = np.random.default_rng(1)
    ones, arrays = np.ones(len(INPUTS)), dict[str, Any]()
    named = {"student": n_students, "topic": len(TOPICS), "difficulty": len(DIFFICULTIES), "item": len(ITEMS)}
    for name, n in named.items():
        arrays[name] = random.normal(0, 0.1, (2, n + 1, 128)).astype(np.float32)
    for number, (n, units) in enumerate(LAYERS, start=1):
        arrays[f"kernel_{number}"] = random.normal(0, n**-0.5, (2, n, units)).astype(np.float32)
        arrays[f"bias_{number}"] = np.zeros((2, 1, units), np.float32)
    return Weights(low=0 * ones, high=5 * ones, units=ones, factors=ones, seconds=np.array(60.0), **arrays)


def metadata(n_students: int) -> dict[str, Any]:
    bounds = {"at": [-2.0, 0.0, 2.0], "p_low": [-0.5] * 3, "p_high": [0.5] * 3}
    names = {"students": students(n_students), "topics": TOPICS, "difficulties": DIFFICULTIES, "items": ITEMS}
    return {"kind": KIND, "inputs": INPUTS, "calibration": bounds, "average": [0.5] * len(INPUTS), **names}


def save(folder: Path, n_students: int = 1000) -> None:
    """The files that serving reads."""
    folder.mkdir(parents=True, exist_ok=True)
    weights(n_students).save(folder / WEIGHTS_FILE)
    (folder / METADATA_FILE).write_text(json.dumps(metadata(n_students)))


def model(n_students: int = 1000) -> NumpyV2:
    return NumpyV2(weights(n_students), metadata(n_students))

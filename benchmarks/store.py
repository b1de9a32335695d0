"""What a store costs: a version is published by one machine, fetched by another one, and looked at by a third.

    python -m benchmarks.store [--url s3://bucket/path] [--megabytes 1.6 80]

Without a URL the store is a folder. Files as V2 has them, of random bytes: five, the largest with half of them.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from app.ml.serving import artifacts
from app.ml.serving.version_store import VersionStore

SHARES = {"checkpoint.npz": 0.43, "correctness_model.keras": 0.23, "time_model.keras": 0.23, "weights.npz": 0.11}
ROUNDS = 5


@dataclass(frozen=True)
class Version:
    folder: str
    files: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a store that is there; what is written is deleted again")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1.6, 80.0])
    given = parser.parse_args()
    for megabytes in given.megabytes:
        with TemporaryDirectory() as name:
            folder = Path(name)
            url = given.url or (folder / "store").as_uri()
            seconds = [measured(folder, url, megabytes, round_) for round_ in range(ROUNDS)]
        of = (
            f"{what} {1000 * statistics.median(each):,.0f}"
            for what, each in zip(STEPS, zip(*seconds, strict=True), strict=True)
        )
        Console(soft_wrap=True).print(f"{megabytes:g} MB: ms to {', '.join(of)}", highlight=False)


STEPS = ("publish", "fetch and check", "check what is here", "delete")


def measured(folder: Path, url: str, megabytes: float, round_: int) -> tuple[float, ...]:
    """Seconds of each step."""
    trainer, web = (VersionStore(folder / f"{name}{round_}", url) for name in ("trainer", "web"))
    trainer.begin()
    place = trainer.model_dir / "versions" / f"v-{round_}-{os.getpid()}"
    place.mkdir(parents=True)
    for name, share in {**SHARES, "metadata.json": 0.0}.items():
        (place / name).write_bytes(os.urandom(int(megabytes * 1e6 * share)))
    version = Version(artifacts.place(place.name), artifacts.hashes(place))
    steps: tuple[Callable[[], object], ...] = (
        lambda: trainer.publish(place, version.folder),
        lambda: web.fetched(version),
        lambda: web.fetched(version),
        lambda: trainer.remove(version.folder),
    )
    return tuple(timed(step) for step in steps)


def timed(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

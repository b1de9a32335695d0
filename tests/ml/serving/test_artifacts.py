import os
import time
from pathlib import Path

import pytest

from app.ml.serving import artifacts


def published(model_dir: Path, name: str = "v-1") -> tuple[Path, dict[str, str]]:
    with artifacts.staged(model_dir, artifacts.staging_place()) as staging:
        made = staging / "kind"
        made.mkdir()
        for file in artifacts.SHOWN:
            (made / file).write_text(f"{name} {file}")
        files = artifacts.hashes(made)
        folder = artifacts.settle(made, model_dir, artifacts.place(name))
    return model_dir / folder, files


def test_a_version_is_there_whole_and_shown_under_the_well_known_names(tmp_path: Path) -> None:
    folder, files = published(tmp_path)
    artifacts.verify(folder, files)
    for name in ("v-1", "v-2"):
        if name == "v-2":
            published(tmp_path, name)
        artifacts.show(tmp_path, f"versions/{name}")
        assert (tmp_path / "metadata.json").read_text() == f"{name} metadata.json"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*artifacts.SHOWN, "versions"])


@pytest.mark.parametrize("damage", ["gone", "truncated", "flipped", "swapped"])
def test_files_that_are_not_the_published_ones_are_refused_by_name(tmp_path: Path, damage: str) -> None:
    folder, files = published(tmp_path)
    file = folder / "time_model.keras"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        other = {"truncated": content[:-1], "flipped": bytes([content[0] ^ 1]) + content[1:], "swapped": b"other"}
        file.write_bytes(other[damage])
    with pytest.raises(artifacts.DamagedFiles, match=r"time_model\.keras"):
        artifacts.verify(folder, files)


def test_what_a_run_does_not_finish_is_removed(tmp_path: Path) -> None:
    def fails() -> None:
        with artifacts.staged(tmp_path, artifacts.staging_place()) as staging:
            (staging / "half").write_text("a")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011  # ours, from two lines above
        fails()
    assert list((tmp_path / "versions").iterdir()) == []


def test_what_a_killed_run_left_is_swept_by_a_later_one(tmp_path: Path) -> None:
    left = [tmp_path / "versions" / f".staging-{name}" for name in ("old", "young")]
    for folder in left:
        (folder / "kind").mkdir(parents=True)
    long_ago = time.time() - 2 * artifacts.ABANDONED_SECONDS
    os.utime(left[0], (long_ago, long_ago))
    published(tmp_path)
    assert [folder.exists() for folder in left] == [False, True]

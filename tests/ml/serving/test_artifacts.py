import os
import time
from collections.abc import Iterator
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


def test_what_a_killed_backup_held_is_swept_by_a_later_run(tmp_path: Path) -> None:
    """Versions that may know a student who was erased since: no later backup need be made on this machine."""
    left = [tmp_path / f".backup-{name}" for name in ("old", "young")]
    for folder in left:
        (folder / "versions" / "v-0").mkdir(parents=True)
    long_ago = time.time() - 2 * artifacts.ABANDONED_SECONDS
    os.utime(left[0], (long_ago, long_ago))
    published(tmp_path)
    assert [folder.exists() for folder in left] == [False, True]


def modes(model_dir: Path) -> dict[str, int]:
    """Of everything in MODEL_DIR that is no link, what its owner and others may do with it."""
    found = [model_dir, *model_dir.rglob("*")]
    return {str(file): file.lstat().st_mode & 0o777 for file in found if not file.is_symlink()}


def private(model_dir: Path) -> bool:
    return all(mode == (0o700 if Path(file).is_dir() else 0o600) for file, mode in modes(model_dir).items())


@pytest.fixture
def careless() -> Iterator[None]:
    """A umask that lets everybody read and write what is made."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_nobody_else_can_read_a_version_whatever_the_umask(tmp_path: Path, careless: None) -> None:
    model_dir = tmp_path / "models"
    with artifacts.staged(model_dir, artifacts.staging_place()) as staging:
        assert private(model_dir)
        (staging / "kind").mkdir()
        (staging / "kind" / "metadata.json").write_text("{}")
        artifacts.settle(staging / "kind", model_dir, artifacts.place("v-1"))
    artifacts.show(model_dir, "versions/v-1")
    assert len(modes(model_dir)) == 4
    assert private(model_dir)
    assert (model_dir / "metadata.json").read_text() == "{}"


def test_versions_of_earlier_releases_are_closed_at_the_start(tmp_path: Path, careless: None) -> None:
    model_dir = tmp_path / "models"
    (model_dir / "versions" / "v-1").mkdir(parents=True)
    for file in ("versions/v-1/lnirt.json", "metadata.json"):
        (model_dir / file).write_text("{}")
    (elsewhere := tmp_path / "elsewhere").write_text("not ours")
    (model_dir / "versions" / "v-1" / "link").symlink_to(elsewhere)
    artifacts.keep_private(model_dir)
    assert private(model_dir)
    assert elsewhere.stat().st_mode & 0o777 == 0o666


def test_a_folder_with_other_things_in_it_stays_open_to_those_who_use_them(tmp_path: Path, careless: None) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "data").mkdir()
    artifacts.keep_private(tmp_path)
    assert modes(tmp_path / "data")[str(tmp_path / "data")] == 0o777
    assert modes(tmp_path)[str(tmp_path / "versions")] == 0o700

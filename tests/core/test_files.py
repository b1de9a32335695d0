"""Files that hold what students did are their owner's only."""

import os
from pathlib import Path

import pytest

from app.core.files import close_folder, open_private
from app.core.settings import _kept_secret


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_an_export_is_its_owners_only_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    (tmp_path / "old").write_text("open to all")
    (tmp_path / "old").chmod(0o666)
    before = os.umask(umask)
    try:
        for name in ("old", "new"):
            with open_private(tmp_path / name) as file:
                file.write("a\r\n")
        _kept_secret(tmp_path / "data" / "secret_key")
    finally:
        os.umask(before)
    for name in ("old", "new", "data/secret_key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "old").read_bytes() == b"a\r\n"


def test_a_folder_of_an_older_version_is_closed_and_one_that_all_share_stays(tmp_path: Path) -> None:
    for name, before, after in (("data", 0o777, 0o711), ("shared", 0o1777, 0o1777)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "secret_key").write_text("x")
        (folder / "secret_key").chmod(0o644)
        folder.chmod(before)
        close_folder(folder, "secret_key", "not there")
        assert folder.stat().st_mode & 0o7777 == after
        assert (folder / "secret_key").stat().st_mode & 0o777 == 0o600

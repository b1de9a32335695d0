"""Failpoints at the file calls below one folder: those that open, write, close, flush, move, link and remove."""

import builtins
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.failpoints import Failpoints

CALLS = ("mkdir", "rename", "replace", "symlink", "unlink")  # of `os`; the last path that they are given counts
WRITES = frozenset("wax+")


def install(points: Failpoints, folder: Path) -> None:
    """From now on, and for good: the process that is to meet a fault does nothing else afterwards."""
    for name in CALLS:
        setattr(os, name, _guarded(points, folder, name, getattr(os, name)))
    os.fsync = _fsync(points, folder, os.fsync)  # type: ignore[assignment]
    shutil.rmtree = _rmtree(points, folder, shutil.rmtree)  # type: ignore[assignment]
    builtins.open = io.open = _open(points, folder, io.open)


def _below(folder: Path, path: Any) -> bool:
    return isinstance(path, str | os.PathLike) and folder in Path(os.path.abspath(os.fspath(path))).parents  # noqa: PTH100


def _guarded(points: Failpoints, folder: Path, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*paths: Any, **options: Any) -> Any:
        where = [path for path in paths if _below(folder, path)]
        if where and points.strikes("file", f"{name} {Path(where[-1]).name}"):
            points.fail(where[-1])
        return call(*paths, **options)

    return guarded


def _fsync(points: Failpoints, folder: Path, call: Callable[[int], None]) -> Callable[[Any], None]:
    def fsync(file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 — not ours to follow
        if _below(folder, path) and points.strikes("file", f"fsync {Path(path).name}"):
            points.fail(path)
        call(descriptor)

    return fsync


def _rmtree(points: Failpoints, folder: Path, call: Callable[..., None]) -> Callable[..., None]:
    """Killed, it has removed one file; told to ignore errors, it leaves the folder as it is."""

    def rmtree(path: Any, ignore_errors: bool = False, **options: Any) -> None:
        if _below(folder, path) and points.strikes("file", f"rmtree {Path(path).name}"):
            first = next((file for file in Path(path).glob("*") if file.is_file()), None) if points.kills else None
            if first:
                first.unlink()
            if points.kills or not ignore_errors:
                points.fail(path)
            return
        call(path, ignore_errors, **options)

    return rmtree


def _open(points: Failpoints, folder: Path, call: Callable[..., Any]) -> Callable[..., Any]:
    def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not _below(folder, file):
            return call(file, mode, *rest, **options)
        name, writes = Path(file).name, bool(WRITES & set(mode))
        if points.strikes("file", f"open {name} to {'write' if writes else 'read'}"):
            points.fail(file)
        made = call(file, mode, *rest, **options)
        return _Written(points, made, Path(file)) if writes else made

    return opened


class _Written:
    """A file that is written: half of its first piece may be all that gets there, and closing it may fail."""

    def __init__(self, points: Failpoints, file: Any, path: Path) -> None:
        self._points, self._file, self._path = points, file, path
        self._begun = self._closed = False

    def write(self, data: Any) -> Any:
        if not self._begun:
            self._begun = True
            if self._points.strikes("file", f"write {self._path.name}"):
                self._file.write(data[: len(data) // 2])
                self._file.flush()
                self._points.fail(self._path)
        return self._file.write(data)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            strikes = self._points.strikes("file", f"close {self._path.name}")
            if not (strikes and self._points.kills):  # killed, what is buffered is lost
                self._file.close()
            if strikes:
                self._points.fail(self._path)

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

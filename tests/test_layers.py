"""Packages import only to their left."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parents[1] / "app"
ORDER = ("domain", "core", "models", "schemas", "crud", "ml", "routers", "web", "top")
FILES = sorted(APP.rglob("*.py"))


def layer(parts: tuple[str, ...]) -> int:
    return ORDER.index(parts[0] if len(parts) > 1 and parts[0] in ORDER else "top")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(APP)))
def test_imports_only_to_the_left(file: Path) -> None:
    here = layer(file.relative_to(APP).parts)
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            if module.startswith("app."):
                there = layer((*module.split(".")[1:], ""))
                assert there <= here, f"{file.relative_to(APP)} imports {module}"

"""Every picture that the documents show is there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_every_picture_is_there(document: Path) -> None:
    for shown in re.findall(r"!\[[^]]+\]\(([^)]+)\)", document.read_text()):
        assert (document.parent / shown).is_file(), shown

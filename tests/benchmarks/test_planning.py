"""The comparison of ways to prepare comes to a table; what stands in it is not asked here."""

import re

import pytest

from benchmarks import planning
from benchmarks.learners import WORLDS


@pytest.mark.slow
def test_every_world_gets_a_line_with_every_way_to_prepare(capsys: pytest.CaptureFixture[str]) -> None:
    planning.main(["--short"])
    said = capsys.readouterr().out
    head, _, *rows = [line.split("|")[1:-1] for line in said.splitlines() if line.startswith("|")]
    assert [name.strip() for name in head[2:-1]] == list(planning.STRATEGIES)
    assert [row[0].strip() for row in rows] == [world.name for world in WORLDS]
    for row in rows:
        assert len(row) == len(head)
        for cell in row[1:]:
            assert re.match(r" 0\.\d{3}( \([+-]0\.\d{3} \+- 0\.\d{3}\))? $", cell)


def test_one_world_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    planning.main(["--short", "--world", "ceiling"])
    assert capsys.readouterr().out.count("towards a ceiling") == 1

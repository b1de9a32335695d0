"""The benchmark comes to a table, figures and pictures; how fast anything is, is not asked here."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmark
from benchmarks import growth, plots, table
from benchmarks.clients import Answered
from benchmarks.findings import OURS, PHASE, Curve, Found, Results, Row, Target, facts
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage

TINY = Sizes(
    students=4,
    tasks_each=5,
    trained=False,
    rounds=1,
    seconds=0.3,
    long_past=60,
    documents_pasts=(10,),
    asked=5,
    bulk=200,
    features=200,
)


def row(part: str = "post", reached: float = 0.6, sign: str = ">=") -> Row:
    target = Target(sign, 0.5, "of raw", reached)  # type: ignore[arg-type]
    return Row(part, f"{part} of tasks", "requests/s", {OURS: 600.0, "raw asyncpg": 1000.0}, target, "a note")


def results(*rows: Row, failed: dict[str, str] | None = None) -> Results:
    curves = [
        Curve("run (s)", OURS, "finished tasks", [100, 10_000], [1.0, 3.0]),
        Curve("p99 (ms)", "idle", PHASE, [1, 2], [5.0, 6.0]),
    ]
    return Results(list(rows), curves, failed or {}, facts(False, 3, {"post": 1.0}))


@pytest.mark.slow
def test_the_parts_that_train_nothing_run_and_leave_table_figures_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--only", "post,patch,history,bulk", "--json", str(tmp_path / "tiny.json"), "--plots", str(tmp_path)]
    assert benchmark.main(asked, TINY) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    kept = Results.load(tmp_path / "tiny.json")
    assert {row.part for row in kept.rows} == {"post", "patch", "history", "bulk"}
    assert all(row.what in said or row.target is None for row in kept.rows)
    assert all(figure > 0 for row in kept.rows for figure in row.figures.values() if "failed" not in row.what)
    counted = next(row for row in kept.rows if "concurrent" in row.what)
    assert counted.target
    assert counted.target.met
    assert {path.name for path in tmp_path.glob("*.svg")} == {f"tiny-{w}.svg" for w in ("targets", "ways", "curves")}


def test_a_part_that_fails_is_told_and_loses_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(stage: Stage) -> Found:
        raise RuntimeError("the disk is full")

    monkeypatch.setitem(benchmark.PARTS, "post", (fails, ""))
    monkeypatch.setitem(benchmark.PARTS, "train", (lambda stage: Found([row("train")]), ""))
    asked = ["--only", "post,train", "--json", str(tmp_path / "some.json"), "--plots", str(tmp_path)]
    assert benchmark.main(asked, TINY) == 1
    assert "post failed: RuntimeError: the disk is full" in capsys.readouterr().out
    kept = Results.load(tmp_path / "some.json")
    assert [row.part for row in kept.rows] == ["train"]
    assert list(kept.failed) == ["post"]


def test_a_part_that_stops_on_its_way_keeps_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(stage: Stage) -> Iterator[growth.Point]:
        yield growth.Point(100, 9e3, 2.0, 1.0, "published", 3.0, 90.0, 400.0)
        raise MemoryError("too many tasks")

    monkeypatch.setattr(growth, "_measured", measured)
    asked = ["--only", "growth", "--json", str(tmp_path / "some.json"), "--plots", str(tmp_path)]
    assert benchmark.main(asked, TINY) == 1
    assert "growth failed: stopped after 100 tasks, MemoryError: too many tasks" in capsys.readouterr().out
    assert Results.load(tmp_path / "some.json").rows[0].figures == {OURS: 1.0}


def test_help_says_what_each_part_measures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        benchmark.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in benchmark.PARTS)


def test_an_unknown_part_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["--only", "post,speed"])
    assert "there is no part 'speed'" in capsys.readouterr().err


def test_the_markdown_table_names_figures_targets_and_what_failed(tmp_path: Path) -> None:
    results(row(), row("patch", 0.4), failed={"bulk": "no room"}).save(tmp_path / "r.json")
    command = [sys.executable, "-m", "benchmarks.table", str(tmp_path / "r.json")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| post of tasks | 600 requests/s | raw asyncpg 1,000 | >= 0.5 of raw | 0.6 | met |" in said
    assert "| 0.4 | MISSED |" in said
    assert "| bulk | failed: no room |" in said
    assert "1 of 2 targets met" in said


def test_a_figure_that_is_no_number_misses_its_target_and_is_valid_json(tmp_path: Path) -> None:
    results(row(reached=float("nan"))).save(tmp_path / "r.json")
    json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    kept = Results.load(tmp_path / "r.json").rows[0]
    assert kept.target
    assert not kept.target.met
    assert table.cells(kept)[4:] == ("-", "MISSED")


@pytest.mark.parametrize(("sign", "reached", "met"), [(">=", 0.5, True), ("<", 0.5, False), ("=", 0.4, False)])
def test_targets_are_met_on_their_side(sign: str, reached: float, met: bool) -> None:
    target = row(reached=reached, sign=sign).target
    assert target
    assert target.met is met


def test_the_pictures_name_what_they_show(tmp_path: Path) -> None:
    made = plots.save(results(row(), row("patch", 0.4)), tmp_path)
    assert [path.name for path in made] == ["latest-targets.svg", "latest-ways.svg", "latest-curves.svg"]
    assert all(path.read_text().startswith("<?xml") for path in made)
    assert plots.save(Results([], [], {}, {}), tmp_path / "none") == []


def test_what_is_not_answered_well_counts_as_failed() -> None:
    answered = Answered(2.0, [1.0, 2.0, 3.0, 4.0], {"201": 2, "503": 1, "lost": 1}, [])
    assert (answered.failed, answered.per_second, answered.median) == (2, 2.0, 2.5)

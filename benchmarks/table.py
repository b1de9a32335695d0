"""The table of a run, for the terminal and for README and docs.

python -m benchmarks.table results.json       prints it as Markdown
"""

import argparse
from pathlib import Path

from rich.table import Table

from benchmarks.findings import OURS, Results, Row

COLUMNS = ("measured", "ours", "beside it", "target", "reached", "")


def number(value: float) -> str:
    """Three digits."""
    if value != value:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cells(row: Row, between: str = "; ") -> tuple[str, ...]:
    """Of one line, as in COLUMNS; `between` parts the other ways."""
    unit = f" {row.unit}" if row.unit else ""
    ours = f"{number(row.figures[OURS])}{unit}" if OURS in row.figures else ""
    beside = between.join(f"{way} {number(figure)}" for way, figure in row.figures.items() if way != OURS)
    if row.target is None:
        return row.what, ours, beside, "", "", ""
    return row.what, ours, beside, str(row.target), number(row.target.reached), "met" if row.target.met else "MISSED"


def for_terminal(results: Results) -> Table:
    shown = Table(*COLUMNS, title="SmartStudy, measured side by side: medians")
    part = None
    for row in results.rows:
        if part not in (None, row.part):
            shown.add_section()
        part = row.part
        style = "red" if row.target and not row.target.met else None
        shown.add_row(*cells(row, "\n"), style=style)
    return shown


def as_markdown(results: Results) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in results.rows]
    lines += [f"| {part} | failed: {why} | | | | |" for part, why in results.failed.items()]
    notes = [f"* {row.what}: {row.note}." for row in results.rows if row.note]
    return "\n".join([*lines, "", *notes, "", told(results)])


def told(results: Results) -> str:
    """When and where, and what became of the targets."""
    targets = [row.target for row in results.rows if row.target]
    facts = results.facts
    where = f"{facts['cores']} cores ({facts['machine']}), Python {facts['python']}, in {facts['seconds']} s"
    reached = f"{sum(target.met for target in targets)} of {len(targets)} targets met"
    return f"Measured {facts['at']} on {where}, {'full' if facts['full'] else 'short'}: {reached}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what `python -m benchmarks --json` wrote")
    print(as_markdown(Results.load(parser.parse_args().results)))


if __name__ == "__main__":
    main()

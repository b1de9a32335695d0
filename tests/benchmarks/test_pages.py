"""The pages are measured; how fast they are is not asked here."""

import re

import pytest

from benchmarks import pages


@pytest.mark.slow
def test_each_page_of_each_account_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    pages.main(["/dashboard", "/dashboard/analytics", "--tasks", "40", "--times", "1", "--untrained"])
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "/dashboard" in line]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [
        (account, path) for account in ("60 days", "2 years") for path in ("/dashboard", "/dashboard/analytics")
    ]
    for row in rows:
        median, first, size, load = (float(re.sub(",", "", cell)) for cell in row[2:])
        assert min(median, first) > 0
        assert load > size / 1000 > 5  # style sheet, script and icon come on top


@pytest.mark.slow
def test_what_is_no_page_stops_the_measurement() -> None:
    with pytest.raises(RuntimeError, match="/dashboard/nothing was answered 404"):
        pages.main(["/dashboard/nothing", "--tasks", "10", "--times", "1", "--untrained"])

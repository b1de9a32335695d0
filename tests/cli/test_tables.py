"""Tables in the terminal."""

from rich.console import Console

from app.cli.tables import table


def shown(width: int) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table(["name", "why"], ["log-loss"], [("[bold]a[/bold]", "so " * 30, "0.5")], title="All"))
    return capture.get()


def test_what_stands_in_a_cell_is_shown_as_it_is() -> None:
    assert "[bold]a[/bold]" in shown(120)


def test_numbers_stay_whole_where_words_have_to_be_folded() -> None:
    lines = shown(40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert any(line.rstrip().endswith(" 0.5") for line in lines)

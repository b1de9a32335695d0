"""The reference says what the code says; `python -m tests.test_docs_reference` writes its generated parts anew."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic_core import PydanticUndefined
from sqlalchemy.dialects import postgresql

from app import models
from app.cli.main import app as cli
from app.core.settings import Settings
from app.domain.errors import AppError
from app.main import create_app
from app.schemas.problem import MEANINGS
from tests.routers import test_access as access

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WHO = [
    (access.OPEN, "anybody"),
    (access.SIGNED_IN, "students and service keys"),
    (access.OWNER, "its student, service keys"),
    (access.OWN_ACCOUNT, "the student whose it is"),
    (access.STUDENTS, "students"),
    (access.KEYS, "service keys"),
    (access.ADMINS, "admins"),
    (access.ADMINS_AND_KEYS, "admins and service keys"),
]
VALUES = {"int": "N", "float": "NUMBER", "Path": "PATH", "str": "TEXT", "list[str]": "TEXT"}
PLACES = {"data_dir", "model_dir"}  # their defaults depend on the machine; the page says how


def commands() -> Iterator[tuple[str, Any]]:
    """Every command, as it is typed, and what it takes."""
    group: Any = typer.main.get_command(cli)
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        if below:
            yield from ((f"{name} {each}", below[each]) for each in below)
        else:
            yield name, command


def command_line() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name, command in commands():
        parameters = [each for each in command.params if each.name != "help"]
        usage = " ".join(["smartstudy", name, *(_placeholder(p) for p in parameters if _is_argument(p))])
        options = "" if all(_is_argument(each) for each in parameters) else " [OPTIONS]"
        parts += [f"## `{name}`", f"```text\n{usage}{options}\n```", command.help]
        rows = [f"| {_named(each)} | {_meaning(each)} |" for each in parameters if each.help]
        if rows:
            parts.append("\n".join(["| to give | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _placeholder(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _named(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_placeholder(parameter)}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.is_flag else f"{names} `{parameter.metavar or VALUES[parameter.bare_type()]}`"


def _meaning(parameter: Any) -> str:
    if _is_argument(parameter) or parameter.is_flag or parameter.default is None:
        return str(parameter.help)
    return f"{parameter.help} Default: `{parameter.default}`."


def routes() -> str:
    """Every route of the OpenAPI document, by its group."""
    groups: dict[str, list[str]] = {}
    for path, operations in create_app().openapi()["paths"].items():
        for method, operation in operations.items():
            said = _first_sentence(operation.get("description", operation["summary"]))
            answers = ", ".join(sorted(operation["responses"]))
            route = f"{method.upper()} {path}"
            whom = next(words for rule, words in WHO if rule == access.RULES[route].whom)
            row = f"| `{route}` | {said} | {whom} | {answers} |"
            groups.setdefault(operation["tags"][0], []).append(row)
    head = ["| route | what it does | for | answers |", "|---|---|---|---|"]
    return "\n\n".join(f"### {group}\n\n" + "\n".join([*head, *rows]) for group, rows in groups.items()) + "\n"


def _first_sentence(description: str) -> str:
    paragraph = " ".join(description.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0]


def problems() -> str:
    """Every status of a problem, and every error that has a sentence of its own."""
    statuses = [f"| {status} | {meaning} |" for status, meaning in sorted(MEANINGS.items())]
    ours = sorted(AppError.__subclasses__(), key=lambda error: (error.status, error.__name__))
    named = [f"| {e.status} | `{e.__name__}` | {' '.join((e.__doc__ or '').split())} |" for e in ours]
    lines = ["| status | meaning |", "|---|---|", *statuses, ""]
    lines += ["The errors of the service's own, by their class in Python:", ""]
    lines += ["| status | class | what it usually says |", "|---|---|---|", *named]
    return "\n".join(lines) + "\n"


def decisions() -> str:
    """Every decision record, by its heading."""
    lines = []
    for file in sorted((DOCS / "decisions").glob("0*.md")):
        number, title = re.fullmatch(r"# 0*(\d+)\.? (.+)", file.read_text().splitlines()[0]).groups()  # type: ignore[union-attr]
        lines.append(f"{number}. [{title}]({file.name})")
    return "\n".join(lines) + "\n"


GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("reference/command-line.md", "generated"): command_line,
    ("reference/http-api.md", "generated"): routes,
    ("reference/http-api.md", "generated problems"): problems,
    ("decisions/index.md", "generated"): decisions,
}


def written(page: str, part: str, generated: str) -> tuple[str, str]:
    """The page as it is, and as it should be."""
    text = (DOCS / page).read_text()
    begin, end = f"<!-- {part}: python -m tests.test_docs_reference -->\n", f"<!-- end of {part} -->"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return text, f"{before}{begin}\n{generated}\n{end}{after}"


@pytest.mark.parametrize(("page", "part"), GENERATED, ids=lambda name: name.replace(" ", "-"))
def test_generated_parts_are_up_to_date(page: str, part: str) -> None:
    is_so, should_be = written(page, part, GENERATED[page, part]())
    assert is_so == should_be, "python -m tests.test_docs_reference writes it anew"


def tables_of(page: str) -> dict[str, list[list[str]]]:
    """Rows of the tables below each heading `## name`, as cells."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:].strip("`")
        elif line.startswith("| `"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_every_setting_is_described_with_its_default() -> None:
    described = {
        row[0].strip("`"): row[1].strip("`") for rows in tables_of("reference/settings.md").values() for row in rows
    }
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    assert described.keys() == fields.keys()
    for name, field in fields.items():
        if name.lower() not in PLACES:
            assert described[name] == _written(field.default), name


def _written(default: object) -> str:
    assert default is not PydanticUndefined
    return {None: "none", "": "empty", True: "true", False: "false"}.get(default, str(default))  # type: ignore[call-overload, no-any-return]


def test_the_example_of_an_env_file_has_every_setting() -> None:
    named = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named <= {name.upper() for name in Settings.model_fields} | {"ENV_FILE"}
    assert {name.upper() for name in Settings.model_fields} - named <= {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_TRACES_EXPORTER",
    }


def test_tables_and_columns_are_those_of_the_code() -> None:
    described = tables_of("reference/tables.md")
    others = {row[0].strip("`") for row in described.pop("The other tables")}
    assert described.keys() | others == set(models.Base.metadata.tables)
    for name, rows in described.items():
        table = models.Base.metadata.tables[name]
        assert [(row[0].strip("`"), row[1]) for row in rows] == [(c.name, _type(c)) for c in table.columns], name


def _type(column: Any) -> str:
    spelt = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    short = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp"}
    return str(short.get(spelt, spelt))


if __name__ == "__main__":
    for (page, part), make in GENERATED.items():
        (DOCS / page).write_text(written(page, part, make())[1])

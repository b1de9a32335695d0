"""What the documents name is there: files, headings, commands with their options, routes."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main

from app.cli.main import app as cli
from app.core.settings import Settings
from app.main import create_app
from app.ml.embedding_service import EmbeddingModelService
from app.ml.evaluation.simulated import school, simulate
from app.ml.networks.fit import fit
from app.ml.networks.inference import load_served
from app.ml.networks.network import TrainingSchedule
from app.ml.registry import BY_NAME
from app.ml.training.gate import HoldoutSet
from app.models import Base

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OUR_FOLDERS = ("app/", "tests/", "benchmarks/", "faults/", "docs/", "alembic/", ".github/", ".ci/")
MADE_LATER = (
    "app/ml/models",
    "app/ml/topic_means.py",
    "app/ml/kinds/small_network.py",
    "docs/pages",
)  # by the service, by who follows the how-to


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


# Links and paths


@every_document
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        file = (document.parent / unquote(parts.path)).resolve() if parts.path else document
        assert file.exists(), target
        if parts.fragment and file.suffix == ".md":
            assert parts.fragment in anchors(file), target


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(file: Path) -> set[str]:
    """The fragments of its headings, by the same rule as GitHub's for headings as simple as ours."""
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    return {slug(each) for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def is_history(document: Path) -> bool:
    """Decision records and changes tell of the files of their time."""
    return document.parent.name == "decisions" or document.name == "CHANGELOG.md"


def slug(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if not is_history(each)], ids=name_of)
def test_files_that_are_named_are_there(document: Path) -> None:
    for span in re.findall(r"`([^`\n]+)`", document.read_text()):
        path = span.split()[0].removesuffix(":")
        if path.startswith(OUR_FOLDERS) and not path.startswith(MADE_LATER) and "*" not in path:
            assert (ROOT / path).exists(), path


# Commands


def code_blocks(document: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def shell_words(line: str) -> list[list[str]]:
    """The simple commands of a line of shell, without variables set in front, redirections and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&()<>")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|;&()<>"):
            commands.append([])
        elif commands[-1] or not re.match(r"^[A-Za-z_]+=", word):
            commands[-1].append(word)
    return [words for words in commands if words]


def typed(document: Path) -> Iterator[list[str]]:
    """Commands of the document's shell blocks, those within $( ) too."""
    for block in code_blocks(document, "sh"):
        for line in re.sub(r"\\\n\s*", "", block).replace('"$(', "$(").replace(')"', ")").splitlines():
            yield from shell_words(line)


def mentioned(document: Path) -> Iterator[list[str]]:
    """Commands of code in the document's sentences; they may lack what is not at issue there."""
    prose = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`((?:\.venv/bin/)?(?:smartstudy|make|python -m) [^`\n]+)`", prose):
        yield shlex.split(span)


def starting_with(name: str, *ways: Callable[[Path], Iterator[list[str]]]) -> list[Any]:
    """Of each different one, the words after the name."""
    found: dict[str, Any] = {}
    for document, words in ((file, words) for way in ways for file in DOCUMENTS for words in way(file)):
        words[0] = words[0].removeprefix(".venv/bin/")
        if words[: len(name.split())] == name.split():
            rest = words[len(name.split()) :]
            found.setdefault(" ".join(rest), pytest.param(rest, id=f"{name_of(document)}: {' '.join(rest)}"))
    return list(found.values())


def test_commands_are_found_in_the_documents() -> None:
    assert len(starting_with("smartstudy", typed)) > 25
    assert len(starting_with("make", typed, mentioned)) > 10
    assert len(starting_with("python -m", typed, mentioned)) > 20
    line = 'A=1 B=$(.venv/bin/smartstudy url | sed s/x//)  # as "it" is'
    assert list(shell_words(line)) == [[".venv/bin/smartstudy", "url"], ["sed", "s/x//"]]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command, and what it is given."""
    command: Any = typer.main.get_command(cli)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("words", starting_with("smartstudy", typed, mentioned))
def test_smartstudy_has_the_command_and_its_options(words: list[str]) -> None:
    command, given = command_of(words)
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {bare for word in given if (bare := word.strip("[]")).startswith("-")} <= known


@pytest.mark.parametrize("words", starting_with("smartstudy", typed))
def test_smartstudy_understands_the_whole_line(words: list[str]) -> None:
    """It is parsed as when somebody types it; only what files must be there is not asked."""
    command, given = command_of(words)
    if hasattr(command, "commands") or "--help" in given or any("[" in word for word in given):
        return
    context = command.context_class(command, info_name=command.name)
    values, left, _ = command.make_parser(context).parse_args(args=given)
    assert left == []
    assert [each.name for each in command.params if each.required and values.get(each.name) is None] == []


@pytest.mark.parametrize("words", starting_with("make", typed, mentioned))
def test_make_has_the_target(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


@pytest.mark.parametrize("words", starting_with("python -m", typed, mentioned))
def test_python_has_the_module_and_it_takes_the_options(words: list[str]) -> None:
    module, *rest = words
    found = importlib.util.find_spec(module)
    assert found, module
    if module.split(".")[0] not in ("benchmarks", "faults"):
        return
    if found.submodule_search_locations:
        found = importlib.util.find_spec(f"{module}.__main__")
    assert found is not None, module
    assert found.origin, module
    known = options_of(Path(found.origin)) | {"--help"}
    assert {word.rstrip(";") for word in rest if word.startswith("--")} <= known


def options_of(file: Path) -> set[str]:
    """The names of its parser's arguments, as its source has them: to import some of them takes seconds."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    adding = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    return {str(arg.value) for call in adding for arg in call.args if isinstance(arg, ast.Constant)}


def test_every_target_of_make_says_what_it_is_for() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split():
        assert re.search(rf"^{target}:.*## .+", makefile, re.MULTILINE), target
    said = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert "make run" in said
    assert "make test" in said


# Routes


def test_routes_that_are_named_exist() -> None:
    app = create_app()
    routes = {(m, p) for p, operations in app.openapi()["paths"].items() for m in (each.upper() for each in operations)}
    patterns = [(method, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$")) for method, path in routes]
    patterns += [
        ("GET", re.compile(path + "$")) for path in ("/docs", "/redoc", "/openapi.json", "/static.*", "/docs/.*")
    ]
    signing_in = "sign-in|sign-out|register|forgot-password|new-password"
    pages = re.compile(rf"/(dashboard|admin|{signing_in}|preferences|begin|favicon\.ico)")
    for document in DOCUMENTS:
        text = document.read_text()
        named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE)[ \n](/[^`\s?]*)", text)
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            if asked := re.search(r"curl .*?localhost:4008(/[^\s'\"?]*)", line):
                method = re.search(r"-X ([A-Z]+)", line)
                named.append((method[1] if method else "POST" if " -d " in line else "GET", asked[1]))
        for method, path in named:
            path = re.sub(r"\$[A-Z]+", "x", path)
            assert pages.match(path) or any(m == method and p.match(path) for m, p in patterns), (
                name_of(document),
                method,
                path,
            )


# The kind of model that the how-to adds


def test_the_kind_of_the_how_to_keeps_the_contract(tmp_path: Path) -> None:
    source = next(b for b in code_blocks(ROOT / "docs/how-to/new-model.md", "python") if "class TopicMeans" in b)
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader("topic_means", loader=None))  # type: ignore[arg-type]
    sys.modules["topic_means"] = made
    exec(compile(source, "topic_means.py", "exec"), made.__dict__)  # noqa: S102
    attempts = simulate(school(20, seed=1), 30, seed=1).attempts
    fitted = made.TopicMeans.fit(attempts, lambda step: None, None, None)  # as a training calls it
    fitted.save(tmp_path)
    holdout = HoldoutSet(attempts)
    judged, again = holdout.evaluate(fitted.served()), holdout.evaluate(made.TopicMeans.load(tmp_path))
    assert judged.answers.are_finite()
    assert judged.log_loss == again.log_loss < holdout.prior.log_loss
    assert judged.violation is None


@pytest.mark.slow
def test_the_network_of_the_how_to_keeps_the_contract(tmp_path: Path) -> None:
    source = next(b for b in code_blocks(ROOT / "docs/how-to/new-model.md", "python") if "class Small" in b)
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader("small_network", loader=None))  # type: ignore[arg-type]
    sys.modules["small_network"] = made
    exec(compile(source, "small_network.py", "exec"), made.__dict__)  # noqa: S102
    attempts = simulate(school(20, seed=1), 30, seed=1).attempts
    fitted = fit(made.Small(), attempts)
    fitted.save(tmp_path)  # Keras and NumPy say the same
    holdout = HoldoutSet(attempts)
    assert fitted.base is not None
    loaded = load_served(made.Small(), tmp_path).on(fitted.base)
    judged, again = holdout.evaluate(fitted.served()), holdout.evaluate(loaded)
    assert judged.log_loss == again.log_loss < holdout.prior.log_loss
    assert judged.violation is None


# What the first documents name


FROM_THE_DOCUMENTS = ROOT / "docs/explanation/from-the-documents.md"


def ours() -> Iterator[str]:
    """All names of ours on that page: code in the column `ours` and in what was decided."""
    for table in re.findall(r"(?:^\|.*\n)+", FROM_THE_DOCUMENTS.read_text(), re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines())
        column = head.index("ours" if "ours" in head else "decided")
        yield from (span for row in rows for span in re.findall(r"`([^`]+)`", row[column]))


@pytest.mark.parametrize("name", sorted(set(ours())))
def test_every_name_of_ours_that_stands_for_one_of_the_documents_exists(name: str) -> None:
    tables = {table.name: table.columns for table in Base.metadata.tables.values()}
    first, _, rest = name.partition(".")
    if name.startswith(("GET ", "POST ", "PATCH ", "make ", "smartstudy ", ".venv/")) or name in BY_NAME:
        return  # looked up above
    if first in tables:
        assert rest in tables[first], name
    elif "/" in name or name.endswith(".sh"):
        assert (ROOT / name).exists(), name
    elif name.isupper():
        assert name.lower() in Settings.model_fields, name
    elif name in ("id", "row[0]", "row[3]"):
        assert list(tables["embedding_model_tracker"].keys()).index("n_samples_since_training") == 3
    elif re.fullmatch("[a-z_]+", name):
        assert name in tables["practice_tasks"], name
    else:
        module, _, attribute = name.rpartition(".")
        where = {"EmbeddingModelService": EmbeddingModelService, "TrainingSchedule": TrainingSchedule}
        found = where.get(module) or importlib.import_module(module)
        assert hasattr(found, attribute) or attribute in getattr(found, "__slots__", ()), name


def test_names_of_ours_are_found_on_that_page() -> None:
    assert {"MODEL_DIR", "monitor_training.sh", "embedding_model_tracker.metadata", "TrainingSchedule.epochs"} <= set(
        ours()
    )

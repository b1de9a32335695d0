"""The packages of `app` import downwards only, inside of functions too; so there is no circle of packages."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

APP = Path(__file__).parents[1] / "app"
# From the ground up. Packages of one line stand side by side: they don't import one another.
ORDER = (
    ("domain",),
    ("core",),
    ("models",),
    ("crud",),
    ("ml.answers", "ml.metrics", "ml.shapley", "ml.engine"),
    ("ml.prior",),
    ("ml.features",),
    ("ml.baselines", "ml.calibration"),
    ("ml.lnirt",),
    ("ml.networks",),
    ("ml.registry",),
    ("ml.serving", "ml.task_prediction_model"),
    ("ml.embedding_model", "ml.embedding_model_v2"),  # the registry finds kinds by name
    ("ml.kinds",),
    ("ml.training",),
    ("ml.evaluation",),
    ("ml.embedding_service", "ml.explanation"),
    ("ml.batches",),
    ("ml",),  # what `from app.ml import` gives
    ("analytics",),
    ("schemas",),
    ("planning", "monitoring", "privacy", "backup"),
    ("routers",),
    ("web",),
    ("cli", "supervisor"),
    ("main",),
    ("__main__",),
)
RANKS = {name: rank for rank, names in enumerate(ORDER) for name in names}
FLAT = 12  # files that may lie in `app/ml` itself
TYPES = "TYPE_CHECKING"


def package(module: str) -> str:
    """Of a module below `app`, as ORDER has it."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "ml" else parts[0]


def modules() -> dict[str, Path]:
    """Every file of `app` by its module's name below `app`."""
    return {
        ".".join(file.relative_to(APP).with_suffix("").parts).removesuffix(".__init__"): file
        for file in APP.rglob("*.py")
    }


def imports(file: Path) -> Iterator[str]:
    """What a file imports of `app`, but for the names of types."""
    tree = ast.parse(file.read_text())
    for branch in [each for each in ast.walk(tree) if isinstance(each, ast.If) and ast.unparse(each.test) == TYPES]:
        branch.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app."):
            below = node.module.removeprefix("app.")
            is_package = (APP / below.replace(".", "/")).is_dir()
            yield from (f"{below}.{name.name}" if is_package else below for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name.removeprefix("app.") for name in node.names if name.name.startswith("app."))


def test_packages_import_only_downwards() -> None:
    wrong = []
    for name, file in modules().items():
        here = package(name)
        for there in map(package, imports(file)):
            if here != "__init__" and there != here and RANKS[there] >= RANKS[here]:
                wrong.append(f"{name} imports {there}")
    assert not wrong, "\n".join(sorted(wrong))


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()

    def module(imported: str) -> str:
        return imported if imported in known else imported.rpartition(".")[0]

    TopologicalSorter({name: {*map(module, imports(file))} - {name} for name, file in known.items()}).prepare()


def test_few_files_lie_flat_in_ml() -> None:
    assert len(list((APP / "ml").glob("*.py"))) <= FLAT


def test_models_ask_for_rows_by_functions_of_crud() -> None:
    """Only the bridge between database and models names statements."""
    asking = [file for file in (APP / "ml").rglob("*.py") if re.search(r"yield \w+\.[A-Z_]{3,},", file.read_text())]
    assert [file.name for file in asking] == ["embedding_service.py"]

"""The house: no file too long, every arrow one way, every public part described."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from helpers.settings import PROJECT
from tests.unit.naming import modules, python_files

MOST_LINES = 400

#: The parts of ``helpers``, from the lowest on. A part imports from lower rows, and from itself;
#: parts that share a row do not know each other. The names before the first dot are the modules
#: that stand by themselves.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"settings"}),
    frozenset({"servers", "network"}),
    frozenset({"stores"}),
    frozenset({"shop"}),
    frozenset({"drills", "project"}),
    frozenset({"faces"}),
    frozenset({"bench", "grading", "authoring"}),
)
#: What a notebook imports (``import helpers``) is put together from below the faces.
FRONT = "helpers"
#: ``python -m helpers`` begins at the command line.
MAIN = "helpers.__main__"

#: What only the faces know, and those above them: how something is shown, or served.
OF_FACES = frozenset(
    {"fastapi", "starlette", "uvicorn", "uvloop", "matplotlib", "IPython", "structlog", "httpx"}
)
_FACES = next(number for number, parts in enumerate(LAYERS) if "faces" in parts)

MODULES = modules()
INSIDE = sorted(MODULES.keys() - {FRONT, MAIN})


def level(part: str) -> int:
    """Return the row that a part of ``helpers`` stands in."""
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def part_of(module: str) -> str:
    """Return the part that a module belongs to: ``shop`` for ``helpers.shop.joins.run``."""
    return module.split(".")[1]


def imports(source: str) -> set[str]:
    """Return all modules that a source imports, wherever in it; of ``helpers``, the very ones."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{one.name}" for one in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def wrong_arrows(module: str, source: str) -> list[str]:
    """Return what a module imports of ``helpers`` that does not stand below it."""
    own = part_of(module)
    others = sorted(imports(source) & MODULES.keys())
    return [f"{module} imports {other}" for other in others if not _may(own, other)]


def _may(own: str, other: str) -> bool:
    if other in {FRONT, MAIN}:
        return False
    return part_of(other) == own or level(part_of(other)) < level(own)


def _source(module: str) -> str:
    return MODULES[module].read_text("utf-8")


def _silent(module: str) -> Iterator[str]:
    """Yield what is public in a module and has no docstring, the module itself included."""
    tree = ast.parse(_source(module))
    if not ast.get_docstring(tree):
        yield module
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            decorators = {one.id for one in node.decorator_list if isinstance(one, ast.Name)}
            if not (
                node.name.startswith("_")
                or "overload" in decorators  # the implementation is described
                or ast.get_docstring(node)
            ):
                yield f"{module}.{node.name}"


def test_no_file_is_too_long() -> None:
    lines = {file: len(file.read_text("utf-8").splitlines()) for file in python_files()}
    assert len(lines) > 300
    assert {str(file): count for file, count in lines.items() if count > MOST_LINES} == {}


def test_every_part_has_its_place() -> None:
    """A new part is put into a row before anything imports it."""
    parts = {part_of(module) for module in INSIDE}
    placed = [part for parts_of_row in LAYERS for part in parts_of_row]
    assert sorted(parts) == sorted(placed)


def test_arrows_run_one_way() -> None:
    assert [one for module in INSIDE for one in wrong_arrows(module, _source(module))] == []


def test_the_front_knows_nothing_of_the_faces() -> None:
    """``import helpers`` loads no plots and no web framework."""
    parts = {part_of(name) for name in imports(_source(FRONT)) & MODULES.keys()}
    assert parts >= {"shop", "stores"}
    assert max(level(part) for part in parts) < _FACES


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("helpers.shop.stock", "from helpers.faces.plots import bars"),
        ("helpers.stores.connect", "def f():\n    from helpers.shop import seed"),
        ("helpers.servers.home", "import helpers.network.link"),
        ("helpers.settings", "from helpers import stores"),
        ("helpers.shop.seed", "import helpers"),
        ("helpers.shop.seed", "from helpers import load"),
        ("helpers.drills.ground", "from helpers.project.away import within_reach"),
    ],
)
def test_an_arrow_backwards_is_found(module: str, source: str) -> None:
    assert len(wrong_arrows(module, source)) == 1


def test_what_is_shown_and_served_is_known_to_the_faces_alone() -> None:
    below = [module for module in INSIDE if level(part_of(module)) < _FACES]
    used = {
        module: {name.partition(".")[0] for name in imports(_source(module))} & OF_FACES
        for module in below
    }
    assert {module: names for module, names in used.items() if names} == {}


def test_every_module_and_all_that_is_public_in_it_is_described() -> None:
    assert [one for module in MODULES for one in _silent(module)] == []


def test_every_file_of_tests_says_what_it_holds() -> None:
    silent = []
    for file in python_files():
        source = file.read_text("utf-8")
        # Those in ``answers`` are cells of notebooks.
        if PROJECT / "tests" in file.parents and source.strip() and file.parent.name != "answers":
            silent += [] if ast.get_docstring(ast.parse(source)) else [str(file)]
    assert silent == []

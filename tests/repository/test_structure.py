"""The structure of the code: imports, names, mirrored tests, docstrings, length of files."""

from __future__ import annotations

import ast
import collections
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import helpers
from helpers.settings import PROJECT
from tests.repository.naming import modules, python_files

MOST_LINES = 400

#: The packages and modules of ``helpers``, lowest first. Each imports from lower rows and from
#: itself; those that share a row do not import each other.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "lazy_imports"}),
    frozenset({"settings"}),
    frozenset({"validation"}),
    frozenset({"embedded", "proxy"}),
    frozenset({"stores"}),
    frozenset({"citus", "catalog"}),
    frozenset({"metadata"}),
    frozenset({"stock"}),
    frozenset({"orders"}),
    frozenset({"joins"}),
    frozenset({"read_model"}),
    frozenset({"shop"}),
    frozenset({"faults"}),
    frozenset({"lab"}),
    frozenset({"api", "plots"}),
    frozenset({"cli"}),
)
#: The facade, which imports from every package below ``api`` and is imported by none.
FACADE = "helpers"
#: ``python -m helpers`` begins at the command line.
MAIN = "helpers.__main__"
#: The packages beside ``helpers``: they import ``helpers``, never the reverse.
BESIDE = ("course", "benchmarks")

#: Libraries that show or serve something: only the top rows and the packages beside use them.
FRONT_END = frozenset(
    {"fastapi", "starlette", "uvicorn", "uvloop", "matplotlib", "IPython", "structlog", "httpx"}
)
#: ``lab`` is a client of HTTP servers.
_LAB = next(number for number, parts in enumerate(LAYERS) if "lab" in parts)

MODULES = modules()
INSIDE = sorted(module for module in MODULES if module.startswith("helpers.") and module != MAIN)


def level(part: str) -> int:
    """Return the number of the row of a package of ``helpers``."""
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def part_of(module: str) -> str:
    """Return the package of a module: ``joins`` for ``helpers.joins.executor``."""
    return module.split(".")[1]


def imports(source: str) -> set[str]:
    """Return all modules that a source imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def wrong_imports(module: str, source: str) -> list[str]:
    """Return the imports of a module of ``helpers`` that are not from below it."""
    others = sorted(imports(source) & MODULES.keys())
    return [f"{module} imports {other}" for other in others if not _may_import(module, other)]


def _may_import(module: str, other: str) -> bool:
    if other in {FACADE, MAIN} or other.split(".")[0] in BESIDE:
        return False
    own, theirs = part_of(module), part_of(other)
    return theirs == own or level(theirs) < level(own)


def _source(module: str) -> str:
    return MODULES[module].read_text("utf-8")


def _undocumented(module: str) -> Iterator[str]:
    """Yield the public names of a module without a docstring, and the module itself."""
    tree = ast.parse(_source(module))
    if not ast.get_docstring(tree):
        yield module
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            decorators = {
                decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)
            }
            if not (
                node.name.startswith("_")
                or "overload" in decorators  # its implementation has one
                or ast.get_docstring(node)
            ):
                yield f"{module}.{node.name}"


def test_no_file_is_too_long() -> None:
    lines = {file: len(file.read_text("utf-8").splitlines()) for file in python_files()}
    assert len(lines) > 300
    assert {str(file): count for file, count in lines.items() if count > MOST_LINES} == {}


def test_every_package_has_its_row() -> None:
    """A new package is put into a row before anything imports it."""
    parts = {part_of(module) for module in INSIDE}
    placed = [part for row in LAYERS for part in row]
    assert sorted(parts) == sorted(placed)


def test_imports_run_one_way() -> None:
    wrong = [text for module in INSIDE for text in wrong_imports(module, _source(module))]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("helpers.stock", "from helpers.plots.charts import bars"),
        ("helpers.stores.connect", "def f():\n    from helpers.shop import seed"),
        ("helpers.embedded.data_folder", "import helpers.proxy.tcp_proxy"),
        ("helpers.settings", "from helpers import stores"),
        ("helpers.shop.seeding", "import helpers"),
        ("helpers.shop.seeding", "from helpers import load"),
        (
            "helpers.faults.fault_injection",
            "from course.marketplace.outages import proxied_with_timeouts",
        ),
        ("helpers.stock.stock", "from helpers.orders.saga import STEPS"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


def test_only_the_top_uses_libraries_that_show_or_serve() -> None:
    below = [module for module in INSIDE if level(part_of(module)) < _LAB]
    used = {
        module: {name.partition(".")[0] for name in imports(_source(module))} & FRONT_END
        for module in below
    }
    assert {module: names for module, names in used.items() if names} == {}


def test_the_facade_is_lazy_and_lists_each_name_once() -> None:
    """A name's module is written for type checkers and for Python."""
    tree = ast.parse(_source(FACADE))
    for_types = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("helpers")
        and node.module != "helpers.lazy_imports"
        for name in node.names
    }
    assert sorted(for_types) == helpers.__all__
    eager = {name for name, module in for_types.items() if module == "helpers.errors"}
    assert for_types.keys() - eager == helpers._MODULE_OF.keys()
    for name, part in helpers._MODULE_OF.items():
        assert part_of(str(for_types[name])) == part
    code = "import sys, helpers; print([m for m in sys.modules if m.startswith('helpers.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['helpers.errors', 'helpers.lazy_imports']\n"


_IMPORTED = re.compile(r"\b(?:from|import) ((?:helpers|course)[.\w]*)")


def test_lessons_import_from_packages_only() -> None:
    """A lesson names a package, never a module inside one."""
    found = {
        module
        for file in (PROJECT / "notebooks").glob("*.ipynb")
        for module in re.findall(
            r"(?:from|import) ((?:helpers|course)[.\w]*)", file.read_text("utf-8")
        )
    }
    assert len(found) > 8
    assert {one for one in found if one.count(".") > 1 or one not in MODULES} == set()
    assert {MODULES[one].name for one in found} == {"__init__.py"}


def test_no_two_files_of_the_package_share_a_name() -> None:
    names = collections.Counter(MODULES[module].name for module in INSIDE)
    assert {name for name, count in names.items() if count > 1} == {"__init__.py"}


#: Class names that two packages share, and why.
SHARED_NAMES = {
    "Changes": "what seeding changed, printed by lesson 00; what a stock stream reports",
}


def test_no_class_name_is_used_twice_without_a_reason() -> None:
    names = collections.Counter(
        node.name
        for module in INSIDE
        for node in ast.parse(_source(module)).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in names.items() if count > 1} == set(SHARED_NAMES)


#: Tests of files that belong to no package, and what all tests use.
_BESIDE_PACKAGES = frozenset({"repository", "lessons", "e2e"})


def test_tests_mirror_the_packages() -> None:
    """``helpers/stock/counts.py`` is tested in ``tests/stock/test_counts*.py``."""
    wrong = []
    for file in sorted((PROJECT / "tests").rglob("test_*.py")):
        place = file.relative_to(PROJECT / "tests")
        if place.parts[0] in _BESIDE_PACKAGES:
            continue
        package = PROJECT.joinpath(
            *([] if place.parts[0] == "course" else ["helpers"]), place.parent
        )
        modules_there = {one.stem for one in package.glob("*.py")}
        words = file.stem.removeprefix("test_").split("_")
        if not any("_".join(words[:n]) in modules_there for n in range(1, len(words) + 1)):
            wrong.append(str(place))
    assert wrong == []


def test_every_module_and_public_name_has_a_docstring() -> None:
    assert [name for module in MODULES for name in _undocumented(module)] == []


def test_every_test_file_has_a_docstring() -> None:
    silent = []
    for file in python_files():
        source = file.read_text("utf-8")
        # The files in ``answers`` are cells of notebooks.
        if PROJECT / "tests" in file.parents and source.strip() and file.parent.name != "answers":
            silent += [] if ast.get_docstring(ast.parse(source)) else [str(file)]
    assert silent == []

"""The layers of the tests: what belongs to which, and what a run prints at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.settings import PROJECT
from tests import layers
from tests.run import BUDGET_SECONDS, LAYERS, Done, Part, report

FILES: dict[str, tuple[str, set[str]]] = {
    "quick": ("tests/repository/test_a.py", set()),
    "slow": ("tests/stock/test_b.py", {"verify"}),
    "contract": ("tests/stores/test_c.py", {"by_address", "parametrize"}),
    "own servers": ("tests/e2e/servers/test_d.py", {"servers", "verify"}),
    "notebook": ("notebooks/00_tour.ipynb", set()),
}


@pytest.mark.parametrize(
    ("layer", "chosen"),
    [
        ("test", ["quick", "contract", "notebook"]),
        ("verify", ["slow", "own servers"]),
        ("by-address", ["contract", "notebook"]),
        ("all-by-address", ["quick", "slow", "contract", "notebook"]),
    ],
)
def test_each_layer_has_its_tests(layer: str, chosen: list[str]) -> None:
    found = [
        name for name, (file, marks) in FILES.items() if layers.is_in(layer, Path(file), marks)
    ]
    assert found == chosen


def test_a_scope_is_what_one_process_runs_as_a_whole() -> None:
    assert layers.scope_of("tests/a/test_b.py::TestC::test_d[x::y-1]") == "tests/a/test_b.py::TestC"
    assert layers.scope_of("tests/a/test_b.py::test_d") == "tests/a/test_b.py"
    assert layers.scope_of("notebooks/00_tour.ipynb::Cell 3") == "notebooks/00_tour.ipynb"
    assert layers.folder_of("tests/a/b/test_c.py::test_d") == "tests/a"
    assert layers.folder_of("notebooks/00_tour.ipynb::Cell 3") == "notebooks"


def test_what_was_recorded_names_scopes_that_exist() -> None:
    for recorded in layers.recorded().values():
        for scope in recorded:
            assert (PROJECT / scope.partition("::")[0]).exists(), scope


@pytest.mark.parametrize("layer", BUDGET_SECONDS)
def test_a_layer_that_takes_too_long_says_so(
    layer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = [Done(Part("style", ()), 0, 1.0), Done(Part("types", ()), 1, 2.0)]
    report(layer, done, 10.0)
    said = capsys.readouterr().out
    assert "1 s  style: passed" in said
    assert "2 s  types: failed" in said
    assert "Warning" not in said
    report(layer, done, BUDGET_SECONDS[layer] + 1.0)
    assert f"budget of {BUDGET_SECONDS[layer]} s" in capsys.readouterr().out
    report(layer, done, BUDGET_SECONDS[layer] + 1.0, made_environment=True)
    assert "Warning" not in capsys.readouterr().out


def test_what_ci_runs_is_all_there_is() -> None:
    """Both layers begin at the top of the tests, and the first has the notebooks."""
    for layer, places in (("test", ["tests", "notebooks", "project"]), ("verify", ["tests"])):
        part = next(part for part in LAYERS[layer] if "--layer" in part.arguments)
        arguments = list(part.arguments)
        assert arguments[arguments.index("--layer") + 1 :] == [layer, *places]

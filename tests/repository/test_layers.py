"""The layers of the tests: which test belongs to which, and what a run prints at its end."""

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
    "life cycle": ("tests/e2e/servers/test_d.py", {"servers", "verify"}),
    "notebook": ("notebooks/00_tour.ipynb", set()),
}


@pytest.mark.parametrize(
    ("layer", "chosen"),
    [
        ("test", ["quick", "contract", "notebook"]),
        ("verify", ["slow", "life cycle"]),
        ("by-address", ["contract", "notebook"]),
        ("all-by-address", ["quick", "slow", "contract", "notebook"]),
    ],
)
def test_each_layer_has_its_tests(layer: str, chosen: list[str]) -> None:
    found = [
        name for name, (file, marks) in FILES.items() if layers.is_in(layer, Path(file), marks)
    ]
    assert found == chosen


def test_a_scope_runs_in_one_process() -> None:
    assert layers.scope_of("tests/a/test_b.py::TestC::test_d[x::y-1]") == "tests/a/test_b.py::TestC"
    assert layers.scope_of("tests/a/test_b.py::test_d") == "tests/a/test_b.py"
    assert layers.scope_of("notebooks/00_tour.ipynb::Cell 3") == "notebooks/00_tour.ipynb"
    assert layers.folder_of("tests/a/b/test_c.py::test_d") == "tests/a"
    assert layers.folder_of("notebooks/00_tour.ipynb::Cell 3") == "notebooks"


def test_recorded_durations_name_existing_scopes() -> None:
    for recorded in layers.recorded().values():
        for scope in recorded:
            assert (PROJECT / scope.partition("::")[0]).exists(), scope


@pytest.mark.parametrize("layer", BUDGET_SECONDS)
def test_a_layer_that_exceeds_its_budget_prints_a_warning(
    layer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = [Done(Part("style", ()), 0, 1.0), Done(Part("types", ()), 1, 2.0)]
    report(layer, done, 10.0)
    output = capsys.readouterr().out
    assert "1 s  style: passed" in output
    assert "2 s  types: failed" in output
    assert "Warning" not in output
    report(layer, done, BUDGET_SECONDS[layer] + 1.0)
    assert f"budget of {BUDGET_SECONDS[layer]} s" in capsys.readouterr().out
    report(layer, done, BUDGET_SECONDS[layer] + 1.0, made_environment=True)
    assert "Warning" not in capsys.readouterr().out


def test_both_layers_together_run_everything() -> None:
    """Both layers collect all of ``tests``, and the first one the notebooks too."""
    for layer, places in (("test", ["tests", "notebooks", "project"]), ("verify", ["tests"])):
        part = next(part for part in LAYERS[layer] if "--layer" in part.arguments)
        arguments = list(part.arguments)
        assert arguments[arguments.index("--layer") + 1 :] == [layer, *places]

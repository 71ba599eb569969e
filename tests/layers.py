"""The layers of the tests, the order of their scopes, and a report of their durations.

``--layer test`` selects the tests of ``make test``, ``--layer verify`` those that ``make verify``
adds. ``--layer by-address`` selects the notebooks and the tests marked ``by_address``, ``--layer
all-by-address`` every test that can use servers given by address; both use ``POSTGRES_URL``,
``MONGO_URL`` and ``REDIS_URL``. Without ``--layer``, all tests run that the command line names.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from tests.cleanup import PROJECT

#: The seconds that each scope took, by layer; ``--record-durations`` writes it.
DURATIONS = PROJECT / "tests" / "durations.json"

#: The layers that use the servers by their addresses.
BY_ADDRESS = ("by-address", "all-by-address")

# Folders whose modules share expensive fixtures.
_TOGETHER = ("tests/api/", "tests/e2e/browser/", "tests/e2e/conformance/")

_SLOWEST = 10
# Scopes that take less are not recorded: they hardly change the order.
_LEAST_SECONDS = 1.0

_seconds: defaultdict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--layer",
        choices=("test", "verify", *BY_ADDRESS),
        help="select the tests of a layer, and run the slowest scopes first",
    )
    parser.addoption(
        "--record-durations",
        action="store_true",
        help="write the durations of the layer's scopes to tests/durations.json",
    )


def scope_of(nodeid: str) -> str:
    """Return the unit that runs in one process: a class, a module or a notebook."""
    return nodeid.split("[")[0].rpartition("::")[0]


def folder_of(nodeid: str) -> str:
    """Return the folder of a test, such as ``tests/stock`` or ``notebooks``."""
    file = nodeid.partition("::")[0]
    return "/".join(file.split("/")[:-1][:2])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    layer = config.getoption("--layer")
    if layer is None:
        return
    chosen, others = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        (chosen if is_in(layer, item.path, marks) else others).append(item)
    config.hook.pytest_deselected(items=others)
    ranks = _ranks(recorded().get(layer, {}))
    items[:] = sorted(chosen, key=lambda item: -ranks.get(scope_of(item.nodeid), 0.0))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] += report.duration


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    layer = config.getoption("--layer")
    if layer is None:
        return
    terminalreporter.section("seconds, added up over all processes")
    counts = Counter(folder_of(nodeid) for nodeid in _seconds)
    for folder, seconds in _longest_first(_summed(folder_of)):
        terminalreporter.write_line(f"{seconds:8.1f}  {folder} ({counts[folder]} tests)")
    terminalreporter.section(f"the {_SLOWEST} slowest tests")
    for nodeid, seconds in _longest_first(_seconds)[:_SLOWEST]:
        terminalreporter.write_line(f"{seconds:8.1f}  {nodeid}")
    if config.getoption("--record-durations"):
        scopes = {
            scope: round(took, 1)
            for scope, took in sorted(_summed(scope_of).items())
            if took >= _LEAST_SECONDS
        }
        text = json.dumps(recorded() | {layer: scopes}, indent=1, sort_keys=True)
        DURATIONS.write_text(f"{text}\n", "utf-8")


def is_in(layer: str, file: Path, marks: Collection[str]) -> bool:
    """Return whether a test in ``file`` with these ``marks`` belongs to a layer."""
    if layer == "by-address":
        return "by_address" in marks or file.suffix == ".ipynb"
    if layer == "all-by-address":
        return "servers" not in marks
    return ("verify" in marks) == (layer == "verify")


def _ranks(known: Mapping[str, float]) -> dict[str, float]:
    """Return a rank for each scope: the slowest run first, and those of one folder together.

    So no process ends with a slow module while the other is idle, and a browser is started once.
    """
    first: dict[str, float] = {}
    for scope, seconds in known.items():
        if scope.startswith(_TOGETHER):
            first[folder_of(scope)] = max(seconds, first.get(folder_of(scope), 0.0))
    return {scope: first.get(folder_of(scope), seconds) for scope, seconds in known.items()}


def _longest_first(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda item: -item[1])


def _summed(group: Callable[[str], str]) -> dict[str, float]:
    """Return the sum of the tests' seconds by group."""
    summed: defaultdict[str, float] = defaultdict(float)
    for nodeid, seconds in _seconds.items():
        summed[group(nodeid)] += seconds
    return summed


def recorded() -> dict[str, dict[str, float]]:
    """Return the recorded seconds by layer and scope."""
    found: dict[str, dict[str, float]] = json.loads(DURATIONS.read_text("utf-8"))
    return found

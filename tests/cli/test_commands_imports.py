"""What the command line imports: ``--help`` and ``status`` are fast because they import little."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of

DRIVERS = {"psycopg", "psycopg_pool", "pymongo", "redis"}
#: What takes long to import, and only some commands need.
HEAVY = {
    *("fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "structlog", "httpx"),
    *("pandas", "numpy", "matplotlib", "IPython", "tqdm", "orjson"),
}


def _imported(environ: dict[str, str], *arguments: str) -> set[str]:
    """Return the top-level packages that ``python -m helpers`` imports, and its own packages."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "helpers", *arguments],
        cwd=PROJECT,
        env={"PYTHONPATH": str(PROJECT), "PATH": "", "HOME": "/", **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout, "the command prints something"
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = [line.rpartition("|")[2].strip() for line in lines]
    packages = {name.partition(".")[0] for name in names}
    return packages | {".".join(name.split(".")[:2]) for name in names if "helpers." in name}


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["drill", "--help"]])
def test_help_imports_no_driver_and_no_framework(arguments: list[str]) -> None:
    imported = _imported({}, *arguments)
    assert imported & (DRIVERS | HEAVY) == set()
    assert {name for name in imported if name.startswith("helpers.")} <= {
        *("helpers.api", "helpers.cli", "helpers.errors", "helpers.settings", "helpers.__main__"),
        "helpers.lazy_imports",
    }


def test_status_imports_the_drivers_and_little_more(shop: Stores) -> None:
    imported = _imported(environment_of(shop), "status")
    assert imported & (DRIVERS | HEAVY) <= DRIVERS
    assert imported.isdisjoint({"helpers.plots", "helpers.lab", "helpers.joins", "helpers.faults"})

"""The parts of the test on a new machine; ``make fresh`` runs the whole, in minutes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from jupyter_client.manager import start_new_kernel

from helpers.settings import PROJECT
from tests.e2e.fresh.__main__ import FOLDER, Report
from tests.e2e.fresh.clone import (
    NOTEBOOK,
    Clone,
    FreshError,
    Lab,
    check_page,
    environment,
    find_lab,
    start_kernel,
)
from tests.e2e.fresh.probe import run_cells

OUTPUT = """
[I 2026-01-01 10:00:00 ServerApp] Jupyter Server is running at:
[I 2026-01-01 10:00:00 ServerApp] http://127.0.0.1:8889/lab?token=0a1b2c
"""


def _notebook(file: Path, *sources: str) -> Path:
    cells = [
        {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "outputs": [], "source": source}
        for n, source in enumerate(sources)
    ]
    file.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
    return file


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fake clone: a folder with a Makefile, below one with an unusual name."""
    folder, home = tmp_path / FOLDER / "first", tmp_path / "home"
    folder.mkdir(parents=True)
    home.mkdir()
    return Clone(folder, home)


def _make_lab(clone: Clone, recipe: str) -> None:
    (clone.folder / "Makefile").write_text(f"lab:\n\t@{recipe}\n", "utf-8")


def test_the_address_is_read_from_jupyterlabs_output() -> None:
    assert find_lab(OUTPUT) == Lab(8889, "0a1b2c")
    assert find_lab("Installing what the course stands on") is None


def test_the_environment_contains_nothing_of_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHOP_HOME", "POSTGRES_URL", "VIRTUAL_ENV", "PIP_CACHE_DIR", "DISPLAY"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("PIP_INDEX_URL", "index")
    known = environment(tmp_path)
    assert "private" not in known.values()
    assert (known["HOME"], known["PIP_INDEX_URL"]) == (str(tmp_path), "index")
    assert str(PROJECT) not in known["PATH"]


def test_the_package_needs_only_the_standard_library() -> None:
    """It starts before there is an environment."""
    command = [sys.executable, "-I", "-S", "-c"]
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import tests.e2e.fresh.__main__"
    assert subprocess.run([*command, code], check=False).returncode == 0


def test_the_clone_finds_jupyterlab(clone: Clone) -> None:
    _make_lab(clone, "echo 'http://127.0.0.1:8890/lab?token=ff'; sleep 600")
    with clone.lab() as found:
        assert found == Lab(8890, "ff")


def test_a_failed_start_is_reported_with_the_last_output(clone: Clone) -> None:
    _make_lab(clone, "echo 'the disk is full'; exit 3")
    with pytest.raises(FreshError, match="the disk is full"), clone.lab():
        pass


def test_a_failed_command_is_reported(clone: Clone) -> None:
    assert clone.run("sh", "-c", "echo $HOME").strip() == str(clone.home)
    with pytest.raises(FreshError, match=r"ended with 3: gone"):
        clone.run("sh", "-c", "echo gone; exit 3")


def test_processes_of_the_clone_are_found(clone: Clone) -> None:
    program = clone.folder / ".venv" / "sleep"
    program.parent.mkdir()
    program.symlink_to("/bin/sleep")
    assert clone.processes() == []
    with subprocess.Popen([program, "600"]) as running:
        assert len(clone.processes()) == 1
        running.kill()


def test_a_report_records_claims_that_do_not_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> str:
        raise FreshError("it is broken")

    report = Report()
    assert report.check("this holds", lambda: "on port 1")
    assert not report.check("that does not", fails)
    report.not_tested("the other", "it needs root")
    output = capsys.readouterr().out
    assert "held       this holds: on port 1" in output
    assert "FAILED     that does not: it is broken" in output
    assert "not tested the other: it needs root" in output
    assert report.failed == ["that does not"]


class _Jupyter(BaseHTTPRequestHandler):
    """Respond as JupyterLab does, as far as needed; subclasses have one fault each."""

    token = "0a1b2c"
    page = "<title>JupyterLab</title>"
    names: ClassVar[list[str]] = [NOTEBOOK, "01_sharding.ipynb"]
    open_to_all = False

    def do_GET(self) -> None:
        if self.path == f"/lab?token={self.token}":
            self._respond(200, self.page)
        elif self.path != "/api/contents":
            self._respond(404, "nothing here")
        elif self._has_token():
            self._respond(200, json.dumps({"content": [{"name": name} for name in self.names]}))
        else:
            self._respond(403, "Forbidden")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/api/sessions" or not self._has_token():
            self._respond(403, "Forbidden")
        else:
            kernel = f"{body['kernel']['name']} for {body['path']}, a {body['type']}"
            self._respond(201, json.dumps({"kernel": {"id": kernel}}))

    def log_message(self, *_: object) -> None:
        """Do not log to standard error."""

    def _has_token(self) -> bool:
        return self.open_to_all or self.headers["Authorization"] == f"token {self.token}"

    def _respond(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


class _AnotherProgram(_Jupyter):
    page = "<title>Something else</title>"


class _OfAnotherFolder(_Jupyter):
    names: ClassVar[list[str]] = ["01_sharding.ipynb"]


class _WithoutToken(_Jupyter):
    open_to_all = True


@contextlib.contextmanager
def _serving(handler: type[_Jupyter]) -> Iterator[Lab]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Lab(server.server_port, handler.token)
        finally:
            server.shutdown()
            thread.join()


def test_the_token_is_required_and_a_kernel_starts() -> None:
    """``tests/e2e/fresh/test_jupyterlab.py`` tests this with JupyterLab itself."""
    with _serving(_Jupyter) as lab:
        check_page(lab)
        assert start_kernel(lab, NOTEBOOK) == f"python3 for {NOTEBOOK}, a notebook"
        with pytest.raises(FreshError, match="403"):
            start_kernel(Lab(lab.port, "another"), NOTEBOOK)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (_AnotherProgram, "is not JupyterLab"),
        (_OfAnotherFolder, f"does not list {NOTEBOOK}"),
        (_WithoutToken, "without the token"),
    ],
)
def test_a_server_that_is_not_the_expected_jupyterlab_is_refused(
    handler: type[_Jupyter], reason: str
) -> None:
    with _serving(handler) as lab, pytest.raises(FreshError, match=reason):
        check_page(lab)


def test_a_missing_server_raises_a_fresh_error() -> None:
    with pytest.raises(FreshError, match="does not respond"):
        check_page(Lab(1, "0"))


def test_cells_are_run_and_a_failing_one_is_named(tmp_path: Path) -> None:
    manager, client = start_new_kernel(cwd=tmp_path)
    try:
        good = _notebook(tmp_path / "good.ipynb", "a = 20", "assert a == 20")
        assert run_cells(client, good) == 2
        bad = _notebook(tmp_path / "bad.ipynb", "a", "assert a == 21, 'no'", "a = 22")
        with pytest.raises(RuntimeError, match="cell-1: AssertionError: no"):
            run_cells(client, bad)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

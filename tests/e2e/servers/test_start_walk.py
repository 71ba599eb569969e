"""A reader who follows ``python -m helpers up`` opens few files."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

from helpers.embedded import EmbeddedServers
from helpers.settings import PROJECT
from tests.e2e.servers.server_helpers import run_command
from tests.repository.naming import walks

pytestmark = pytest.mark.servers

MOST_FILES = 10

# It only calls ``main`` of the next file.
_MAIN = "helpers/__main__.py"
# Files that open connections, that only root needs, that find or watch processes, that write files,
# that declare the flags of other commands, and that print the result.
_NOT_COUNTED = (
    "helpers/stores/",
    "helpers/embedded/system_accounts.py",
    "helpers/embedded/server_processes.py",
    "helpers/embedded/server_watch.py",
    "helpers/embedded/private_files.py",
    "helpers/cli/drill.py",
    "helpers/api/options.py",
    "helpers/shop/status.py",
    "helpers/shop/engines.py",
)


def _called_by_up(data_folder: Path) -> dict[str, set[str]]:
    """Start servers, and return the functions of the helpers that were called, by file."""
    called: dict[str, set[str]] = {_MAIN: {"main"}}

    def record(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{PROJECT}/helpers/"):
            file = Path(frame.f_code.co_filename).relative_to(PROJECT).as_posix()
            called.setdefault(file, set()).add(frame.f_code.co_qualname)

    sys.setprofile(record)
    threading.setprofile(record)
    try:
        assert run_command(data_folder, "up").returncode == 0
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {file: names for file, names in called.items() if not file.startswith(_NOT_COUNTED)}


@pytest.mark.verify
def test_starting_the_servers_reads_few_files(own_servers: EmbeddedServers) -> None:
    called = _called_by_up(own_servers.settings.data_folder)
    assert len(called) <= MOST_FILES, sorted(called)
    steps = walks()["A start"]
    assert {file for file, _ in steps} == set(called) - {_MAIN}
    for file, names in steps:
        assert set(names) <= called[file], file

"""Data directories are deleted with the shared memory of the servers that were killed in them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.embedded import EmbeddedServers
from helpers.embedded.cleanup_process import delete_with_processes, free_shared_memory
from helpers.embedded.data_folder import DataFolder, SavedState
from helpers.embedded.postgres_server import PostgresNode
from helpers.embedded.private_files import read_file
from helpers.errors import ServerError


def _segments() -> set[str]:
    listed = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True)
    return {word for line in listed.stdout.splitlines() for word in line.split()[1:2]}


@pytest.mark.verify
@pytest.mark.servers
@pytest.mark.parametrize("end", ["reset", "cleanup"])
def test_killed_nodes_leave_no_shared_memory(own_servers: EmbeddedServers, end: str) -> None:
    own_servers.up(workers=1)
    nodes = [own_servers.server(name) for name in ("coordinator", "worker1")]
    files = [read_file(node.directory / "postmaster.pid") for node in nodes]
    segments = {text.splitlines()[6].split()[-1] for text in files}
    assert segments <= _segments()
    nodes[0].kill()
    assert segments <= _segments(), "a killed server leaves its segment"
    if end == "reset":
        own_servers.reset()
    else:
        delete_with_processes(own_servers.settings.data_folder)
    assert not segments & _segments()


#: As a program of initdb that dies on a full disk.
_FAILS = """#!/bin/sh
id=$(ipcmk -M 64 | grep -o '[0-9]*$')
printf '1\\n2\\n3\\n4\\n5\\n6\\n0 %s\\n' "$id" | tee postmaster.pid > ../seen
exit 1
"""


@pytest.mark.skipif(shutil.which("ipcmk") is None, reason="only Linux has ipcmk")
def test_a_failed_initdb_leaves_no_folder_and_no_shared_memory(tmp_path: Path) -> None:
    (tmp_path / "initdb").write_text(_FAILS)
    (tmp_path / "initdb").chmod(0o700)
    (tmp_path / "log").mkdir()
    (tmp_path / "postgres").mkdir()
    folder = DataFolder(tmp_path)
    node = PostgresNode(folder, SavedState(), "coordinator", tmp_path, durable=False)
    node._account = None  # the program is this user's
    with pytest.raises(ServerError, match="could not be prepared"):
        node.initdb(tmp_path / "postgres" / "new")
    assert not (tmp_path / "postgres" / "new").exists()
    segment = (tmp_path / "postgres" / "seen").read_text().split()[-1]
    assert segment not in _segments()


@pytest.mark.parametrize("text", ["", "1\n2", "1\n2\n3\n4\n5\n6\n\n", "1\n2\n3\n4\n5\n6\nx -a"])
def test_a_damaged_lock_file_frees_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "coordinator").mkdir()
    (tmp_path / "coordinator" / "postmaster.pid").write_text(text)
    before = _segments()
    free_shared_memory(tmp_path)
    assert before <= _segments()

"""Data directories are deleted with the shared memory of the servers that were killed in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers.embedded import EmbeddedServers
from helpers.embedded.cleanup_process import delete_with_processes, free_shared_memory
from helpers.embedded.private_files import read_file


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


@pytest.mark.parametrize("text", ["", "1\n2", "1\n2\n3\n4\n5\n6\n\n", "1\n2\n3\n4\n5\n6\nx -a"])
def test_a_damaged_lock_file_frees_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "coordinator").mkdir()
    (tmp_path / "coordinator" / "postmaster.pid").write_text(text)
    before = _segments()
    free_shared_memory(tmp_path)
    assert before <= _segments()

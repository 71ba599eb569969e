"""Data folders: ports of servers that start at the same time, and folders of other users."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import sys
from pathlib import Path

import pytest

from helpers.embedded import data_folder
from helpers.embedded.data_folder import DataFolder
from helpers.errors import ServerError


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reserve a port")
def test_a_port_is_reserved_until_its_server_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        only = probe.getsockname()[1]
    monkeypatch.setattr(data_folder, "_ports_for", lambda _: range(only, only + 1))
    owner, other = DataFolder(tmp_path / "first"), DataFolder(tmp_path / "second")
    with owner.locked() as first, other.locked() as second:
        assert owner.port(first, "redis") == only
        with pytest.raises(ServerError, match="is in use"):
            other.port(second, "redis")
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", only))
            server.listen()
    with other.locked() as second:
        assert other.port(second, "redis") == only


def test_the_folder_of_another_user_is_refused_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DataFolder(tmp_path)
    with folder.locked() as saved:
        folder.write(saved)
    tmp_path.chmod(0o750)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    name = pwd.getpwuid(owner).pw_name
    with (
        pytest.raises(ServerError, match=f"belongs to the user {name}: run this as that user"),
        folder.locked(),
    ):
        pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750

"""Servers started at the same time in different data folders get different ports."""

from __future__ import annotations

import socket
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

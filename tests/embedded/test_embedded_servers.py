"""The embedded servers are reached whatever libpq's environment variables say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.embedded import EmbeddedServers
from helpers.settings import Settings
from tests.e2e.servers.server_helpers import environ

#: Each of these makes connections to the embedded servers fail, or changes their results.
VARIABLES = {
    "PGSSLMODE": "require",
    "PGGSSENCMODE": "require",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "gss",
    "PGHOSTADDR": "127.0.0.9",
    "PGSERVICE": "none",
    "PGSERVICEFILE": "/nowhere",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Asia/Tokyo",
    "PGDATESTYLE": "German",
}


def test_libpq_variables_are_removed_and_pg_bindir_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**VARIABLES, "PG_BINDIR": "/usr/bin"}.items():
        monkeypatch.setenv(name, value)
    EmbeddedServers(Settings(tmp_path))
    assert {name for name in os.environ if name.startswith("PG")} == {"PG_BINDIR"}


@pytest.mark.verify
@pytest.mark.servers
def test_servers_are_found_with_every_variable_set(own_servers: EmbeddedServers) -> None:
    folder = own_servers.settings.data_folder
    variables = environ(folder) | VARIABLES | {"HTTP_PROXY": "http://127.0.0.1:9"}
    for arguments in (["up"], ["seed", "--products", "3"], ["status", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "helpers", *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["postgres"]["engine"]

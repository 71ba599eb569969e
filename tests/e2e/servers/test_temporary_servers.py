"""Temporary servers are separate from others, and removed however their process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.embedded.server_processes import processes_below
from helpers.embedded.temporary_servers import start_temporary_servers
from helpers.faults import temporary_shop
from helpers.settings import PROJECT, load_settings
from helpers.shop import open_shop
from helpers.shop.seeding import seed
from helpers.stores import Stores
from tests.e2e.servers.server_helpers import NAMES, main_pids
from tests.waiting import wait_until

pytestmark = pytest.mark.servers


@pytest.mark.verify
def test_they_are_others_than_the_course_s_and_end_where_the_block_raises() -> None:
    homes = []

    def work() -> None:
        with start_temporary_servers() as servers:
            homes.append(servers.folder.path)
            assert servers.folder.path != load_settings().data_folder
            with open_shop(servers.settings) as stores:
                assert stores.postgres.execute("SELECT 1").fetchone() == (1,)
            assert set(main_pids(servers)) == set(NAMES)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert processes_below(homes[0].parent) == []
    assert not homes[0].parent.exists()


@pytest.mark.verify
def test_what_is_broken_there_is_whole_elsewhere_and_gone_after_the_block(stores: Stores) -> None:
    with temporary_shop() as faults:
        folder = faults._servers._servers.folder.path.parent  # type: ignore[attr-defined]
        seed(faults.stores, 3, orders=False)
        for name in NAMES:
            faults.kill(name)
        assert set(faults.state().values()) == {"stopped"}
        assert stores.postgres.execute("SELECT 1").fetchone() == (1,)
        assert stores.redis.ping()
        assert "products" not in stores.mongo.list_collection_names()
    assert processes_below(folder) == []
    assert not folder.exists()


ABANDONING = """
import sys, time
from helpers.faults import temporary_shop

with temporary_shop() as faults:
    faults.freeze("mongo")
    faults.kill("redis")
    print(faults._servers._servers.folder.path.parent, flush=True)
    time.sleep(600)
"""


def test_they_end_after_their_maker_was_killed() -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", ABANDONING], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout is not None
    with maker, maker.stdout:
        folder = Path(maker.stdout.readline().strip())
        assert len(processes_below(folder)) >= len(NAMES) - 1
        os.kill(maker.pid, signal.SIGKILL)
    wait_until(lambda: not folder.exists())
    assert processes_below(folder) == []

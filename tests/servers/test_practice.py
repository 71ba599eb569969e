"""Servers to break: nobody else's, and gone afterwards, whatever ended their maker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.servers.practice import practice_servers
from helpers.settings import PROJECT, load_settings
from helpers.stores import open_shop
from tests.servers.driving import NAMES, pids, processes_below
from tests.waiting import wait_until

pytestmark = pytest.mark.servers


def test_they_are_others_than_the_course_s_and_end_with_the_block() -> None:
    with practice_servers() as servers:
        home = servers.home.path
        assert home != load_settings().home
        with open_shop(servers.settings) as stores:
            assert stores.postgres.execute("SELECT 1").fetchone() == (1,)
        assert set(pids(servers)) == set(NAMES)
    assert processes_below(home.parent) == []
    assert not home.parent.exists()


def test_they_end_where_the_block_raises() -> None:
    homes = []

    def work() -> None:
        with practice_servers() as servers:
            homes.append(servers.home.path)
            servers.up()
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert processes_below(homes[0].parent) == []


ABANDONING = """
import sys, time
from helpers.servers.practice import practice_servers

with practice_servers() as servers:
    servers.up()
    print(servers.home.path.parent, flush=True)
    time.sleep(600)
"""


def test_they_end_after_their_maker_was_killed() -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", ABANDONING], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout is not None
    with maker, maker.stdout:
        folder = Path(maker.stdout.readline().strip())
        assert len(processes_below(folder)) >= len(NAMES)
        os.kill(maker.pid, signal.SIGKILL)
    wait_until(lambda: not folder.exists())
    assert processes_below(folder) == []

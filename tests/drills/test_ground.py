"""A shop to practise on: others do not notice, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.drills import practice_shop
from helpers.settings import PROJECT
from helpers.shop.seed import seed
from helpers.stores import Stores
from tests.servers.driving import NAMES, processes_below
from tests.waiting import wait_until

pytestmark = pytest.mark.servers


def test_what_is_broken_there_is_whole_elsewhere(stores: Stores) -> None:
    with practice_shop() as drills:
        seed(drills.stores, 3, orders=False)
        for name in NAMES:
            drills.kill(name)
        assert set(drills.state().values()) == {"stopped"}
        assert stores.postgres.execute("SELECT 1").fetchone() == (1,)
        assert stores.redis.ping()
        assert "products" not in stores.mongo.list_collection_names()


DYING = """
import os, signal
from helpers.drills import practice_shop

with practice_shop() as drills:
    drills.freeze("mongo")
    drills.kill("redis")
    print(drills._servers._servers.home.path.parent, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_when_whoever_practises_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    folder = Path(done.stdout.strip())
    wait_until(lambda: not folder.exists())
    assert processes_below(folder) == []
    assert all(str(folder) not in _cwd(one) for one in psutil.process_iter())


def _cwd(process: psutil.Process) -> str:
    try:
        return os.fspath(process.cwd())
    except (psutil.Error, OSError):
        return ""

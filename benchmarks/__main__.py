"""Print all measured figures: ``python -m benchmarks``.

Times depend on the machine and its load. Each figure is the median of several runs, and figures
that are compared come from the same run.
"""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

import psutil

from benchmarks.api import bench_api
from benchmarks.deadline import bench_deadline
from benchmarks.joins import bench_joins
from benchmarks.metadata import bench_metadata
from benchmarks.sharding import bench_sharding
from benchmarks.startup import bench_startup
from benchmarks.stock import bench_stock
from benchmarks.timing import print_figure, seconds
from helpers.embedded import EmbeddedServers
from helpers.joins import batched, per_product
from helpers.settings import Settings, load_settings
from helpers.shop import open_shop
from helpers.shop.seeding import seed

_RUNS = 3
_MEBIBYTE = 1024 * 1024


def main() -> None:
    """Print all figures."""
    cores = len(psutil.Process().cpu_affinity()) if hasattr(os, "sched_getaffinity") else "?"
    print(f"{platform.system()} {platform.machine()}, {cores} cores, Python ", end="")
    print(platform.python_version())
    with tempfile.TemporaryDirectory(prefix="course-bench-") as folder:
        settings = Settings((Path(folder) / "shop").resolve(), pg_bindir=load_settings().pg_bindir)
        servers = EmbeddedServers(settings)
        try:
            bench_startup(servers)
            print_figure("memory of all servers, just started", [memory(servers)], "MiB")
            bench_shop(settings)
            print_figure("memory of all servers, with this data", [memory(servers)], "MiB")
            bench_metadata(settings)
            bench_sharding(settings)
            bench_stock(settings)
            bench_joins(settings)
            bench_api(settings)
            bench_deadline(settings)
        finally:
            servers.reset()


def bench_shop(settings: Settings) -> None:
    """Print the time to fill the shop and to read all of it."""
    with open_shop(settings) as stores:
        print_figure(
            "seed 10,000 products and 30,000 orders", [seconds(lambda: seed(stores, 10_000))], "s"
        )
        thousand = range(1, 1001)
        slow = [seconds(lambda: per_product(stores, thousand)) for _ in range(_RUNS)]
        fast = [seconds(lambda: batched(stores)) for _ in range(_RUNS)]
        print_figure("join of 1,000 products, one look-up per product and store", slow, "s")
        print_figure("join of 10,000 products, one query per store", fast, "s")


def memory(servers: EmbeddedServers) -> float:
    """Return the servers' memory in MiB, with each shared page counted once.

    On macOS, which does not report that, it is the sum of the processes' private memory.
    """
    total = 0
    for name in servers.names():
        for process in servers.server(name).processes():
            memory = process.memory_full_info()
            total += getattr(memory, "pss", 0) or memory.uss
    return total / _MEBIBYTE


if __name__ == "__main__":
    main()

"""``python -m benchmarks``: print the figures that the course claims.

Times differ from machine to machine, and on a shared one from minute to minute: every figure is
the median of several runs, and figures that are compared come from the same run.
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
            bench_servers(servers)
            bench_shop(settings)
            print_figure("memory of all five, after that", [memory(servers)], "MiB")
            bench_metadata(settings)
            bench_sharding(settings)
            bench_stock(settings)
            bench_joins(settings)
            bench_api(settings)
            bench_deadline(settings)
        finally:
            servers.reset()


def bench_servers(servers: EmbeddedServers) -> None:
    """Print how long the servers take to start, and how much memory they hold."""
    first, again = [], []
    for _ in range(_RUNS):
        servers.reset()
        first.append(seconds(lambda: open_shop(servers.settings).close()))
        servers.down()
        again.append(seconds(lambda: open_shop(servers.settings).close()))
    print_figure("start, from nothing to all five answering", first, "s")
    print_figure("start, on an existing data directory", again, "s")
    print_figure(
        "memory of all five, just started (proportional set size)", [memory(servers)], "MiB"
    )


def bench_shop(settings: Settings) -> None:
    """Print how long it takes to fill the shop and to read all of it."""
    with open_shop(settings) as stores:
        print_figure(
            "seed 10,000 products and 30,000 orders", [seconds(lambda: seed(stores, 10_000))], "s"
        )
        thousand = range(1, 1001)
        slow = [seconds(lambda: per_product(stores, thousand)) for _ in range(_RUNS)]
        fast = [seconds(lambda: batched(stores)) for _ in range(_RUNS)]
        print_figure("join of 1,000 products, one look-up per product and store", slow, "s")
        print_figure("join of 10,000 products, one question per store", fast, "s")


def memory(servers: EmbeddedServers) -> float:
    """Return the servers' memory in MiB, each shared page counted once.

    Where the system does not tell (macOS), the sum of what each process holds alone.
    """
    total = 0
    names = [path.name for path in servers.home.path.glob("postgres/*") if path.is_dir()]
    for name in (*names, "mongo", "redis"):
        for process in servers.server(name).processes():
            held = process.memory_full_info()
            total += getattr(held, "pss", 0) or held.uss
    return total / _MEBIBYTE


if __name__ == "__main__":
    main()

"""Print all measured figures: ``python -m benchmarks``.

Times depend on the machine and its load. Each figure is the median of several runs, and figures
that are compared come from the same run.
"""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from benchmarks.api import bench_api
from benchmarks.deadline import bench_deadline
from benchmarks.growth import bench_growth
from benchmarks.joins import bench_joins
from benchmarks.sharding import bench_sharding
from benchmarks.startup import bench_startup
from benchmarks.stock import bench_stock
from helpers.embedded import EmbeddedServers
from helpers.settings import Settings, load_settings


def main() -> None:
    """Print all figures."""
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory(prefix="course-bench-") as folder:
        settings = Settings((Path(folder) / "shop").resolve(), pg_bindir=load_settings().pg_bindir)
        servers = EmbeddedServers(settings)
        try:
            bench_startup(servers)
            for bench in (
                bench_sharding,
                bench_stock,
                bench_joins,
                bench_api,
                bench_deadline,
                bench_growth,
            ):
                bench(settings)
        finally:
            servers.reset()


if __name__ == "__main__":
    main()

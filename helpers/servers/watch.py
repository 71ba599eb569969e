"""Clear servers that are thrown away after use, once the process that made them has died.

``helpers.servers.processes.start_watcher`` calls ``main`` in a process that outlives the maker.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from helpers.servers import processes


def clear_away(folder: Path) -> None:
    """End every process that works below ``folder``, and delete the folder."""
    # Once more where one of them was starting another just then.
    while left := processes.below(folder):
        processes.stop(left, signal.SIGKILL, seconds=10)
    shutil.rmtree(folder, ignore_errors=True)


def main(_: bytes, folder: str) -> None:
    """Clear ``folder``."""
    clear_away(Path(folder))

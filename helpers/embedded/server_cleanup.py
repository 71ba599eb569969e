"""Clear servers that are thrown away after use, once the process that made them has died.

``server_processes.start_watcher`` calls ``main`` in a process that outlives the maker.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from helpers.embedded import server_processes


def clear_away(folder: Path) -> None:
    """End every process that works below ``folder``, and delete the folder."""
    # Once more where one of them was starting another just then.
    while left := server_processes.below(folder):
        server_processes.stop(left, signal.SIGKILL, seconds=10)
    shutil.rmtree(folder, ignore_errors=True)


def main(_: bytes, folder: str) -> None:
    """Clear ``folder``."""
    clear_away(Path(folder))

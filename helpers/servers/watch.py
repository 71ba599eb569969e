"""Clear a spare server away once the process that made it has died.

Run as ``python -m helpers.servers.watch FOLDER``, with a pipe as its input that only the maker
holds: the input ends when the maker does.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from helpers.servers import processes
from helpers.servers.home import SPARE


def clear_away(folder: Path) -> None:
    """End the spare server that works in ``folder``, and delete the folder."""
    left = processes.find(folder / SPARE, "valkey")
    processes.stop(left, signal.SIGKILL, seconds=10)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clear_away(Path(sys.argv[1]))

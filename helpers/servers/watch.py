"""Clear servers that are thrown away after use, once the process that made them has died.

Run as ``python -m helpers.servers.watch FOLDER``, with a pipe as its input that only the maker
holds: the input ends when the maker does.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from helpers.servers import processes


def clear_away(folder: Path) -> None:
    """End every process that works below ``folder``, and delete the folder."""
    # Once more where one of them was starting another just then.
    while left := processes.below(folder):
        processes.stop(left, signal.SIGKILL, seconds=10)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clear_away(Path(sys.argv[1]))

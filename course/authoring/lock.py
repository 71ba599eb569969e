"""Turn ``requirements*.in`` into locks that hold on every platform of the course."""

from __future__ import annotations

import subprocess
import sys

from helpers.settings import PROJECT

#: The lists of direct dependencies, in the order in which one restricts the next.
LISTS = ("requirements", "requirements-dev")


def main() -> int:
    """Resolve every list anew, keeping what the locks pin unless the lists forbid it."""
    for name in LISTS:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"),
                *("--python-version", "3.11", "--generate-hashes"),
                *("--custom-compile-command", "make lock"),
                *(f"{name}.in", "--output-file", f"{name}.txt"),
            ],
            cwd=PROJECT,
            check=False,
        )
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())

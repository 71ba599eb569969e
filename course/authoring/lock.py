"""Resolve ``requirements*.in`` into lock files that work on every supported platform."""

from __future__ import annotations

import subprocess
import sys

from helpers.settings import PROJECT

#: The lists of direct dependencies; each is constrained by the ones before.
LISTS = ("requirements", "requirements-dev")


def main() -> int:
    """Resolve every list again, keeping the locked versions unless the lists exclude them."""
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

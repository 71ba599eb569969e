"""Lock the dependencies of ``pyproject.toml`` for every platform of the course."""

from __future__ import annotations

import subprocess
import sys

from helpers.settings import PROJECT

#: Each lock with the options that select what it holds. A lock restricts those after it.
LOCKS = {
    "requirements.txt": ("--group", "build"),
    "requirements-dev.txt": ("--group", "dev", "--constraints", "requirements.txt"),
}


def main() -> int:
    """Resolve both locks again, keeping the pinned versions unless ``pyproject.toml`` forbids it.

    Returns the exit code of the resolver.
    """
    for name, options in LOCKS.items():
        # Without a source only the group is resolved; the second lock holds what the first has not.
        source = ("pyproject.toml",) if name == "requirements.txt" else ()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"),
                *("--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"),
                *("--custom-compile-command", "make lock"),
                *(*source, *options, "--output-file", name),
            ],
            cwd=PROJECT,
            check=False,
        )
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())

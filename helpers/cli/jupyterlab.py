"""Start JupyterLab in the notebooks' folder, on the loopback address."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from helpers.settings import PROJECT


def command(port: int, folder: Path = PROJECT / "notebooks") -> list[str]:
    """Return the command that serves JupyterLab in ``folder`` and prints its address with a token.

    It opens a browser if there is a screen.
    """
    options = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder}",
        # Do not ask about news or look for updates on a student's first screen.
        f"--LabApp.app_settings_dir={Path(__file__).parent / 'lab_settings'}",
    ]
    if os.geteuid() == 0:
        options.append("--allow-root")
    if not _has_screen():
        options.append("--no-browser")
    return [sys.executable, "-m", "jupyterlab", *options]


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def main() -> None:
    """Replace this process by JupyterLab."""
    parser = argparse.ArgumentParser(prog="python -m helpers.cli.jupyterlab", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=8888, help="if it is in use, the next free port is taken"
    )
    line = command(parser.parse_args().port)
    os.execv(line[0], line)  # noqa: S606


if __name__ == "__main__":
    main()

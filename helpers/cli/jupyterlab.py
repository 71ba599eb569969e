"""Start JupyterLab in the notebooks' folder, on the loopback address."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import uuid
from pathlib import Path

from helpers.embedded.cleanup_process import start_cleanup_process
from helpers.settings import PROJECT

#: The name of a folder with the connection files and sockets of the running kernels begins so.
RUNTIME = "course-"

# The path of a socket has at most 103 bytes on macOS, 107 on Linux; a socket in that folder is
# called kernel-…-ipc-1, with a UUID.
_PATH_BYTES = 103 if sys.platform == "darwin" else 107
_LONGEST = _PATH_BYTES - len(f"/{RUNTIME}12345678/kernel-{uuid.UUID(int=0)}-ipc-1")


def command(port: int, folder: Path = PROJECT / "notebooks") -> list[str]:
    """Return the command that serves JupyterLab in ``folder`` and prints its address with a token.

    It opens a browser if there is a screen.
    """
    options = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder}",
        # By TCP, every user of this machine could read what a kernel prints.
        "--KernelManager.transport=ipc",
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


def runtime_folder() -> Path:
    """Create a folder for connection files and sockets; a cleanup process deletes it.

    Only this user may enter it. The cleanup process waits until this process has ended, also if it
    has been replaced by another program (``exec``).
    """
    place = tempfile.gettempdir()
    short = place if len(os.fsencode(place)) <= _LONGEST else "/tmp"  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix=RUNTIME, dir=short))
    cleanup = start_cleanup_process("helpers.cli.kernel_cleanup", str(folder))
    assert cleanup.stdin is not None
    # The copy is not closed with ``cleanup``, and survives ``exec``.
    os.set_inheritable(os.dup(cleanup.stdin.fileno()), True)
    return folder


def main() -> None:
    """Replace this process by JupyterLab."""
    parser = argparse.ArgumentParser(prog="python -m helpers.cli.jupyterlab", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=8888, help="if it is in use, the next free port is taken"
    )
    line = command(parser.parse_args().port)
    os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime_folder())
    os.execv(line[0], line)  # noqa: S606


if __name__ == "__main__":
    main()

"""The servers of one submission: a copy of servers that were prepared once, in a sandbox.

The students may do with them what they like, and PostgreSQL's superuser may start programs: so the
servers see neither files nor the network.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from helpers.errors import ServerError
from helpers.settings import Addresses, load_settings

_DATA_MIB = 1024
_TEMPLATE = "/template"


@contextlib.contextmanager
def prepared_servers() -> Iterator[Path]:
    """Prepare servers with an empty shop, and yield the folder with their data.

    Raises ``ServerError``.
    """
    from course.grading.sandbox import Sandbox
    from helpers.embedded.temporary_servers import temporary_folder

    with temporary_folder("course-graded-") as folder:
        folder.chmod(0o777)  # its parent is closed to others
        inside = f"{_TEMPLATE}/shop"
        started = Sandbox(_DATA_MIB, write={folder: _TEMPLATE})
        _talk(started.launch("course.grading.servers", [inside], stdin=-1, stdout=-1))
        yield folder


@contextlib.contextmanager
def graded_servers(prepared: Path, used: list[float]) -> Iterator[Addresses]:
    """Start a copy of the ``prepared`` servers, and yield their addresses.

    At the end, the processor time that they used is appended to ``used``.

    Raises ``ServerError``.
    """
    from course.grading.sandbox import Sandbox, end_sandbox

    sandbox = Sandbox(_DATA_MIB, network=True, read={prepared: _TEMPLATE})
    process = sandbox.launch("course.grading.servers", [], stdin=-1, stdout=-1)
    try:
        assert process.stdout is not None
        yield _addresses(process, process.stdout.readline())
    finally:
        used.append(end_sandbox(process))


def _talk(process: subprocess.Popen[bytes]) -> None:
    with process:
        output, _ = process.communicate()
    _addresses(process, output)


def _addresses(process: subprocess.Popen[bytes], line: bytes) -> Addresses:
    try:
        fields = json.loads(line)
    except ValueError:
        process.wait()
        raise ServerError(
            f"The servers for grading did not start (exit code {process.returncode}): try again."
        ) from None
    if "error" in fields:
        raise ServerError(f"The servers for grading did not start: {fields['error']}")
    names = tuple((host, port) for host, port in fields.pop("worker_names"))
    return Addresses(**{**fields, "workers": tuple(fields["workers"]), "worker_names": names})


def main() -> int:
    """Start servers and print their addresses; stop them when standard input is closed.

    With an argument, prepare them in that folder and stop at once; without, start a copy.
    """
    from helpers.errors import CourseError
    from helpers.shop import locate

    prepare = sys.argv[1:]
    try:
        if prepare:
            os.environ["SHOP_HOME"] = prepare[0]
        else:
            shutil.copytree(f"{_TEMPLATE}/shop", os.environ["SHOP_HOME"], symlinks=True)
        addresses = locate(load_settings())
        if prepare:
            from helpers.embedded import EmbeddedServers

            EmbeddedServers(load_settings()).down()
        print(json.dumps(asdict(addresses)), flush=True)
    except (CourseError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    if not prepare:
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Run ``python -m helpers`` in this process: a new process takes two seconds to import it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

from helpers.cli.commands import main


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_main(environ: Mapping[str, str], *arguments: str) -> Done:
    """Run a command with this environment. A usage error gives the exit code of a process."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return Done(code, output.getvalue(), errors.getvalue())

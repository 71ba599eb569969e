"""``python -m helpers``, run in this process: a process of its own takes two seconds to import."""

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
    """What a command that has ended returned and printed."""

    returncode: int
    stdout: str
    stderr: str


def run_here(environ: Mapping[str, str], *arguments: str) -> Done:
    """Run one command with this environment. A usage error is its exit code, as in a process."""
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

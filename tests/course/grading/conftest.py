"""Let the grader work on disk, as for an instructor, not in the test run's ``/dev/shm``.

A student's kernel may write to ``/dev/shm``, even from the sandbox.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from tests.cleanup import RUN


@pytest.fixture(scope="package", autouse=True)
def folders_on_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", os.environ[RUN])
        patch.setattr(tempfile, "tempdir", None)
        yield

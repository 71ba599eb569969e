"""The grader works on disk, as it does for an instructor, not in the memory of the test run.

There, a student's kernel may write: the sandbox leaves it ``/dev/shm``.
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

"""The requests of the test on a new machine, sent to JupyterLab itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from course.authoring.screenshot import lab
from tests.e2e.fresh.clone import (
    NOTEBOOK,
    FreshError,
    Lab,
    check_page,
    find_lab,
    request_text,
    start_kernel,
)

pytestmark = pytest.mark.verify


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab on a folder with one notebook."""
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / NOTEBOOK).write_text(json.dumps(notebook), "utf-8")
    with lab(tmp_path) as address:
        found = find_lab(address.replace("-", "_"))
        assert found is not None
        yield Lab(found.port, address.partition("token=")[2])


def test_the_token_is_required_and_a_kernel_starts(running: Lab) -> None:
    check_page(running)
    kernel = start_kernel(running, NOTEBOOK)
    listed = json.loads(request_text(f"http://127.0.0.1:{running.port}/api/kernels", running.token))
    assert [one["id"] for one in listed] == [kernel]
    with pytest.raises(FreshError, match="403"):
        start_kernel(Lab(running.port, "another"), NOTEBOOK)
    with pytest.raises(FreshError, match="does not respond"):
        request_text(f"http://127.0.0.1:{running.port}/api/contents/no", running.token)

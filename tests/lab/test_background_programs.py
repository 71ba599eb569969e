"""Programs in the background are reached without a proxy."""

from __future__ import annotations

import os

import httpx
import pytest

from helpers.lab.background_programs import reach_loopback_directly
from tests.lab.apps import BODY, site


@pytest.mark.parametrize("given", ["", "example.org", "example.org,localhost"])
def test_loopback_is_reached_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, given)
    reach_loopback_directly()
    reach_loopback_directly()
    hosts = os.environ["NO_PROXY"].split(",")
    assert len(hosts) == len(set(hosts))
    assert set(given.split(",")) - {""} <= set(hosts)
    with site() as (_, url), httpx.Client() as client:
        assert client.get(url).content == BODY

"""Which addresses can be proxied, and how they are rewritten."""

from __future__ import annotations

import pytest

from helpers.errors import SettingsError
from helpers.proxy import TcpProxy
from helpers.proxy.upstream import find_target


@pytest.mark.parametrize(
    ("url", "shown", "through"),
    [
        (
            "postgresql://me:p%40ss@db.example:6000/shop?connect_timeout=3",
            "PostgreSQL at db.example:6000",
            "postgresql://me:p%40ss@127.0.0.1:1234/shop?connect_timeout=3",
        ),
        ("postgres://db", "PostgreSQL at db:5432", "postgres://127.0.0.1:1234"),
        (
            "postgresql://me@db/shop?host=other&port=7000&sslmode=require",
            "PostgreSQL at other:7000",
            "postgresql://me@127.0.0.1:1234/shop?sslmode=require",
        ),
        (
            "postgresql://me:secret@%2Fvar%2Frun/shop",
            "PostgreSQL at /var/run/.s.PGSQL.5432",
            "postgresql://me:secret@127.0.0.1:1234/shop",
        ),
        (
            "postgresql:///shop?host=/tmp&port=5433",
            "PostgreSQL at /tmp/.s.PGSQL.5433",
            "postgresql://127.0.0.1:1234/shop",
        ),
        (
            "mongodb://shop:secret@127.0.0.1:4000/ecommerce?authSource=admin",
            "MongoDB at 127.0.0.1:4000",
            "mongodb://shop:secret@127.0.0.1:1234/ecommerce?authSource=admin&directConnection=true",
        ),
        (
            "mongodb://[::1]?directConnection=false",
            "MongoDB at ::1:27017",
            "mongodb://127.0.0.1:1234/?directConnection=true",
        ),
        ("redis://:secret@h/3", "Redis at h:6379", "redis://:secret@127.0.0.1:1234/3"),
    ],
)
def test_through_replaces_the_server_and_keeps_the_rest_of_the_address(
    url: str, shown: str, through: str
) -> None:
    target = find_target(url)
    assert repr(target) == shown
    assert target.through(1234) == through


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rediss://:secret@h", "TLS"),
        ("mongodb+srv://me:secret@h/shop", "TLS"),
        ("mongodb://me:secret@h/shop?tls=true", "TLS"),
        ("mongodb://me:secret@h/?ssl=True", "TLS"),
        ("postgresql://me:secret@h/shop?sslmode=verify-full", "TLS"),
        ("mongodb://me:secret@h1,h2/shop", "several servers"),
        ("postgresql://me:secret@h1:1,h2:2/shop", "several servers"),
        ("postgresql://me:secret@/shop?host=h1,h2", "several servers"),
        ("postgresql://h/shop?port=1,2&password=secret", "no single port"),
        ("mongodb://me:secret@h/?loadBalanced=true", "load balancer"),
        ("redis://:secret@h:99999", "malformed"),
        ("redis://:secret@", "names no server"),
        ("http://me:secret@h", "none of postgresql"),
        ("unix://:secret@/tmp/redis.sock", "none of postgresql"),
    ],
)
def test_an_address_that_cannot_be_proxied_is_rejected_without_its_password(
    url: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match="cannot be proxied") as caught:
        TcpProxy(url)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    with TcpProxy("redis://:secret@127.0.0.1:1", 0.005) as proxy:
        assert "secret" in proxy.url
        assert repr(proxy) == "<TcpProxy to Redis at 127.0.0.1:1, round trip 5 ms>"
        assert "secret" not in " ".join(proxy._process.args)  # type: ignore[arg-type]

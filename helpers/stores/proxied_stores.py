"""Connect to the same three stores through proxies that can delay, freeze and cut connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from helpers.errors import ProxyError
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.stores.stores import Stores, connect_again


@dataclass(frozen=True)
class Proxies:
    """One proxy for each store, and what can be done to all three together."""

    postgres: TcpProxy
    mongo: TcpProxy
    redis: TcpProxy

    def set_round_trip(self, seconds: float) -> None:
        """Add ``seconds`` to each round trip to any store. Raises ``SettingsError``."""
        for proxy in self.all():
            proxy.set_round_trip(seconds)

    def restore(self) -> None:
        """End a cut or a freeze of all proxies."""
        for proxy in self.all():
            proxy.restore()

    def all(self) -> tuple[TcpProxy, TcpProxy, TcpProxy]:
        """Return the three proxies."""
        return self.postgres, self.mongo, self.redis


@dataclass(frozen=True, repr=False)
class ProxiedStores(Stores):
    """Stores that are reached through ``proxies``."""

    proxies: Proxies


@contextlib.contextmanager
def proxied(stores: Stores, round_trip: float = 0.0) -> Iterator[ProxiedStores]:
    """Connect to the databases of ``stores`` through proxies that add ``round_trip`` seconds.

    ``stores`` itself does not change. The ``addresses`` of the result lead through the proxies too,
    except those of the workers, so that further connections are delayed alike. At the end the
    proxies are restored before they are closed: the stores receive what a freeze held back.

    Raises ``SettingsError`` if an address uses TLS or names several servers, ``ProxyError`` if a
    proxy does not start, and ``StoreError`` if a store does not respond.
    """
    addresses = stores.addresses
    with contextlib.ExitStack() as opened:
        proxies = Proxies(
            opened.enter_context(TcpProxy(addresses.coordinator, round_trip)),
            opened.enter_context(TcpProxy(addresses.mongo, round_trip)),
            opened.enter_context(TcpProxy(addresses.redis, round_trip)),
        )
        proxied_addresses = replace(
            addresses,
            coordinator=proxies.postgres.url,
            mongo=proxies.mongo.url,
            redis=proxies.redis.url,
        )
        far = opened.enter_context(connect_again(stores, proxied_addresses))
        # Closing, PyMongo sends endSessions and waits for the reply.
        opened.callback(_restore_running, proxies)
        yield ProxiedStores(far.postgres, far.mongo, far.redis, far.addresses, proxies)


def _restore_running(proxies: Proxies) -> None:
    for proxy in proxies.all():
        with contextlib.suppress(ProxyError):  # it was closed, or its process has exited
            proxy.restore()

"""The same three stores once more, over a network that obeys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from helpers.errors import ProxyError
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.stores.connect import connect_mongo, connect_postgres, connect_redis
from helpers.stores.stores import Stores


@dataclass(frozen=True)
class Proxies:
    """One link to each store. What is done to all three is done here."""

    postgres: TcpProxy
    mongo: TcpProxy
    redis: TcpProxy

    def set_round_trip(self, seconds: float) -> None:
        """Add ``seconds`` to each round trip to any store. Raises ``SettingsError``."""
        for link in self._all():
            link.set_round_trip(seconds)

    def cut(self) -> None:
        """Close all connections to all stores at once, and every new one."""
        for link in self._all():
            link.cut()

    def freeze(self) -> None:
        """Let all connections to all stores hang."""
        for link in self._all():
            link.freeze()

    def restore(self) -> None:
        """End a cut or a freeze of all proxies."""
        for link in self._all():
            link.restore()

    def _all(self) -> tuple[TcpProxy, TcpProxy, TcpProxy]:
        return self.postgres, self.mongo, self.redis


@dataclass(frozen=True)
class ProxiedStores(Stores):
    """Stores that are reached through ``proxies``."""

    proxies: Proxies

    def __repr__(self) -> str:
        return f"<Stores of {self.mongo.name}, proxied>"


@contextlib.contextmanager
def proxied(stores: Stores, round_trip: float = 0.0) -> Iterator[ProxiedStores]:
    """Connect to the databases of ``stores`` once more, with ``round_trip`` seconds to each store.

    The connections are new ones; ``stores`` stays as it is. Their ``addresses`` lead through the
    proxies too, except those of the workers, so that what connects by them is slowed alike. At the
    end the proxies are restored before they are closed: what a freeze still held, the store gets.

    Raises ``SettingsError`` where an address wants TLS or names several servers, ``ProxyError``
    where a relay does not start, and ``StoreError`` where a store does not answer.
    """
    addresses = stores.addresses
    with contextlib.ExitStack() as opened:
        proxies = Proxies(
            opened.enter_context(TcpProxy(addresses.coordinator, round_trip)),
            opened.enter_context(TcpProxy(addresses.mongo, round_trip)),
            opened.enter_context(TcpProxy(addresses.redis, round_trip)),
        )
        far = replace(
            addresses,
            coordinator=proxies.postgres.url,
            mongo=proxies.mongo.url,
            redis=proxies.redis.url,
        )
        postgres = connect_postgres(far.coordinator, database=stores.postgres.info.dbname)
        opened.callback(postgres.close)
        mongo = connect_mongo(far.mongo, database=stores.mongo.name)
        opened.callback(mongo.client.close)
        number = stores.redis.connection_pool.connection_kwargs.get("db")
        client = connect_redis(far.redis, database=number)
        opened.callback(client.close)
        # PyMongo says goodbye when it is closed, and waits for the answer.
        opened.callback(_let_pass, proxies)
        yield ProxiedStores(postgres, mongo, client, far, proxies)


def _let_pass(proxies: Proxies) -> None:
    for link in (proxies.postgres, proxies.mongo, proxies.redis):
        with contextlib.suppress(ProxyError):  # closed before, or ended by something else
            link.restore()

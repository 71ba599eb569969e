"""Fault injection: servers that stop, crash or hang, and ways to them that are slow or cut.

What is done here is real: the processes are stopped, killed or frozen, and the network is that of
``helpers.proxy``. However a drill ends, everything is brought back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from helpers.embedded.server import ServerState
from helpers.errors import SettingsError
from helpers.faults.fault_lock import only_one
from helpers.faults.restoring import guarded, restored
from helpers.faults.server_control import ControlledServers, find_servers, restart
from helpers.proxy import TcpProxy
from helpers.settings import Settings, load_settings
from helpers.stores.proxied_stores import ProxiedStores, proxied
from helpers.stores.stores import Stores, connect_all


class FaultInjection:
    """What can be done to the servers of one shop, and to the ways to them.

    A server's name is ``coordinator``, ``worker1``, …, ``mongo`` or ``redis``; its methods raise
    ``ServerError`` where there is none of that name, and ``SettingsError`` where the servers are
    given by address and beyond our reach. A store's name is ``postgres``, ``mongo`` or ``redis``:
    what is done to the way there works whatever the servers are, on ``stores``, on what ``connect``
    returns, and on every process that uses their addresses.
    """

    def __init__(self, servers: ControlledServers, stores: ProxiedStores) -> None:
        self.stores = stores
        self._servers = servers

    # The servers.

    def state(self) -> dict[str, ServerState]:
        """Return each server's state by its name: running, stopped or frozen."""
        return {name: self._servers.state(name) for name in self._servers.names()}

    def stop(self, name: str) -> None:
        """Stop a server as its operator does: it may put its things in order."""
        self._servers.stop(name)

    def kill(self, name: str) -> None:
        """End a server as a crash does (SIGKILL)."""
        self._servers.kill(name)

    def freeze(self, name: str) -> None:
        """Let a server hang (SIGSTOP): it keeps its port and connections, and says nothing."""
        self._servers.freeze(name)

    def thaw(self, name: str) -> None:
        """Let a frozen server go on. Where it is not frozen, nothing happens."""
        self._servers.thaw(name)

    def start(self, name: str) -> None:
        """Bring a server back, whatever was done to it; return when it answers."""
        self._servers.start(name)

    def restart(self, name: str) -> None:
        """Start a server anew: one that runs is stopped before, one that is frozen is killed."""
        restart(self._servers, name)

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Stop a server, and bring it back at the end."""
        with self._away(self.stop, name):
            yield

    @contextlib.contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Kill a server, and bring it back at the end."""
        with self._away(self.kill, name):
            yield

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze a server, and let it go on at the end."""
        with self._away(self.freeze, name):
            yield

    # The ways to the stores.

    def slow(self, store: str, seconds: float) -> None:
        """Add ``seconds`` to each round trip to a store from now on; 0 ends that.

        Raises ``SettingsError`` unless it is from 0 to 60 seconds.
        """
        self._link(store).set_round_trip(seconds)

    def hang(self, store: str) -> None:
        """Let the connections to a store hang: what is sent is taken and goes nowhere."""
        self._link(store).freeze()

    def cut(self, store: str) -> None:
        """Close the connections to a store at once, and every new one."""
        self._link(store).cut()

    def mend(self, store: str) -> None:
        """End whatever was done to the way to a store."""
        link = self._link(store)
        link.restore()
        link.set_round_trip(0.0)

    @contextlib.contextmanager
    def slowed(self, store: str, seconds: float) -> Iterator[None]:
        """Add ``seconds`` to each round trip to a store until the end."""
        with self._broken(lambda _: self.slow(store, seconds), store):
            yield

    @contextlib.contextmanager
    def hanging(self, store: str) -> Iterator[None]:
        """Let the connections to a store hang until the end."""
        with self._broken(self.hang, store):
            yield

    @contextlib.contextmanager
    def cut_off(self, store: str) -> Iterator[None]:
        """Cut the way to a store until the end."""
        with self._broken(self.cut, store):
            yield

    def connect(self) -> Stores:
        """Connect to the same databases once more, over the same ways; close it after use.

        A connection to PostgreSQL that was lost does not come back by itself. Raises
        ``StoreError`` where a store does not answer.
        """
        stores = self.stores
        number = stores.redis.connection_pool.connection_kwargs.get("db")
        return connect_all(
            stores.addresses, database=stores.postgres.info.dbname, redis_database=number
        )

    @contextlib.contextmanager
    def _away(self, act: Callable[[str], None], name: str) -> Iterator[None]:
        try:
            act(name)
            yield
        finally:
            self.start(name)

    @contextlib.contextmanager
    def _broken(self, act: Callable[[str], None], store: str) -> Iterator[None]:
        try:
            act(store)
            yield
        finally:
            self.mend(store)

    def _link(self, store: str) -> TcpProxy:
        links: Mapping[str, TcpProxy] = {
            "postgres": self.stores.proxies.postgres,
            "coordinator": self.stores.proxies.postgres,
            "mongo": self.stores.proxies.mongo,
            "redis": self.stores.proxies.redis,
        }
        if store not in links:
            raise SettingsError(
                f"No link of ours leads to {store!r}: there is one to each of postgres, mongo and "
                "redis. The nodes reach one another without."
            )
        return links[store]


@contextlib.contextmanager
def inject_faults(
    stores: Stores,
    *,
    settings: Settings | None = None,
    wait_seconds: float = 30.0,
    guard: bool = True,
) -> Iterator[FaultInjection]:
    """Yield drills on the servers of ``stores``; bring everything back at the end.

    The servers are the course's own, or the containers of docker-compose.yml; where they are given
    by address otherwise, only the ways to them can be drilled. ``settings`` are those that
    ``stores`` were opened with, by default the environment's.

    Everything is brought back when the body raises, and soon after the death of this process too,
    whatever killed it (unless ``guard`` is off, for servers that nobody wants back then).
    Connections of ``stores`` to a server that was stopped are lost, as its clients' are. Other
    programs that open the shop meanwhile start what is away: keep to one.

    Raises ``FaultError`` where another drill of the same servers is on for ``wait_seconds``;
    ``SettingsError`` where the stores are others than those of ``settings``, or no link can lead
    there; ``ProxyError`` and ``StoreError`` as ``proxied`` does; and at the end ``ServerError``
    when a server does not come back.
    """
    servers = find_servers(settings or load_settings(), stores.addresses)
    file = servers.lock()
    with contextlib.ExitStack() as held:
        if file is not None:
            lock = held.enter_context(only_one(file, wait_seconds=wait_seconds))
        far = held.enter_context(proxied(stores))
        if file is not None:
            # Inside: the links are closed when the servers are back, to which they say goodbye.
            held.enter_context(guarded(servers, lock) if guard else restored(servers))
        yield FaultInjection(servers, far)

"""Inject faults: stop, kill or freeze servers, and delay, hang or cut the connections to them.

The faults are real: processes are stopped, killed or frozen, and connections go through
``helpers.proxy``. Everything is restored at the end, however the block ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from helpers.embedded.server import ServerState
from helpers.embedded.temporary_servers import start_temporary_servers
from helpers.errors import SettingsError
from helpers.faults.fault_lock import hold_fault_lock
from helpers.faults.restoration import restore_at_exit, restore_even_after_crash
from helpers.faults.server_control import ControlledServers, find_servers, restart
from helpers.proxy import TcpProxy
from helpers.settings import Settings, load_settings
from helpers.shop import open_shop
from helpers.stores.proxied_stores import ProxiedStores, proxied
from helpers.stores.stores import Stores, connect_again


class FaultInjection:
    """Injects faults into the servers of one shop and into the connections to them.

    Servers are called ``coordinator``, ``worker1``, …, ``mongo`` and ``redis``. Methods that take a
    server raise ``ServerError`` if there is no such server, and ``SettingsError`` if the servers
    were given by address, so that their processes cannot be controlled.

    Stores are called ``postgres``, ``mongo`` and ``redis``. Methods that take a store work with all
    servers: they affect ``stores``, the stores that ``connect`` returns, and every process that
    uses their addresses.
    """

    def __init__(self, servers: ControlledServers, stores: ProxiedStores) -> None:
        self.stores = stores
        self._servers = servers

    # Servers.

    def state(self) -> dict[str, ServerState]:
        """Return the state of each server by name: running, stopped or frozen."""
        return {name: self._servers.server(name).state() for name in self._servers.names()}

    def stop(self, name: str) -> None:
        """Shut a server down cleanly."""
        self._servers.server(name).stop()

    def kill(self, name: str) -> None:
        """Kill a server (SIGKILL), as a crash does."""
        self._servers.server(name).kill()

    def freeze(self, name: str) -> None:
        """Freeze a server (SIGSTOP): it keeps its port and connections, but does not respond."""
        self._servers.server(name).freeze()

    def thaw(self, name: str) -> None:
        """Resume a frozen server. Does nothing if it is not frozen."""
        self._servers.server(name).thaw()

    def start(self, name: str) -> None:
        """Start or resume a server, and return when it responds."""
        self._servers.start(name)

    def restart(self, name: str) -> None:
        """Restart a server: stop it first if it is running, kill it first if it is frozen."""
        restart(self._servers, name)

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Shut a server down cleanly, and start it at the end."""
        with self._server_fault(self.stop, name):
            yield

    @contextlib.contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Kill a server, and start it at the end."""
        with self._server_fault(self.kill, name):
            yield

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze a server, and resume it at the end."""
        with self._server_fault(self.freeze, name):
            yield

    # Connections to stores.

    def slow(self, store: str, seconds: float) -> None:
        """Add ``seconds`` to each round trip to a store; 0 removes the delay.

        Raises ``SettingsError`` unless it is between 0 and 60 seconds.
        """
        self._proxy(store).set_round_trip(seconds)

    def hang(self, store: str) -> None:
        """Let the connections to a store hang: data is accepted but not forwarded."""
        self._proxy(store).freeze()

    def cut(self, store: str) -> None:
        """Close the connections to a store, and every new one immediately."""
        self._proxy(store).cut()

    def restore(self, store: str) -> None:
        """Remove all faults from the connections to a store."""
        proxy = self._proxy(store)
        proxy.restore()
        proxy.set_round_trip(0.0)

    def connect(self) -> Stores:
        """Open further connections to the same databases through the same proxies; close them.

        A lost connection to PostgreSQL is not reopened automatically. Raises ``StoreError`` if a
        store does not respond.
        """
        return connect_again(self.stores)

    @contextlib.contextmanager
    def _server_fault(self, inject: Callable[[str], None], name: str) -> Iterator[None]:
        try:
            inject(name)
            yield
        finally:
            self.start(name)

    def _proxy(self, store: str) -> TcpProxy:
        proxies: Mapping[str, TcpProxy] = {
            "postgres": self.stores.proxies.postgres,
            "coordinator": self.stores.proxies.postgres,
            "mongo": self.stores.proxies.mongo,
            "redis": self.stores.proxies.redis,
        }
        if store not in proxies:
            raise SettingsError(
                f"There is no proxy in front of {store!r}, only in front of postgres, mongo and "
                "redis. The nodes of the cluster connect to each other directly."
            )
        return proxies[store]


@contextlib.contextmanager
def inject_faults(
    stores: Stores,
    *,
    settings: Settings | None = None,
    wait_seconds: float = 30.0,
    survive_crash: bool = True,
) -> Iterator[FaultInjection]:
    """Yield fault injection on the servers of ``stores``; restore everything at the end.

    The servers are the embedded ones or the containers of docker-compose.yml. If they were given by
    other addresses, only the connections to them can be disturbed. ``settings`` are those that
    ``stores`` were opened with, by default the environment's.

    Everything is restored if the block raises, and soon after this process dies, unless
    ``survive_crash`` is false, as for servers that are then removed. Connections of ``stores`` to a
    stopped server are lost. A program that opens the shop meanwhile starts the stopped servers, so
    use one program at a time.

    Raises ``FaultError`` if another process still injects faults into the same servers after
    ``wait_seconds``; ``SettingsError`` if ``stores`` do not belong to ``settings`` or cannot be
    proxied; ``ProxyError`` and ``StoreError`` as ``proxied`` does; at the end ``ServerError`` if a
    server does not start.
    """
    servers = find_servers(settings or load_settings(), stores.addresses)
    file = servers.lock()
    with contextlib.ExitStack() as resources:
        if file is not None:
            lock = resources.enter_context(hold_fault_lock(file, wait_seconds=wait_seconds))
        far = resources.enter_context(proxied(stores))
        if file is not None:
            # After the proxies: drivers say goodbye to their servers when connections are closed.
            resources.enter_context(
                restore_even_after_crash(servers, lock)
                if survive_crash
                else restore_at_exit(servers)
            )
        yield FaultInjection(servers, far)


@contextlib.contextmanager
def temporary_shop() -> Iterator[FaultInjection]:
    """Yield fault injection on an empty shop whose servers are removed at the end.

    The shop's stores are ``faults.stores``. They connect through proxies, and so does every process
    that uses their addresses, such as a service.

    Raises ``ServerError`` if its servers cannot be started, and ``ProxyError``.
    """
    with (
        start_temporary_servers() as servers,
        open_shop(servers.settings) as stores,
        # The servers are removed if this process dies, so they must not be restored then.
        inject_faults(stores, settings=servers.settings, survive_crash=False) as faults,
    ):
        yield faults

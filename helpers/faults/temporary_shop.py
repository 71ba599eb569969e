"""A test shop: a shop on temporary servers, with fault injection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from helpers.embedded.temporary_servers import start_temporary_servers
from helpers.faults.fault_injection import FaultInjection, inject_faults
from helpers.shop import open_shop


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

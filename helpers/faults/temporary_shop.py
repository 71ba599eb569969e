"""A shop to practise on: servers of its own, and drills on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from helpers.embedded.temporary_servers import start_temporary_servers
from helpers.faults.fault_injection import FaultInjection, inject_faults
from helpers.shop import open_shop


@contextlib.contextmanager
def temporary_shop() -> Iterator[FaultInjection]:
    """Yield drills on a shop that nobody else uses, empty; clear its servers away at the end.

    Its stores are ``drills.stores``. They are reached through links, and so is whatever connects by
    their addresses, such as a service.

    Raises ``ServerError`` where its servers cannot be started, and ``ProxyError``.
    """
    with (
        start_temporary_servers() as servers,
        open_shop(servers.settings) as stores,
        # A guard would start again what is cleared away when this process dies.
        inject_faults(stores, settings=servers.settings, guard=False) as drills,
    ):
        yield drills

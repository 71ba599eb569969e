"""Stores behind proxies, with timeouts, for the task about unavailable stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.proxied_stores import Proxies, proxied
from helpers.stores.stores import connect_again

#: The timeout of a store. An available one responds within a few milliseconds.
ANSWER_SECONDS = 1.0


@contextlib.contextmanager
def proxied_with_timeouts(stores: Stores) -> Iterator[tuple[Stores, Proxies]]:
    """Connect to the databases of ``stores`` through proxies that can be cut or frozen.

    Yields the connections and the proxies. A store that does not respond raises its driver's error
    after about a second.

    Raises ``SettingsError``, ``ProxyError`` or ``StoreError`` as ``proxied`` does.
    """
    limits = Limits(answer_seconds=ANSWER_SECONDS)
    with proxied(stores) as far:
        try:
            with (
                connect_again(far, limits=limits) as near,
                _restored(far.proxies),  # before it is closed: PyMongo says goodbye, and waits
            ):
                yield near, far.proxies
        finally:
            far.proxies.restore()


@contextlib.contextmanager
def _restored(proxies: Proxies) -> Iterator[None]:
    try:
        yield
    finally:
        proxies.restore()

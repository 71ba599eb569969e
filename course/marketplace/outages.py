"""Stores that can be taken away, reached over links that obey, with a limit to every wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.proxied_stores import Proxies, proxied
from helpers.stores.stores import connect_again
from helpers.stores.time_budgets import Budgets

#: How long a store may take to answer. One that is there takes a few thousandths of it.
ANSWER_SECONDS = 1.0


@contextlib.contextmanager
def within_reach(stores: Stores) -> Iterator[tuple[Stores, Proxies]]:
    """Connect to the databases of ``stores`` once more, over links that can be cut or frozen.

    A store that does not answer raises its driver's error after a second or little more.

    Raises ``SettingsError``, ``ProxyError`` or ``StoreError`` as ``helpers.linked`` does.
    """
    limits = Limits(budgets=Budgets.even(ANSWER_SECONDS))
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
def _restored(links: Proxies) -> Iterator[None]:
    try:
        yield
    finally:
        links.restore()

"""Proxies that several tests share: starting their three processes takes longer than most tests.

A fixture makes them for a module; each test has them by ``restored``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from helpers.stores import Stores
from helpers.stores.connect import connect_postgres
from helpers.stores.proxied_stores import ProxiedStores


@contextlib.contextmanager
def restored(far: ProxiedStores) -> Iterator[ProxiedStores]:
    """Yield the linked stores as they were at first, and restore their links in the end.

    A connection to PostgreSQL does not survive that its link is cut: there is a new one then.
    """
    with contextlib.ExitStack() as opened:
        opened.callback(far.proxies.set_round_trip, 0)
        opened.callback(far.proxies.restore)
        if _answers(far):
            yield far
            return
        postgres = connect_postgres(far.addresses.coordinator, database=far.mongo.name)
        opened.callback(postgres.close)
        yield replace(far, postgres=postgres)


def _answers(far: Stores) -> bool:
    with contextlib.suppress(Exception):
        return far.postgres.execute("SELECT 1").fetchone() == (1,)
    return False

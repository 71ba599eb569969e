"""Restore proxies that the tests of a module share.

A module's fixture starts them once, because starting three processes takes longer than most tests.
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
    """Yield the proxied stores without faults, and remove all faults at the end.

    If a test has cut the connection to PostgreSQL, the stores get a new one.
    """
    with contextlib.ExitStack() as opened:
        opened.callback(far.proxies.set_round_trip, 0)
        opened.callback(far.proxies.restore)
        if _responds(far):
            yield far
            return
        postgres = connect_postgres(far.addresses.coordinator, database=far.mongo.name)
        opened.callback(postgres.close)
        yield replace(far, postgres=postgres)


def _responds(far: Stores) -> bool:
    with contextlib.suppress(Exception):
        return far.postgres.execute("SELECT 1").fetchone() == (1,)
    return False

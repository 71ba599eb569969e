"""Detect a document server that is slow at long lists (``$in``): the embedded one."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

import pymongo

_known: WeakKeyDictionary[pymongo.MongoClient[Any], bool] = WeakKeyDictionary()
_lock = threading.Lock()


def slow_at_lists(client: pymongo.MongoClient[Any]) -> bool:
    """Return whether the server of ``client`` is the embedded one, which is slow at ``$in``.

    The server is queried once per client, on connecting. Raises ``pymongo.errors.PyMongoError``.
    """
    with _lock:
        is_slow = _known.get(client)
    if is_slow is None:
        is_slow = is_slow_at_lists(client.server_info())
        with _lock:
            _known[client] = is_slow
    return is_slow


def is_slow_at_lists(build_info: dict[str, Any]) -> bool:
    """Return the same from a server's reply to ``buildInfo``."""
    return "secantusVersion" in build_info

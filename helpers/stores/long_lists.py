"""Whether a document server is slow at long lists (``$in``): which one it is, asked once."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

import pymongo

_known: WeakKeyDictionary[pymongo.MongoClient[Any], bool] = WeakKeyDictionary()
_lock = threading.Lock()


def slow_at_lists(client: pymongo.MongoClient[Any]) -> bool:
    """Return whether the server behind ``client`` is the course's own, which is slow at ``$in``.

    It is asked once for each client, when it connects. Raises ``pymongo.errors.PyMongoError``.
    """
    with _lock:
        found = _known.get(client)
    if found is None:
        found = is_slow_at_lists(client.server_info())
        with _lock:
            _known[client] = found
    return found


def is_slow_at_lists(build_info: dict[str, Any]) -> bool:
    """Return the same from a server's answer to ``buildInfo``."""
    return "secantusVersion" in build_info

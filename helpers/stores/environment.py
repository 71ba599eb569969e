"""Pass the databases of a shop on to another process, in its environment variables."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from helpers.settings import EMBEDDED
from helpers.stores.stores import Stores

_DATABASE_OPTION = re.compile("(db|dbname)=")


def environment_of(stores: Stores) -> dict[str, str]:
    """Return the environment variables that lead to the databases of ``stores``, with passwords.

    The workers are omitted if the addresses omit them: the coordinator knows them.
    """
    addresses, name = stores.addresses, stores.mongo.name
    variables = {
        "POSTGRES_URL": _with_path(addresses.coordinator, name),
        "POSTGRES_WORKER_URLS": " ".join(_with_path(url, name) for url in addresses.workers),
        "MONGO_URL": _with_path(addresses.mongo, name),
        "REDIS_URL": _with_path(addresses.redis, str(stores.redis_database or 0)),
    }
    if addresses.worker_names:
        names = (f"{host}:{port}" for host, port in addresses.worker_names)
        variables["POSTGRES_WORKER_NAMES"] = " ".join(names)
    if addresses.embedded:
        variables[EMBEDDED] = "1"
    return variables


def _with_path(url: str, path: str) -> str:
    """Return ``url`` with another database, which its options may name too, and come first."""
    parts = urlsplit(url)
    options = [option for option in parts.query.split("&") if not _DATABASE_OPTION.match(option)]
    return urlunsplit(parts._replace(path=f"/{path}", query="&".join(options)))

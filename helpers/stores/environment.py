"""How another process finds the same databases: the settings that lead to them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from helpers.stores.stores import Stores


def environment_of(stores: Stores) -> dict[str, str]:
    """Return the environment whose shop is in the databases of ``stores``, passwords included.

    The workers are left as the coordinator knows them where the addresses name none.
    """
    addresses, name = stores.addresses, stores.mongo.name
    number = stores.redis.connection_pool.connection_kwargs.get("db") or 0
    found = {
        "POSTGRES_URL": _with_path(addresses.coordinator, name),
        "POSTGRES_WORKER_URLS": " ".join(_with_path(url, name) for url in addresses.workers),
        "MONGO_URL": _with_path(addresses.mongo, name),
        "REDIS_URL": _with_path(addresses.redis, str(number)),
    }
    if addresses.worker_names:
        names = (f"{host}:{port}" for host, port in addresses.worker_names)
        found["POSTGRES_WORKER_NAMES"] = " ".join(names)
    return found


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))

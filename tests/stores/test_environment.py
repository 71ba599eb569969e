"""Another process gets the databases of a shop, not those that the servers' addresses name."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from helpers.stores import Stores
from helpers.stores.environment import environment_of


@pytest.mark.parametrize("options", ["", "db=3", "socket_timeout=9&db=3", "db=3&protocol=3"])
def test_another_process_gets_the_same_logical_database(options: str, shared: Stores) -> None:
    url = urlsplit(shared.addresses.redis)._replace(query=options).geturl()
    shop = replace(shared, addresses=replace(shared.addresses, redis=url))
    client = redis.Redis.from_url(environment_of(shop)["REDIS_URL"])
    read = client.connection_pool.connection_kwargs
    assert read["db"] == shared.redis_database
    assert ("socket_timeout" in read, "protocol" in read) == (
        "socket_timeout" in options,
        "protocol" in options,
    )


@pytest.mark.parametrize("options", ["", "dbname=other", "sslmode=prefer&dbname=other"])
def test_another_process_gets_the_same_postgres_database(options: str, shared: Stores) -> None:
    url = urlsplit(shared.addresses.coordinator)._replace(query=options).geturl()
    shop = replace(shared, addresses=replace(shared.addresses, coordinator=url))
    read = conninfo_to_dict(environment_of(shop)["POSTGRES_URL"])
    assert read["dbname"] == shared.mongo.name
    assert ("sslmode" in read) == ("sslmode" in options)

"""Databases for the tests of the SQL interface, on the servers that all tests share.

They are embedded servers, with genuine Citus if PG_BINDIR has it. A test that stops a server starts
a separate cluster.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conformance.databases import Cluster, Database, running_cluster, shared_cluster


@pytest.fixture(scope="session")
def cluster(process_number: int) -> Iterator[Cluster]:
    """A coordinator and three workers."""
    shared = shared_cluster(f"conformance_{process_number}")
    if shared is not None:
        yield shared
    else:
        with running_cluster() as separate:
            yield separate


@pytest.fixture(scope="session")
def two_workers(cluster: Cluster) -> Iterator[Database]:
    """A database with two workers; a test empties it first."""
    with cluster.database(workers=2) as database:
        yield database


@pytest.fixture(scope="session")
def three_workers(cluster: Cluster) -> Iterator[Database]:
    """A database with three workers; a test empties it first."""
    with cluster.database(workers=3) as database:
        yield database


@pytest.fixture
def database(two_workers: Database) -> Database:
    """An empty database with two workers."""
    two_workers.empty()
    return two_workers

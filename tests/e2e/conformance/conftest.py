"""Databases for the tests of the SQL interface, on the servers that all tests share.

Those are the course's own, or genuine Citus by PG_BINDIR. A test that stops a server has a cluster
of its own instead.
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
        with running_cluster() as own:
            yield own


@pytest.fixture(scope="session")
def two_workers(cluster: Cluster) -> Iterator[Database]:
    """A database with two workers; whoever uses it empties it first."""
    with cluster.database(workers=2) as database:
        yield database


@pytest.fixture(scope="session")
def three_workers(cluster: Cluster) -> Iterator[Database]:
    """A database with three workers; whoever uses it empties it first."""
    with cluster.database(workers=3) as database:
        yield database


@pytest.fixture
def database(two_workers: Database) -> Database:
    """A database with two workers registered, empty otherwise."""
    two_workers.empty()
    return two_workers

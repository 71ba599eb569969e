"""Clusters for the tests of the SQL interface: the course's own, or genuine Citus by PG_BINDIR."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.databases import Cluster, Database, running_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A coordinator and three workers of this module's own."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A database with two workers registered, empty otherwise."""
    with cluster.database(workers=2) as database:
        yield database

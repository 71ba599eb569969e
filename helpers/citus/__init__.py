"""The sharded PostgreSQL cluster: its databases, shards, query plans and shard function.

``sql/`` has the part of Citus's SQL interface that nodes without Citus need. A name is imported
when it is first used.
"""

from typing import TYPE_CHECKING

from helpers.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from helpers.citus.query_plans import QueryPlan, explain
    from helpers.citus.shards import Shard, shards_of

_MODULE_OF = {
    "QueryPlan": "query_plans",
    "Shard": "shards",
    "explain": "query_plans",
    "shards_of": "shards",
}

__all__ = ["QueryPlan", "Shard", "explain", "shards_of"]

__getattr__ = lazy_getattr(__name__, _MODULE_OF)

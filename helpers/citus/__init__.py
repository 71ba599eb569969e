"""The sharded PostgreSQL cluster: its databases, shards, query plans and shard function.

``sql/`` holds the part of Citus's SQL interface that nodes without Citus need.
"""

from helpers.citus.query_plans import QueryPlan, explain
from helpers.citus.shards import Shard, shards_of

__all__ = ["QueryPlan", "Shard", "explain", "shards_of"]

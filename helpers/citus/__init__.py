"""The sharded PostgreSQL cluster: databases, shards, query plans and the shard function.

``sql/`` has the part of Citus's SQL interface that the course uses, for nodes without Citus.
"""

from helpers.citus.query_plans import QueryPlan, explain
from helpers.citus.shards import Shard, shards_of

__all__ = ["QueryPlan", "Shard", "explain", "shards_of"]

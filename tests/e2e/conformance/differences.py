"""What differs from genuine Citus 14 on the course's own cluster, and why it must.

All else is meant to be the same. ``python -m tests.e2e.conformance.differences`` prints the
table for docs/differences.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Difference:
    """One thing that differs; ``statements`` are those of the scenarios that show it, by number."""

    id: str
    what: str
    here: str
    why: str
    statements: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


DIFFERENCES = (
    Difference(
        "on-conflict",
        "`INSERT … ON CONFLICT` on a distributed table",
        "only `DO NOTHING` without a target, else error 42P10; on a reference table all forms, "
        "with the primary key as their target",
        "a table over foreign tables can have no unique index that PostgreSQL trusts",
        {"dml": (22, 23, 24, 26, 44), "references": (40, 42)},
    ),
    Difference(
        "merge",
        "`MERGE` into a distributed table",
        "refused with error 0A000",
        "`postgres_fdw` does not know it",
        {"dml": (30,)},
    ),
    Difference(
        "not-distributable",
        "Queries that Citus refuses to distribute: joins on other columns than the key, "
        "`FOR UPDATE` over several shards, `UPDATE` with a volatile function",
        "they work; the rows come to the coordinator, and the plan shows it: several `Foreign "
        "Scan`s under one local join",
        "PostgreSQL's executor joins anything, and SQL alone cannot forbid it",
        {"dml": (28, 29, 42, 43, 51)},
    ),
    Difference(
        "last-step",
        "Joins with a reference table, aggregates that are not grouped by the key (`count(*)`)",
        "the join, or the aggregation, runs on the coordinator over rows from the shards",
        "`postgres_fdw` pushes down neither joins with local tables nor partial aggregates",
    ),
    Difference(
        "varchar-join",
        "A join of two tables whose keys are `varchar`, with the key given",
        "two tasks, one for each table's shard, and the join on the coordinator; `text` keys are "
        "joined on the worker",
        "PostgreSQL does not see through the cast of `varchar` to `text`",
    ),
    Difference(
        "concurrent-update",
        "Two transactions that change the same row",
        "the second fails with 40001 and is to be repeated, instead of waiting and going on; a "
        "transaction sees each worker as it was at its first statement there",
        "`postgres_fdw` opens its transactions as `REPEATABLE READ`",
    ),
    Difference(
        "two-phase-commit",
        "Commit over several workers; deadlock across workers",
        "committed one worker after the other, not in two phases: a coordinator killed in that "
        "moment can leave shards without a table, or lose the rows of a table that it was "
        "undistributing; such a deadlock ends by a timeout only",
        "`postgres_fdw` has neither",
    ),
    Difference(
        "key-of-no-row",
        "`UPDATE` of the key that hits no row",
        "0 rows, instead of an error",
        "the guard stands on the shards and sees rows, not statements",
        {"dml": (16,)},
    ),
    Difference(
        "insert-select",
        "`INSERT … SELECT` without a key",
        "refused with the same sqlstate, in the words for plain `INSERT`",
        "one guard stands for both",
        {"dml": (10, 11)},
    ),
    Difference(
        "foreign-keys",
        "Foreign keys from and to distributed tables",
        "they hold on the shards, but `pg_constraint` on the coordinator does not list them; from "
        "a table that is still local they wait until it is distributed; one added without a name "
        "is checked against the rows that are there",
        "none can be declared over foreign tables",
        {"references": (12, 14, 15, 53, 60), "original": (28, 31, 32, 37, 39)},
    ),
    Difference(
        "ddl",
        "Changing the key column, the type of a column in a unique key or a `CHECK`; `INHERITS`; "
        "`CREATE INDEX CONCURRENTLY`; columns and keys in one `ALTER TABLE`",
        "refused in PostgreSQL's own words; the coordinator's indexes are marked invalid, those "
        "of the shards hold",
        "here a distributed table is a partitioned table",
        {"ddl": (27, 28, 33, 35), "mixed": (90,), "names": (86,)},
    ),
    Difference(
        "settings",
        "The settings `citus.*`",
        "only `citus.shard_count` has an effect; any value is accepted and a bad one refused "
        "when it is used",
        "only a library can define settings",
        {"ddl": (90, 91)},
    ),
    Difference(
        "copy-to",
        "`COPY table TO`",
        "refused with PostgreSQL's hint; `COPY (SELECT …) TO` works",
        "here a distributed table is a partitioned table",
    ),
    Difference(
        "catalogs",
        "What the catalogs say of a distributed table",
        "its `relkind` is `p`, its OID changes when it is distributed, `tableoid` shows "
        "`shards.t_…`, and a key without a default shows `sharding.no_key()`",
        "nothing converts a table in place, and a missing key must be noticed",
        {"dml": (48,), "original": (23,)},
    ),
    Difference(
        "names-in-errors",
        "Errors from a reference table's later `CHECK`, and from a local table with a foreign "
        "key to a reference table",
        "they name the constraint without the shard id",
        "the coordinator's copy is a local table",
        {"mixed": (59,), "references": (51,)},
    ),
    Difference(
        "workers",
        "What the workers know",
        "only their shards: no `products` there, no queries through a worker, no functions; a "
        "reference table's copies there have its primary key alone",
        "the metadata stay on the coordinator, and so do the checks of a reference table",
        {"references": (43,)},
    ),
    Difference(
        "scope",
        "Distributed tables without a key, by range or by append; partitioned tables; row "
        "security; more than 4096 shards; shards on the coordinator",
        "refused with a sentence",
        "no lesson needs them",
    ),
    Difference(
        "moves",
        "Moving shards",
        "every mode blocks writes while reads go on; the work is done when the call returns, "
        "also where Citus runs it in the background",
        "there is neither logical replication nor a background process",
    ),
    Difference(
        "left-overs",
        "A shard's old placement after a move",
        "dropped by the next move, `citus_rebalance_wait()`, the table's `DROP`, or "
        "`CALL citus_cleanup_orphaned_resources()`; by Citus, within 15 seconds",
        "there is no background process",
    ),
    Difference(
        "dead-worker",
        "A worker that does not answer",
        '08001 `could not connect to server "worker_…"`, with the address as its detail; in '
        "Citus 08006 `connection to the remote node …`",
        "these are `postgres_fdw`'s words",
    ),
    Difference(
        "unknown-type",
        "`worker_hash('x')` without a type",
        "error 42804, instead of 0A000",
        'only a function in C can take `"any"`',
        {"ddl": (125,)},
    ),
    Difference(
        "own-words",
        "`EXPLAIN`, `citus_version()`, notices; `run_command_on_…` after a write in the same "
        "transaction",
        "PostgreSQL's plans, the cluster's own words, and a lock timeout of 3 seconds",
        "another engine runs the queries",
    ),
    Difference(
        "citus-only",
        "Tenant isolation and statistics, schema-based sharding, columnar tables, distributed "
        "functions, repartition joins, `citus_copy_shard_placement`",
        "not there",
        "they are for genuine Citus",
    ),
)


def listed(scenario: str) -> dict[int, str]:
    """Return the statements of a scenario that must differ: number, and id of the difference."""
    return {
        number: difference.id
        for difference in DIFFERENCES
        for number in difference.statements.get(scenario, ())
    }


def markdown() -> str:
    """Return the table as docs/differences.md has it."""
    rows = [
        ("what", "on the course's own cluster", "because"),
        ("---", "---", "---"),
        *((one.what, one.here, one.why) for one in DIFFERENCES),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(markdown())

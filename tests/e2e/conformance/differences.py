"""The differences between the teaching cluster (embedded) and genuine Citus 14, with reasons.

Everything else must be the same. ``python -m tests.e2e.conformance.differences`` prints the table
of docs/differences.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Difference:
    """A difference; ``statements`` are the numbers of the statements that show it, by scenario."""

    id: str
    what: str
    here: str
    why: str
    statements: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


DIFFERENCES = (
    Difference(
        "on-conflict",
        "`INSERT … ON CONFLICT` on a distributed table",
        "only `DO NOTHING` without a target; with a target, also for `DO UPDATE`, refused with "
        "error 0A000: use `UPDATE` and, if it changes no row, `INSERT … ON CONFLICT DO NOTHING`, "
        "in one transaction. On a reference table all forms work",
        "`postgres_fdw` does not support it",
        {"dml": (22, 23, 24, 26, 44), "facts": (24,)},
    ),
    Difference(
        "merge",
        "`MERGE` into a distributed table",
        "refused with error 0A000",
        "`postgres_fdw` does not support it",
        {"dml": (30,)},
    ),
    Difference(
        "only",
        "`ONLY` before the name of a distributed or reference table, also in `UPDATE`, `DELETE` "
        "and `ALTER TABLE`",
        "refused with error 0A000: leave out `ONLY`, which makes no difference in Citus",
        "here such a table is a partitioned table, which has no rows itself",
        {"facts": (52, 54, 65)},
    ),
    Difference(
        "not-sent",
        "`TABLESAMPLE`, `SKIP LOCKED`, `NOWAIT` and the columns `xmin`, `xmax`, `cmin`, `cmax` of "
        "a distributed table",
        "refused with error 0A000",
        "`postgres_fdw` does not send them to the workers",
        {"dml": (29,)},
    ),
    Difference(
        "not-distributable",
        "Queries that Citus refuses to distribute: joins on other columns than the key, "
        "`FOR UPDATE` over several shards, `UPDATE` with a volatile function",
        "they work; the coordinator reads the rows, and the plan shows several `Foreign Scan`s "
        "under one local join",
        "PostgreSQL's executor can join any tables, and SQL scripts cannot forbid it",
        {"dml": (28, 42, 43, 51)},
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
        "PostgreSQL does not prune by a cast of `varchar` to `text`",
    ),
    Difference(
        "concurrent-update",
        "Two transactions that change the same row",
        "the second fails with 40001 and must be repeated, instead of waiting and continuing; a "
        "transaction reads each worker's data as of its first statement there",
        "`postgres_fdw` opens its transactions as `REPEATABLE READ`",
    ),
    Difference(
        "two-phase-commit",
        "Commit over several workers; deadlock across workers",
        "committed one worker after the other, not in two phases: a coordinator that is killed "
        "meanwhile can leave shards without a table, or lose the rows of a table that it was "
        "undistributing; only a timeout ends such a deadlock",
        "`postgres_fdw` has neither",
    ),
    Difference(
        "key-of-no-row",
        "`UPDATE` of the key that matches no row",
        "0 rows, instead of an error",
        "a row trigger on the shards refuses it, and no row fires it",
        {"dml": (16,)},
    ),
    Difference(
        "insert-select",
        "`INSERT … SELECT` without a key",
        "refused with the same sqlstate, with the message for plain `INSERT`",
        "the key's default refuses both",
        {"dml": (10, 11)},
    ),
    Difference(
        "foreign-keys",
        "Foreign keys from and to distributed tables",
        "they hold on the shards, but `pg_constraint` on the coordinator does not list them; from "
        "a local table they are added when it is distributed; one added without a name is "
        "checked against existing rows",
        "PostgreSQL does not allow them on tables with foreign partitions",
        {"references": (12, 14, 15, 53, 60), "original": (28, 31, 32, 37, 39)},
    ),
    Difference(
        "ddl",
        "Changing the key column, the type of a column in a unique key or a `CHECK`; "
        "`ALTER COLUMN … TYPE … USING`; `INHERITS`; `CREATE INDEX CONCURRENTLY`; storage "
        "parameters; columns and keys in one `ALTER TABLE`; distributing, undistributing or "
        "altering a table that has rules or triggers",
        "refused with an error message",
        "here a distributed table is a partitioned table, and a new one replaces the old one",
        {"ddl": (27, 28, 33, 35), "mixed": (90,), "names": (86,), "facts": (53,)},
    ),
    Difference(
        "dependencies",
        "What a table depends on, other than types: functions, operators and collations of users "
        "in a `CHECK`, an index, a generated column or the default of an added column",
        "refused with error 42883 or 42704. Types, domains and the types of extensions reach the "
        "workers, and so do changes to them; but a row that a `NOT VALID` constraint of a domain "
        "excludes cannot be read",
        "only types are copied to the workers, and `postgres_fdw` checks what it reads",
    ),
    Difference(
        "roles",
        "Other roles than the one that created the database",
        "they exist on the coordinator only, and all use the shards as that role does: grants and "
        "policies of the coordinator's tables decide. A role distributes its own tables; nodes, "
        "moves and `run_command_on_…` are reserved to the creator. In Citus, a role needs a way "
        "to log in on the workers",
        "only the coordinator knows who asks",
        {"facts": (49,)},
    ),
    Difference(
        "row-security",
        "Row security on a distributed table",
        "policies filter what is read and deleted; `INSERT` and `UPDATE` by a role that they apply "
        "to are refused with error 0A000",
        "PostgreSQL does not check rows that it writes to foreign tables against policies",
    ),
    Difference(
        "maintenance",
        "`VACUUM`, `REINDEX`, `CLUSTER`; `pg_dump`",
        "nothing happens on the shards (`ANALYZE` reads samples from them); `pg_dump` dumps the "
        "teaching cluster's objects without the rows of distributed tables: use "
        "`COPY (SELECT …) TO`",
        "these commands skip foreign tables",
    ),
    Difference(
        "settings",
        "The settings `citus.*`",
        "only `citus.shard_count` has an effect; any value is accepted, and an invalid one is "
        "refused when it is used",
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
        "The catalogs' rows about a distributed table",
        "its `relkind` is `p`, its OID changes when it is distributed, `tableoid` shows "
        "`shards.t_…`, and a key without a default shows `sharding.no_key()`",
        "PostgreSQL cannot partition a table in place, and a missing key must be refused",
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
        "The workers' catalogs",
        "only shards and types: no `products` there, no queries through a worker",
        "only the coordinator has the metadata",
        {"references": (43,)},
    ),
    Difference(
        "scope",
        "Distributed tables without a key, by range or by append; partitioned tables; more than "
        "4096 shards; shards on the coordinator",
        "refused with an error message",
        "no lesson needs them",
    ),
    Difference(
        "moves",
        "Moving shards",
        "every mode blocks writes but not reads; the work is done when the call returns, "
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
        "An unavailable worker",
        '08001 `could not connect to server "worker_…"`, with the address as its detail; in '
        "Citus 08006 `connection to the remote node …`",
        "the error is that of `postgres_fdw`",
    ),
    Difference(
        "unknown-type",
        "`worker_hash('x')` without a type",
        "error 42804, instead of 0A000",
        'only a function in C can have a parameter of type `"any"`',
        {"ddl": (125,)},
    ),
    Difference(
        "own-words",
        "`EXPLAIN`, `citus_version()`, notices; `run_command_on_…` after a write in the same "
        "transaction",
        "PostgreSQL's plans, which show no task for `INSERT`, other texts, and a lock timeout of 3 "
        "seconds",
        "another engine executes the queries",
        {"facts": (21,)},
    ),
    Difference(
        "citus-only",
        "Tenant isolation and statistics, schema-based sharding, columnar tables, distributed "
        "functions, repartition joins, `citus_copy_shard_placement`",
        "not available",
        "they need genuine Citus",
    ),
)


def listed(scenario: str) -> dict[int, str]:
    """Return the statements of a scenario that differ: number, and id of the difference."""
    return {
        number: difference.id
        for difference in DIFFERENCES
        for number in difference.statements.get(scenario, ())
    }


def markdown() -> str:
    """Return the table of docs/differences.md."""
    rows = [
        ("what", "on the teaching cluster (embedded)", "because"),
        ("---", "---", "---"),
        *((difference.what, difference.here, difference.why) for difference in DIFFERENCES),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(markdown())

-- The rebalance plan: which shards to move where, so that all nodes have about the same load.
--
-- A strategy gives every shard a cost; a node's load is the cost of its shards. Each colocation
-- group is balanced separately: while one of its nodes is outside the threshold around the average
-- load, a shard moves from the node with the highest load to the one with the lowest. The plan is
-- computed in a temporary table, where a move is an UPDATE; no shard is moved here.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- strategies
-- Return the cost of a shard for by_shard_count: the same for all.
CREATE FUNCTION sharding.cost_by_shard_count(shard_id bigint) RETURNS real
LANGUAGE sql STABLE AS $$
    SELECT 1::real
$$;

-- Return the cost of a shard for by_disk_size: the size of all colocated shards, which move
-- together, and 100 MB, so that empty shards do not all stay on one node.
CREATE FUNCTION sharding.cost_by_disk_size(shard_id bigint) RETURNS real
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT (coalesce(sum(sharding.shard_size(shardid)), 0) + 100 * 1024 * 1024)::real
    FROM sharding.colocated_shards(shard_id)
$$;

INSERT INTO pg_catalog.pg_dist_rebalance_strategy
VALUES ('by_shard_count', false, 'sharding.cost_by_shard_count', 0, 0, 0),
       ('by_disk_size', true, 'sharding.cost_by_disk_size', 0.1, 0.01, 0.5);

-- ---------------------------------------------------------------- the table of the plan
-- Create pg_temp.sharding_plan with the shards that may move. Each colocation group is represented
-- by its first table. "part" is the order in which groups are balanced: by the time of their first
-- distribution. Groups with fewer shards than nodes are balanced last and together (part NULL),
-- since none of them alone could reach every node.
CREATE FUNCTION sharding.start_plan(
    rel regclass, excluded bigint[], only_node int, cost_function regproc
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    node_count int := (SELECT count(*) FROM sharding.workers() WHERE shouldhaveshards);
BEGIN
    DROP TABLE IF EXISTS pg_temp.sharding_plan;
    CREATE TEMP TABLE sharding_plan ON COMMIT DROP AS
    WITH first_table AS (
        SELECT DISTINCT ON (colocationid) logicalrelid, ctid AS distributed
        FROM pg_dist_partition
        WHERE partmethod = 'h'
          AND (rel IS NULL OR logicalrelid = rel)
        ORDER BY colocationid, ctid
    ), shard AS (
        SELECT s.shardid, p.groupid AS node, first_table.distributed
        FROM first_table
        JOIN pg_dist_shard s ON s.logicalrelid = first_table.logicalrelid
        JOIN pg_dist_placement p ON p.shardid = s.shardid
        WHERE s.shardid <> ALL (excluded)
          AND (only_node IS NULL OR p.groupid = only_node)
    ), colocation AS (
        SELECT distributed, count(*) AS shards, rank() OVER (ORDER BY distributed) AS place
        FROM shard
        GROUP BY distributed
    )
    SELECT shard.shardid, shard.node, 0::real AS cost,
        CASE WHEN colocation.shards >= node_count THEN colocation.place::int END AS part
    FROM shard
    JOIN colocation ON colocation.distributed = shard.distributed;
    EXECUTE format('UPDATE pg_temp.sharding_plan SET cost = %s(shardid)', cost_function);
END $$;

-- Return the load of each worker by the shards of one part.
CREATE FUNCTION sharding.loads(of_part int)
RETURNS TABLE (node int, nodeid int, may_hold boolean, load real)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT w.groupid, w.nodeid, w.shouldhaveshards, coalesce(sum(s.cost), 0)::real
    FROM sharding.workers() w
    LEFT JOIN pg_temp.sharding_plan s ON s.node = w.groupid
        AND s.part IS NOT DISTINCT FROM of_part
    GROUP BY w.groupid, w.nodeid, w.shouldhaveshards
$$;

-- ---------------------------------------------------------------- the next move
-- Return the next move from a node that should have no shards: its most expensive shard goes to the
-- node with the lowest load.
CREATE FUNCTION sharding.next_draining_move(of_part int)
RETURNS TABLE (shardid bigint, source int, target int, target_node int)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT s.shardid, from_node.nodeid, to_node.nodeid, to_node.node
    FROM sharding.loads(of_part) from_node
    JOIN pg_temp.sharding_plan s ON s.node = from_node.node
        AND s.part IS NOT DISTINCT FROM of_part
    CROSS JOIN sharding.loads(of_part) to_node
    WHERE NOT from_node.may_hold
      AND to_node.may_hold
    ORDER BY from_node.nodeid DESC, to_node.load, to_node.nodeid, s.cost DESC, s.shardid
    LIMIT 1
$$;

-- Return the next move between nodes that should have shards: of all useful moves the one from the
-- highest to the lowest load, with the most expensive shard.
--
-- A pair of nodes qualifies if the source is not below the threshold, the target is not above it,
-- and one of them is outside it. The move lowers the higher of the two loads by the shard's cost,
-- or, if the target then has the higher load, by what remains of the difference. This improvement
-- must be at least "improvement" times the cost.
CREATE FUNCTION sharding.next_balancing_move(
    of_part int, band_low real, band_high real, improvement real
) RETURNS TABLE (shardid bigint, source int, target int, target_node int)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT s.shardid, from_node.nodeid, to_node.nodeid, to_node.node
    FROM sharding.loads(of_part) from_node
    JOIN pg_temp.sharding_plan s ON s.node = from_node.node
        AND s.part IS NOT DISTINCT FROM of_part
    CROSS JOIN sharding.loads(of_part) to_node,
        LATERAL (SELECT least(s.cost, from_node.load - to_node.load - s.cost) AS gain) after_move
    WHERE from_node.may_hold
      AND to_node.may_hold
      AND from_node.load > band_low
      AND to_node.load < band_high
      AND (from_node.load > band_high OR to_node.load < band_low)
      AND gain > 0
      AND gain >= least(improvement, 1) * s.cost
    ORDER BY from_node.load DESC, from_node.nodeid DESC, to_node.load, to_node.nodeid,
        s.cost DESC, s.shardid
    LIMIT 1
$$;

-- ---------------------------------------------------------------- the plan
-- Return all moves in order: first from the nodes that should have no shards, then (unless
-- drain_only) between the others. With only_node, only shards of that node are moved.
CREATE FUNCTION sharding.plan(
    rel regclass, threshold real, max_moves int, excluded bigint[], drain_only boolean,
    strategy_name name, improvement real, only_node int DEFAULT NULL
) RETURNS TABLE (shardid bigint, source int, target int)
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    strategy pg_dist_rebalance_strategy;
    next_move record;
    moves int := 0;
    balancing boolean;
    of_part int;
    average real;
BEGIN
    SELECT *
    INTO strategy
    FROM pg_dist_rebalance_strategy s
    WHERE CASE WHEN strategy_name IS NULL
               THEN s.default_strategy
               ELSE s.name = strategy_name END;
    IF strategy.name IS NULL THEN
        RAISE EXCEPTION 'could not find rebalance strategy with name %', strategy_name
            USING ERRCODE = 'XX000';
    END IF;
    threshold := greatest(
        coalesce(threshold, strategy.default_threshold), strategy.minimum_threshold);
    improvement := coalesce(improvement, strategy.improvement_threshold);
    PERFORM sharding.start_plan(rel, excluded, only_node, strategy.shard_cost_function);

    FOR balancing, of_part IN
        SELECT DISTINCT step.balancing, p.part
        FROM pg_temp.sharding_plan p,
            (VALUES (false), (true)) step(balancing)
        WHERE NOT (step.balancing AND drain_only)
        ORDER BY step.balancing, p.part NULLS LAST
    LOOP
        average := (
            SELECT sum(l.load) / nullif(count(*) FILTER (WHERE l.may_hold), 0)
            FROM sharding.loads(of_part) l);
        LOOP
            IF balancing THEN
                EXIT WHEN moves >= max_moves;
                SELECT *
                INTO next_move
                FROM sharding.next_balancing_move(of_part,
                    ((1.0 - threshold) * average)::real, ((1.0 + threshold) * average)::real,
                    improvement);
            ELSE
                SELECT *
                INTO next_move
                FROM sharding.next_draining_move(of_part);
            END IF;
            EXIT WHEN next_move.shardid IS NULL;
            UPDATE pg_temp.sharding_plan p
            SET node = next_move.target_node
            WHERE p.shardid = next_move.shardid;
            moves := moves + 1;
            shardid := next_move.shardid;
            source := next_move.source;
            target := next_move.target;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;

-- The rebalance plan: which shards should move where, so that all nodes carry about the same.
--
-- A strategy gives every shard a cost; a node's load is the cost of its shards. Each colocation
-- group is levelled by itself: as long as one of its nodes is out of the band around the average
-- load, a shard goes from the fullest node to the emptiest. The plan is worked out in a temporary
-- table of shards and nodes, where a move is an UPDATE; no shard is touched.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- strategies
-- By number: a shard is a shard.
CREATE FUNCTION sharding.cost_by_shard_count(shard_id bigint) RETURNS real
LANGUAGE sql STABLE AS $$
    SELECT 1::real
$$;

-- By size: all colocated shards, which move together, and 100 MB for being a shard at all (else
-- empty ones would cost nothing, and pile up on one node).
CREATE FUNCTION sharding.cost_by_disk_size(shard_id bigint) RETURNS real
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT (coalesce(sum(sharding.shard_size(shardid)), 0) + 100 * 1024 * 1024)::real
    FROM sharding.colocated_shards(shard_id)
$$;

INSERT INTO pg_catalog.pg_dist_rebalance_strategy
VALUES ('by_shard_count', false, 'sharding.cost_by_shard_count', 0, 0, 0),
       ('by_disk_size', true, 'sharding.cost_by_disk_size', 0.1, 0.01, 0.5);

-- ---------------------------------------------------------------- the drawing board
-- Fill pg_temp.sharding_plan with the shards that may move. One table, the first, speaks for each
-- colocation group. "part" says in which order the groups are levelled: that in which their
-- tables were distributed; the small ones, with fewer shards than there are nodes, come last and
-- together, since none of them alone could reach every node.
CREATE FUNCTION sharding.start_plan(
    rel regclass, excluded bigint[], only_node int, cost_function regproc
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    node_count int := (SELECT count(*) FROM sharding.workers() WHERE shouldhaveshards);
BEGIN
    DROP TABLE IF EXISTS pg_temp.sharding_plan;
    CREATE TEMP TABLE sharding_plan ON COMMIT DROP AS
    WITH speaker AS (
        SELECT DISTINCT ON (colocationid) logicalrelid, ctid AS distributed
        FROM pg_dist_partition
        WHERE partmethod = 'h'
          AND (rel IS NULL OR logicalrelid = rel)
        ORDER BY colocationid, ctid
    ), shard AS (
        SELECT s.shardid, p.groupid AS node, speaker.distributed
        FROM speaker
        JOIN pg_dist_shard s ON s.logicalrelid = speaker.logicalrelid
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

-- How full each worker is with the shards of one part.
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
-- For a node that should hold no shards: the dearest of them goes to the emptiest node.
CREATE FUNCTION sharding.next_draining_move(of_part int)
RETURNS TABLE (shardid bigint, source int, target int, target_node int)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT s.shardid, giver.nodeid, taker.nodeid, taker.node
    FROM sharding.loads(of_part) giver
    JOIN pg_temp.sharding_plan s ON s.node = giver.node
        AND s.part IS NOT DISTINCT FROM of_part
    CROSS JOIN sharding.loads(of_part) taker
    WHERE NOT giver.may_hold
      AND taker.may_hold
    ORDER BY giver.nodeid DESC, taker.load, taker.nodeid, s.cost DESC, s.shardid
    LIMIT 1
$$;

-- For level nodes: of all moves that are worth it, the one from the fullest node to the emptiest,
-- and there that of the dearest shard.
--
-- Two nodes are a pair when the giver is not below the band nor the taker above it, and one of
-- them is out of it. With a gap between their loads, the fuller of the two carries less after the
-- move by the shard's cost, or, when the taker becomes the fuller one, by what is left of the gap.
-- That relief must be worth the effort: at least "improvement" times the cost.
CREATE FUNCTION sharding.next_balancing_move(
    of_part int, band_low real, band_high real, improvement real
) RETURNS TABLE (shardid bigint, source int, target int, target_node int)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT s.shardid, giver.nodeid, taker.nodeid, taker.node
    FROM sharding.loads(of_part) giver
    JOIN pg_temp.sharding_plan s ON s.node = giver.node
        AND s.part IS NOT DISTINCT FROM of_part
    CROSS JOIN sharding.loads(of_part) taker,
        LATERAL (SELECT least(s.cost, giver.load - taker.load - s.cost) AS relief) after_it
    WHERE giver.may_hold
      AND taker.may_hold
      AND giver.load > band_low
      AND taker.load < band_high
      AND (giver.load > band_high OR taker.load < band_low)
      AND relief > 0
      AND relief >= least(improvement, 1) * s.cost
    ORDER BY giver.load DESC, giver.nodeid DESC, taker.load, taker.nodeid,
        s.cost DESC, s.shardid
    LIMIT 1
$$;

-- ---------------------------------------------------------------- the plan
-- All moves, in order: first the nodes that should hold nothing are emptied, then (unless
-- drain_only) the others are levelled. With only_node no other node's shards are looked at.
CREATE FUNCTION sharding.plan(
    rel regclass, threshold real, max_moves int, excluded bigint[], drain_only boolean,
    strategy_name name, improvement real, only_node int DEFAULT NULL
) RETURNS TABLE (shardid bigint, source int, target int)
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    strategy pg_dist_rebalance_strategy;
    next_move record;
    moves int := 0;
    levelling boolean;
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

    FOR levelling, of_part IN
        SELECT DISTINCT step.levelling, p.part
        FROM pg_temp.sharding_plan p,
            (VALUES (false), (true)) step(levelling)
        WHERE NOT (step.levelling AND drain_only)
        ORDER BY step.levelling, p.part NULLS LAST
    LOOP
        average := (
            SELECT sum(l.load) / nullif(count(*) FILTER (WHERE l.may_hold), 0)
            FROM sharding.loads(of_part) l);
        LOOP
            IF levelling THEN
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

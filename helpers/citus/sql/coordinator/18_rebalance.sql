-- Rebalancing: show the plan, and execute it.
--
-- All moves of a call are one transaction. There is no background worker: citus_rebalance_start
-- returns when the job is done, and citus_rebalance_wait finds it finished.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- showing the plan
-- Return the moves that a rebalance would make now, with all colocated shards.
CREATE FUNCTION pg_catalog.get_rebalance_table_shards_plan(
    relation regclass DEFAULT NULL, threshold real DEFAULT NULL,
    max_shard_moves int DEFAULT 1000000, excluded_shard_list bigint[] DEFAULT '{}',
    drain_only boolean DEFAULT false, rebalance_strategy name DEFAULT NULL,
    improvement_threshold real DEFAULT NULL
) RETURNS TABLE (
    table_name regclass, shardid bigint, shard_size bigint,
    sourcename text, sourceport int, targetname text, targetport int
)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT sharding.check_movable(relation);
    SELECT peer.logicalrelid, peer.shardid, sharding.shard_size(peer.shardid),
        source.nodename, source.nodeport, target.nodename, target.nodeport
    FROM sharding.plan(
            relation, threshold, max_shard_moves, excluded_shard_list, drain_only,
            rebalance_strategy, improvement_threshold)
        WITH ORDINALITY move(shardid, source, target, step)
    CROSS JOIN LATERAL sharding.colocated_shards(move.shardid) peer
    JOIN pg_dist_node source ON source.nodeid = move.source
    JOIN pg_dist_node target ON target.nodeid = move.target
    ORDER BY move.step, peer.shardid
$$;

-- ---------------------------------------------------------------- executing the plan
-- Make the plan and move the shards; return the number of moves.
CREATE FUNCTION sharding.rebalance(
    rel regclass, threshold real, max_moves int, excluded bigint[],
    mode citus.shard_transfer_mode, drain_only boolean, strategy name, only_node int DEFAULT NULL
) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    planned record;
    done int := 0;
BEGIN
    PERFORM sharding.check_movable(rel);
    PERFORM sharding.prepare_moves('rebalance_table_shards');
    PERFORM sharding.ensure_reference_copies();
    FOR planned IN
        SELECT p.shardid, s.logicalrelid AS rel, source, target
        FROM sharding.plan(
                rel, threshold, max_moves, excluded, drain_only, strategy, NULL, only_node)
            WITH ORDINALITY p(shardid, source_id, target_id, step)
        JOIN pg_dist_shard s ON s.shardid = p.shardid
        JOIN pg_dist_node source ON source.nodeid = p.source_id
        JOIN pg_dist_node target ON target.nodeid = p.target_id
        ORDER BY p.step
    LOOP
        PERFORM sharding.check_transfer_mode(planned.rel, mode);
        PERFORM sharding.move_shard(planned.shardid, planned.source, planned.target);
        done := done + 1;
    END LOOP;
    RETURN done;
END $$;

-- Rebalance, and return when it is done.
CREATE FUNCTION pg_catalog.rebalance_table_shards(
    relation regclass DEFAULT NULL, threshold real DEFAULT NULL,
    max_shard_moves int DEFAULT 1000000, excluded_shard_list bigint[] DEFAULT '{}',
    shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
    drain_only boolean DEFAULT false, rebalance_strategy name DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sharding.rebalance(
        relation, threshold, max_shard_moves, excluded_shard_list, shard_transfer_mode,
        drain_only, rebalance_strategy);
END $$;

-- Move all shards away from a node. As in Citus, the node is first marked in a separate session, so
-- a drain that fails leaves it marked. If the coordinator's address is not set there is no such
-- session; the node is then marked in this one.
CREATE FUNCTION pg_catalog.citus_drain_node(
    nodename text, nodeport int, shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
    rebalance_strategy name DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node;
BEGIN
    SELECT *
    INTO node
    FROM pg_dist_node d
    WHERE d.nodename = citus_drain_node.nodename
      AND d.nodeport = citus_drain_node.nodeport;
    IF node.nodeid IS NULL THEN
        RAISE EXCEPTION 'node %:% not found', nodename, nodeport
            USING ERRCODE = 'P0002';
    END IF;
    PERFORM run_command_on_coordinator(
        format('SELECT citus_set_node_property(%L, %s, ''shouldhaveshards'', false)',
            nodename, nodeport));
    IF (SELECT d.shouldhaveshards FROM pg_dist_node d WHERE d.nodeid = node.nodeid) THEN
        PERFORM citus_set_node_property(nodename, nodeport, 'shouldhaveshards', false);
    END IF;
    PERFORM sharding.rebalance(
        NULL, NULL, 1000000, '{}', shard_transfer_mode, true, rebalance_strategy, node.groupid);
END $$;

-- ---------------------------------------------------------------- jobs
-- Rebalance all colocation groups and return a job id, or NULL if no shard has to move.
CREATE FUNCTION pg_catalog.citus_rebalance_start(
    rebalance_strategy name DEFAULT NULL, drain_only boolean DEFAULT false,
    shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
    parallel_transfer_reference_tables boolean DEFAULT false,
    parallel_transfer_colocated_shards boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint;
    begun timestamptz := clock_timestamp();
BEGIN
    IF sharding.rebalance(
        NULL, NULL, 1000000, '{}', shard_transfer_mode, drain_only, rebalance_strategy) = 0
    THEN
        RAISE NOTICE 'No moves available for rebalancing';
        RETURN NULL;
    END IF;
    INSERT INTO pg_dist_background_job (state, job_type, description, started_at, finished_at)
    VALUES ('finished', 'rebalance', 'Rebalance all colocation groups', begun, clock_timestamp())
    RETURNING job_id INTO id;
    RETURN id;
END $$;

-- Drop the old placements; the job itself is done already.
CREATE FUNCTION pg_catalog.citus_rebalance_wait() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sharding.drop_old_placements();
END $$;

-- Do nothing: a job that has an id is done.
CREATE FUNCTION pg_catalog.citus_job_wait(
    jobid bigint, desired_status citus_job_status DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
END $$;

-- Raise an error: no rebalance can be running.
CREATE FUNCTION pg_catalog.citus_rebalance_stop() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no ongoing rebalance that can be stopped'
        USING ERRCODE = 'XX000';
END $$;

-- Return all jobs.
CREATE FUNCTION pg_catalog.citus_job_list() RETURNS TABLE (
    job_id bigint, state citus_job_status, job_type name, description text,
    started_at timestamptz, finished_at timestamptz
)
LANGUAGE sql STABLE AS $$
    SELECT *
    FROM pg_catalog.pg_dist_background_job
    ORDER BY job_id
$$;

-- Return the latest rebalance.
CREATE FUNCTION pg_catalog.citus_rebalance_status(raw boolean DEFAULT false) RETURNS TABLE (
    job_id bigint, state citus_job_status, job_type name, description text,
    started_at timestamptz, finished_at timestamptz, details jsonb
)
LANGUAGE sql STABLE STRICT AS $$
    SELECT j.*, '{"tasks": [], "task_state_counts": {"done": 0}}'::jsonb
    FROM pg_catalog.pg_dist_background_job j
    WHERE job_type = 'rebalance'
    ORDER BY job_id DESC
    LIMIT 1
$$;

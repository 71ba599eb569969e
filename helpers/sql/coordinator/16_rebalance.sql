-- Rebalancing: a plan of moves, then the moves.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- strategies
-- The cost of a shard by strategy. By size: all colocated shards together, and 100 MB for being one at all.
CREATE FUNCTION sharding.cost_1(shard_id bigint) RETURNS real LANGUAGE sql STABLE AS $$ SELECT 1::real $$;
CREATE FUNCTION sharding.cost_by_disk_size(shard_id bigint) RETURNS real LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT (coalesce(sum(sharding.shard_size(o.shardid)), 0) + 100 * 1024 * 1024)::real FROM pg_dist_shard x JOIN pg_dist_partition p USING (logicalrelid)
    JOIN pg_dist_partition q ON q.colocationid = p.colocationid JOIN pg_dist_shard o ON o.logicalrelid = q.logicalrelid AND o.shardminvalue = x.shardminvalue WHERE x.shardid = shard_id
$$;

INSERT INTO pg_catalog.pg_dist_rebalance_strategy VALUES
    ('by_shard_count', false, 'sharding.cost_1', 0, 0, 0), ('by_disk_size', true, 'sharding.cost_by_disk_size', 0.1, 0.01, 0.5);

-- ---------------------------------------------------------------- the plan
-- Greedy, as Citus does it: for each colocation group, while some node is too full, take the fullest node and the
-- emptiest, and move the dearest shard whose move makes the two more equal. Shards on nodes that should hold none
-- go first, each to the emptiest node. Draining one node (only_node) looks at that node's shards alone.
CREATE FUNCTION sharding.plan(rel regclass, threshold real, max_moves int, excluded bigint[], drain_only boolean, strategy name, improvement real, only_node int DEFAULT NULL)
RETURNS TABLE (shardid bigint, source int, target int) LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    st pg_dist_rebalance_strategy; g record; groups oid[] := '{}'; small oid[] := '{}'; rels oid[]; moves int := 0; found boolean;
    nodes int := (SELECT count(*) FROM sharding.workers() WHERE shouldhaveshards);
    lower_bound real; upper_bound real; avg_use real; s record; t record; c record; n int; gi int; new_t real; new_s real; gain real; passes text;
BEGIN
    SELECT * INTO st FROM pg_dist_rebalance_strategy x WHERE CASE WHEN strategy IS NULL THEN x.default_strategy ELSE x.name = strategy END;
    IF st.name IS NULL THEN RAISE EXCEPTION 'could not find rebalance strategy with name %', strategy USING ERRCODE = 'XX000'; END IF;
    threshold := greatest(coalesce(threshold, st.default_threshold), st.minimum_threshold);
    improvement := coalesce(improvement, st.improvement_threshold);

    DROP TABLE IF EXISTS pg_temp.sharding_plan;
    -- one table speaks for each group; groups with fewer shards than nodes are planned together, last
    CREATE TEMP TABLE sharding_plan ON COMMIT DROP AS
    SELECT p.logicalrelid::oid AS rel, x.shardid, pl.groupid AS node, 0::real AS cost, 0 AS part, min(p.ord) OVER (PARTITION BY p.logicalrelid) AS ord
    FROM (SELECT DISTINCT ON (colocationid) logicalrelid, colocationid, ctid AS ord FROM pg_dist_partition WHERE partmethod = 'h' AND (rel IS NULL OR logicalrelid = rel) ORDER BY colocationid, ctid) p
    JOIN pg_dist_shard x USING (logicalrelid) JOIN pg_dist_placement pl USING (shardid)
    WHERE x.shardid <> ALL (excluded) AND (only_node IS NULL OR pl.groupid = only_node);
    UPDATE pg_temp.sharding_plan p SET part = q.part FROM
        (SELECT r.rel, CASE WHEN r.n >= nodes THEN dense_rank() OVER (ORDER BY r.ord)::int ELSE 1000000 END AS part
         FROM (SELECT z.rel, count(*) AS n, min(z.ord) AS ord FROM pg_temp.sharding_plan z GROUP BY z.rel) r) q WHERE q.rel = p.rel;
    IF st.name = 'by_disk_size' THEN UPDATE pg_temp.sharding_plan p SET cost = sharding.cost_by_disk_size(p.shardid); ELSE UPDATE pg_temp.sharding_plan p SET cost = 1; END IF;

    FOREACH passes IN ARRAY CASE WHEN drain_only THEN ARRAY['drain'] ELSE ARRAY['drain', 'even'] END LOOP
        FOR gi IN SELECT DISTINCT part FROM pg_temp.sharding_plan ORDER BY 1 LOOP
            SELECT sum(cost) / nullif(nodes, 0) INTO avg_use FROM pg_temp.sharding_plan p WHERE p.part = gi;
            lower_bound := (1.0 - threshold) * avg_use; upper_bound := (1.0 + threshold) * avg_use;
            LOOP
                EXIT WHEN passes = 'even' AND moves >= max_moves;
                found := false;
                <<sources>>
                FOR s IN SELECT w.groupid, w.nodeid, w.shouldhaveshards, CASE WHEN w.shouldhaveshards THEN coalesce(sum(p.cost), 0)::real ELSE 'Infinity' END AS use
                         FROM sharding.workers() w LEFT JOIN pg_temp.sharding_plan p ON p.node = w.groupid AND p.part = gi GROUP BY 1, 2, 3 ORDER BY 4 DESC, 2 DESC LOOP
                    IF passes = 'drain' AND s.shouldhaveshards THEN CONTINUE; END IF;
                    IF passes = 'even' AND s.use <= lower_bound THEN EXIT sources; END IF;
                    FOR t IN SELECT w.groupid, w.nodeid, coalesce(sum(p.cost), 0)::real AS use
                             FROM sharding.workers() w LEFT JOIN pg_temp.sharding_plan p ON p.node = w.groupid AND p.part = gi
                             WHERE w.shouldhaveshards GROUP BY 1, 2 ORDER BY 3, 2 LOOP
                        IF passes = 'even' THEN
                            EXIT WHEN t.use >= upper_bound;
                            EXIT WHEN t.use >= lower_bound AND s.use <= upper_bound;
                        END IF;
                        FOR c IN SELECT p.shardid, p.cost FROM pg_temp.sharding_plan p WHERE p.node = s.groupid AND p.part = gi ORDER BY p.cost DESC, p.shardid LOOP
                            IF passes = 'even' THEN
                                new_t := t.use + c.cost; new_s := s.use - c.cost;
                                IF new_t > new_s THEN
                                    CONTINUE WHEN new_t > s.use OR (new_t = s.use AND new_s <= t.use);
                                    gain := greatest(s.use - new_t, new_s - t.use) / least(new_t - t.use, s.use - new_s);
                                    CONTINUE WHEN gain < improvement;
                                END IF;
                            END IF;
                            UPDATE pg_temp.sharding_plan p SET node = t.groupid WHERE p.shardid = c.shardid;
                            moves := moves + 1; found := true;
                            plan.shardid := c.shardid; plan.source := s.nodeid; plan.target := t.nodeid;
                            RETURN NEXT;
                            EXIT sources;
                        END LOOP;
                    END LOOP;
                END LOOP;
                EXIT WHEN NOT found;
            END LOOP;
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION sharding.check_rebalanced(rel regclass) RETURNS void LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) IS NULL THEN RAISE EXCEPTION 'table % is a regular postgres table, you can only move shards of a citus table', sharding.qualified(rel) USING ERRCODE = '0A000';
    ELSIF sharding.kind(rel) = 't' THEN RAISE EXCEPTION 'table % is a reference table, moving shard of a reference table is not supported', sharding.qualified(rel) USING ERRCODE = '0A000';
    ELSIF sharding.kind(rel) = 'l' THEN RAISE EXCEPTION 'table % is a local table, moving shard of a local table added to metadata is currently not supported', sharding.qualified(rel) USING ERRCODE = '0A000';
    END IF;
END $$;

-- The moves that a rebalance would make now: every colocated shard is listed with the one that leads it.
CREATE FUNCTION pg_catalog.get_rebalance_table_shards_plan(relation regclass DEFAULT NULL, threshold real DEFAULT NULL, max_shard_moves int DEFAULT 1000000,
    excluded_shard_list bigint[] DEFAULT '{}', drain_only boolean DEFAULT false, rebalance_strategy name DEFAULT NULL, improvement_threshold real DEFAULT NULL)
RETURNS TABLE (table_name regclass, shardid bigint, shard_size bigint, sourcename text, sourceport int, targetname text, targetport int)
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT sharding.check_rebalanced(relation);
    SELECT o.logicalrelid, o.shardid, sharding.shard_size(o.shardid), s.nodename, s.nodeport, t.nodename, t.nodeport
    FROM sharding.plan(relation, threshold, max_shard_moves, excluded_shard_list, drain_only, rebalance_strategy, improvement_threshold) WITH ORDINALITY m(shardid, source, target, step)
    JOIN pg_dist_shard x ON x.shardid = m.shardid JOIN pg_dist_partition p USING (logicalrelid) JOIN pg_dist_partition q ON q.colocationid = p.colocationid
    JOIN pg_dist_shard o ON o.logicalrelid = q.logicalrelid AND o.shardminvalue = x.shardminvalue
    JOIN pg_dist_node s ON s.nodeid = m.source JOIN pg_dist_node t ON t.nodeid = m.target ORDER BY m.step, o.shardid
$$;

-- ---------------------------------------------------------------- the moves
-- One transaction: all of them, or none.
CREATE FUNCTION sharding.rebalance(rel regclass, threshold real, max_moves int, excluded bigint[], mode citus.shard_transfer_mode, drain_only boolean, strategy name, only_node int DEFAULT NULL)
RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE m record; s pg_dist_node; t pg_dist_node; done int := 0; steps jsonb;
BEGIN
    PERFORM sharding.check_rebalanced(rel);
    PERFORM sharding.prepare_moves('rebalance_table_shards');
    PERFORM sharding.ensure_reference_copies();
    FOR m IN SELECT * FROM sharding.plan(rel, threshold, max_moves, excluded, drain_only, strategy, NULL, only_node) LOOP
        PERFORM sharding.check_transfer_mode((SELECT logicalrelid FROM pg_dist_shard WHERE shardid = m.shardid), mode);
        SELECT * INTO s FROM pg_dist_node WHERE nodeid = m.source; SELECT * INTO t FROM pg_dist_node WHERE nodeid = m.target;
        PERFORM sharding.move(m.shardid, s, t);
        done := done + 1;
    END LOOP;
    RETURN done;
END $$;

CREATE FUNCTION pg_catalog.rebalance_table_shards(relation regclass DEFAULT NULL, threshold real DEFAULT NULL, max_shard_moves int DEFAULT 1000000,
    excluded_shard_list bigint[] DEFAULT '{}', shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto', drain_only boolean DEFAULT false, rebalance_strategy name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sharding.rebalance(relation, threshold, max_shard_moves, excluded_shard_list, shard_transfer_mode, drain_only, rebalance_strategy);
END $$;

CREATE FUNCTION pg_catalog.citus_drain_node(nodename text, nodeport int, shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto', rebalance_strategy name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_dist_node d WHERE d.nodename = citus_drain_node.nodename AND d.nodeport = citus_drain_node.nodeport) THEN
        RAISE EXCEPTION 'node %:% not found', nodename, nodeport USING ERRCODE = 'P0002';
    END IF;
    -- in a session of its own, as with Citus: a drain that fails midway leaves the node marked
    PERFORM sharding.run_beside(ARRAY[d.nodename], ARRAY[d.nodeport], ARRAY[format('SELECT citus_set_node_property(%L, %s, ''shouldhaveshards'', false)', citus_drain_node.nodename, citus_drain_node.nodeport)])
    FROM pg_dist_node d WHERE d.groupid = 0;
    PERFORM citus_set_node_property(nodename, nodeport, 'shouldhaveshards', false) WHERE EXISTS
        (SELECT FROM pg_dist_node d WHERE d.nodename = citus_drain_node.nodename AND d.nodeport = citus_drain_node.nodeport AND d.shouldhaveshards);
    PERFORM sharding.rebalance(NULL, NULL, 1000000, '{}', shard_transfer_mode, true, rebalance_strategy, (sharding.node(nodename, nodeport)).groupid);
END $$;

-- ---------------------------------------------------------------- "in the background"
-- There is no background worker: the job is done when start returns, and wait finds it finished.
CREATE FUNCTION pg_catalog.citus_rebalance_start(rebalance_strategy name DEFAULT NULL, drain_only boolean DEFAULT false, shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
    parallel_transfer_reference_tables boolean DEFAULT false, parallel_transfer_colocated_shards boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE id bigint; begun timestamptz := clock_timestamp();
BEGIN
    IF sharding.rebalance(NULL, NULL, 1000000, '{}', shard_transfer_mode, drain_only, rebalance_strategy) = 0 THEN
        RAISE NOTICE 'No moves available for rebalancing';
        RETURN NULL;
    END IF;
    INSERT INTO pg_dist_background_job (state, job_type, description, started_at, finished_at)
    VALUES ('finished', 'rebalance', 'Rebalance all colocation groups', begun, clock_timestamp()) RETURNING job_id INTO id;
    RETURN id;
END $$;
CREATE FUNCTION pg_catalog.citus_rebalance_wait() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM sharding.clean_up(); END $$;
CREATE FUNCTION pg_catalog.citus_job_wait(jobid bigint, desired_status citus_job_status DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION pg_catalog.citus_rebalance_stop() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no ongoing rebalance that can be stopped' USING ERRCODE = 'XX000';
END $$;
CREATE FUNCTION pg_catalog.citus_job_list() RETURNS TABLE (job_id bigint, state citus_job_status, job_type name, description text, started_at timestamptz, finished_at timestamptz)
LANGUAGE sql STABLE AS $$ SELECT * FROM pg_catalog.pg_dist_background_job ORDER BY job_id $$;
CREATE FUNCTION pg_catalog.citus_rebalance_status(raw boolean DEFAULT false)
RETURNS TABLE (job_id bigint, state citus_job_status, job_type name, description text, started_at timestamptz, finished_at timestamptz, details jsonb)
LANGUAGE sql STABLE STRICT AS $$
    SELECT j.*, '{"tasks": [], "task_state_counts": {"done": 0}}'::jsonb FROM pg_catalog.pg_dist_background_job j WHERE job_type = 'rebalance' ORDER BY job_id DESC LIMIT 1
$$;

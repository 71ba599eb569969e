-- Talking to the nodes: inside the transaction (postgres_fdw) and beside it (dblink).

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- inside the transaction
-- Run a command on a node in this transaction's remote half. They commit one worker after the other
-- when the local transaction commits: this is not two-phase commit.
CREATE FUNCTION sharding.node_run(nodeid int, command text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF command <> '' THEN
        EXECUTE format('INSERT INTO sharding.%I (command, ask) VALUES ($1, false)', 'node_' || nodeid) USING command;
    END IF;
END $$;

-- Ask a node for one value, in this transaction.
CREATE FUNCTION sharding.node_ask(nodeid int, query text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE answer text;
BEGIN
    EXECUTE format('INSERT INTO sharding.%I (command, ask) VALUES ($1, true) RETURNING result', 'node_' || nodeid)
        INTO answer USING query;
    RETURN answer;
END $$;

-- The workers that are in use, in the order in which shards are dealt out.
CREATE FUNCTION sharding.workers() RETURNS SETOF pg_catalog.pg_dist_node LANGUAGE sql STABLE AS $$
    SELECT * FROM pg_catalog.pg_dist_node WHERE groupid <> 0 AND isactive ORDER BY nodename COLLATE "C", nodeport
$$;

-- Run the same command on every worker, in this transaction.
CREATE FUNCTION sharding.all_workers_run(command text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE w record;
BEGIN
    FOR w IN SELECT nodeid FROM sharding.workers() LOOP PERFORM sharding.node_run(w.nodeid, command); END LOOP;
END $$;

-- Make the server, the user mapping and the command table of a worker. No password stands here:
-- the coordinator's server process reads it from its PGPASSFILE.
CREATE FUNCTION sharding.connect_node(node_id int, host text, port int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE server name := 'worker_' || node_id;
BEGIN
    EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L,
        fetch_size ''20000'', batch_size ''500'', async_capable ''true'', parallel_commit ''true'', parallel_abort ''true'',
        fdw_startup_cost ''100'', fdw_tuple_cost ''100'', connect_timeout ''5'')',
        server, host, port, current_database());
    -- fdw_tuple_cost is far above its default on purpose: rows are dear to carry, so joins and groups go to the worker.
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (user %L)', server, current_user);
    EXECUTE format('CREATE FOREIGN TABLE sharding.%I (command text, ask boolean, result text)
        SERVER %I OPTIONS (schema_name ''sharding'', table_name ''command'', async_capable ''false'')', 'node_' || node_id, server);
END $$;

CREATE FUNCTION sharding.disconnect_node(node_id int) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('DROP SERVER %I CASCADE', 'worker_' || node_id);
END $$;

-- ---------------------------------------------------------------- beside the transaction
CREATE FUNCTION sharding.conninfo(host text, port int) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('host=%L port=%s dbname=%L user=%L connect_timeout=5', host, port, current_database(), current_user)
        -- If this transaction has written something, an independent command could wait for us for ever.
        || CASE WHEN pg_current_xact_id_if_assigned() IS NOT NULL OR EXISTS (SELECT FROM sharding.postgres_fdw_get_connections() c WHERE c.used_in_xact)
                THEN ' options=''-c lock_timeout=3s''' ELSE '' END
$$;

-- Run one command on each of several places at the same time; what an error says becomes the result.
CREATE FUNCTION sharding.run_beside(hosts text[], ports int[], commands text[],
    OUT n int, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    nodes text[] := ARRAY(SELECT DISTINCT h || ' ' || p FROM unnest(hosts, ports) u(h, p));
    dead text[] := '{}'; node text; waiting int[]; i int; answers text[]; count_rows int;
BEGIN
    FOREACH node IN ARRAY nodes LOOP
        BEGIN
            PERFORM sharding.dblink_connect('beside ' || node, sharding.conninfo(split_part(node, ' ', 1), split_part(node, ' ', 2)::int));
        EXCEPTION WHEN OTHERS THEN dead := dead || node;
        END;
    END LOOP;
    -- One command in flight for each node; a node's next command is sent when its last one has answered.
    waiting := ARRAY(SELECT (min(o))::int FROM unnest(hosts, ports) WITH ORDINALITY u(h, p, o)
                     WHERE NOT h || ' ' || p = ANY (dead) GROUP BY h, p);
    FOREACH i IN ARRAY waiting LOOP PERFORM sharding.dblink_send_query('beside ' || hosts[i] || ' ' || ports[i], commands[i]); END LOOP;
    FOR i IN 1 .. coalesce(array_length(hosts, 1), 0) LOOP
        node := hosts[i] || ' ' || ports[i]; n := i;
        IF node = ANY (dead) THEN
            success := false; result := format('failed to connect to %s:%s', hosts[i], ports[i]); RETURN NEXT; CONTINUE;
        END IF;
        IF NOT i = ANY (waiting) THEN PERFORM sharding.dblink_send_query('beside ' || node, commands[i]); END IF;
        BEGIN
            answers := NULL; count_rows := 0;
            -- a command of several statements has several results; the last one counts
            LOOP
                SELECT array_agg(t.r), count(*) INTO answers, count_rows FROM sharding.dblink_get_result('beside ' || node) AS t(r text);
                result := coalesce(answers[1], ''); success := count_rows <= 1;
                IF NOT success THEN result := 'expected a single row in query result'; END IF;
                EXIT WHEN count_rows = 0 OR sharding.dblink_is_busy('beside ' || node) = 0;
            END LOOP;
        EXCEPTION
            WHEN datatype_mismatch THEN success := false; result := 'expected a single column in query target';
            WHEN OTHERS THEN success := false; result := 'ERROR:  ' || SQLERRM;
        END;
        BEGIN                                            -- empty the connection for the next command
            WHILE EXISTS (SELECT FROM sharding.dblink_get_result('beside ' || node) AS t(r text)) LOOP NULL; END LOOP;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        RETURN NEXT;
    END LOOP;
    FOREACH node IN ARRAY nodes LOOP
        IF NOT node = ANY (dead) THEN PERFORM sharding.dblink_disconnect('beside ' || node); END IF;
    END LOOP;
END $$;

-- ---------------------------------------------------------------- what a student calls
CREATE FUNCTION pg_catalog.run_command_on_workers(command text, parallel boolean DEFAULT true,
    OUT nodename text, OUT nodeport int, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH w AS (SELECT array_agg(w.nodename) h, array_agg(w.nodeport) p, array_agg(command) c FROM sharding.workers() w)
    SELECT w.h[r.n], w.p[r.n], r.success, r.result FROM w, sharding.run_beside(w.h, w.p, w.c) r ORDER BY r.n
$$;

-- Every node, the coordinator included.
CREATE FUNCTION pg_catalog.run_command_on_all_nodes(command text, parallel boolean DEFAULT true,
    give_warning_for_connection_errors boolean DEFAULT false,
    OUT nodeid int, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH w AS (SELECT array_agg(d.nodeid ORDER BY d.nodeid) i, array_agg(d.nodename ORDER BY d.nodeid) h, array_agg(d.nodeport ORDER BY d.nodeid) p,
                      array_agg(command) c FROM pg_dist_node d WHERE isactive)
    SELECT w.i[r.n], r.success, r.result FROM w, sharding.run_beside(w.h, w.p, w.c) r ORDER BY r.n
$$;

CREATE FUNCTION pg_catalog.run_command_on_coordinator(command text, give_warning_for_connection_errors boolean DEFAULT false,
    OUT nodeid int, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT d.nodeid, r.success, r.result FROM pg_dist_node d, sharding.run_beside(ARRAY[d.nodename], ARRAY[d.nodeport], ARRAY[command]) r
    WHERE d.groupid = 0
$$;

-- Every placement of a table's shards; %s in the command stands for the shard's name.
CREATE FUNCTION pg_catalog.run_command_on_placements(table_name regclass, command text, parallel boolean DEFAULT true,
    OUT nodename text, OUT nodeport int, OUT shardid bigint, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH s AS (SELECT s.shardid, d.nodename, d.nodeport,
                      replace(command, '%s', sharding.placement_name(s.logicalrelid, s.shardid, d.groupid)) AS command
               FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node d USING (groupid)
               WHERE s.logicalrelid = table_name ORDER BY s.shardid, d.groupid),
         w AS (SELECT array_agg(s.nodename) h, array_agg(s.nodeport) p, array_agg(s.command) c, array_agg(s.shardid) i FROM s)
    SELECT w.h[r.n], w.p[r.n], w.i[r.n], r.success, r.result FROM w, sharding.run_beside(w.h, w.p, w.c) r ORDER BY r.n
$$;

-- One placement of every shard.
CREATE FUNCTION pg_catalog.run_command_on_shards(table_name regclass, command text, parallel boolean DEFAULT true,
    OUT shardid bigint, OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH s AS (SELECT DISTINCT ON (s.shardid) s.shardid, d.nodename, d.nodeport,
                      replace(command, '%s', sharding.placement_name(s.logicalrelid, s.shardid, d.groupid)) AS command
               FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node d USING (groupid)
               WHERE s.logicalrelid = table_name ORDER BY s.shardid, d.groupid DESC),
         w AS (SELECT array_agg(s.nodename) h, array_agg(s.nodeport) p, array_agg(s.command) c, array_agg(s.shardid) i FROM s)
    SELECT w.i[r.n], r.success, r.result FROM w, sharding.run_beside(w.h, w.p, w.c) r ORDER BY r.n
$$;

-- The same on pairs of colocated shards; the first %s is the first table's shard, the second the other's.
CREATE FUNCTION pg_catalog.run_command_on_colocated_placements(table_name1 regclass, table_name2 regclass, command text,
    parallel boolean DEFAULT true, OUT nodename text, OUT nodeport int, OUT shardid1 bigint, OUT shardid2 bigint,
    OUT success boolean, OUT result text) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = table_name1)
       IS DISTINCT FROM (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = table_name2) THEN
        RAISE EXCEPTION 'tables % and % are not co-located', table_name1, table_name2 USING ERRCODE = 'XX000';
    END IF;
    RETURN QUERY
    WITH s AS (SELECT a.shardid AS s1, b.shardid AS s2, d.nodename, d.nodeport, format(command,
                      sharding.placement_name(a.logicalrelid, a.shardid, d.groupid), sharding.placement_name(b.logicalrelid, b.shardid, d.groupid)) AS command
               FROM pg_dist_shard a JOIN pg_dist_shard b ON b.logicalrelid = table_name2 AND b.shardminvalue IS NOT DISTINCT FROM a.shardminvalue
               JOIN pg_dist_placement p ON p.shardid = a.shardid JOIN pg_dist_node d USING (groupid)
               WHERE a.logicalrelid = table_name1 ORDER BY a.shardid, d.groupid),
         w AS (SELECT array_agg(s.nodename) h, array_agg(s.nodeport) p, array_agg(s.command) c, array_agg(s.s1) i, array_agg(s.s2) j FROM s)
    SELECT w.h[r.n], w.p[r.n], w.i[r.n], w.j[r.n], r.success, r.result FROM w, sharding.run_beside(w.h, w.p, w.c) r ORDER BY r.n;
END $$;

-- run_command_on_workers and the functions like it: commands outside the caller's transaction.
--
-- They run in separate sessions, over dblink. Each commits by itself, whatever happens to the
-- caller's transaction, and an error on one node is returned as a result. All nodes run at the same
-- time.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- running commands
-- Return how dblink connects to a node. If this transaction has written something, the other
-- session could wait for it forever, and PostgreSQL would not detect the deadlock; so the session
-- gets a short lock timeout.
CREATE FUNCTION sharding.conninfo(host text, port int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('host=%L port=%s dbname=%L user=%L connect_timeout=5',
            host, port, current_database(), current_user)
        || CASE WHEN pg_current_xact_id_if_assigned() IS NOT NULL
                  OR EXISTS (
                      SELECT
                      FROM sharding.postgres_fdw_get_connections() c
                      WHERE c.used_in_xact)
                THEN ' options=''-c lock_timeout=3s'''
                ELSE '' END
$$;

-- Run commands[n] on the node hosts[n], ports[n], for all n at the same time, and return a row for
-- each. If a command fails, its result is the error message.
CREATE FUNCTION sharding.run_in_parallel(
    hosts text[], ports int[], commands text[],
    OUT n int, OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    nodes text[] := ARRAY(
        SELECT DISTINCT host || ' ' || port
        FROM unnest(hosts, ports) u(host, port));
    unreachable text[] := '{}';
    node text;
    first_commands int[];
    i int;
    answers text[];
    rows_found int;
BEGIN
    FOREACH node IN ARRAY nodes LOOP
        BEGIN
            PERFORM sharding.dblink_connect('parallel ' || node,
                sharding.conninfo(split_part(node, ' ', 1), split_part(node, ' ', 2)::int));
        EXCEPTION WHEN OTHERS THEN
            unreachable := unreachable || node;
        END;
    END LOOP;

    -- A connection runs one command at a time. So each node's first command is sent now, and its
    -- next one when the result of the previous one has arrived.
    first_commands := ARRAY(
        SELECT min(position)::int
        FROM unnest(hosts, ports) WITH ORDINALITY u(host, port, position)
        WHERE NOT host || ' ' || port = ANY (unreachable)
        GROUP BY host, port);
    FOREACH i IN ARRAY first_commands LOOP
        PERFORM sharding.dblink_send_query('parallel ' || hosts[i] || ' ' || ports[i], commands[i]);
    END LOOP;

    FOR i IN 1 .. coalesce(array_length(hosts, 1), 0) LOOP
        n := i;
        node := hosts[i] || ' ' || ports[i];
        IF node = ANY (unreachable) THEN
            success := false;
            result := format('failed to connect to %s:%s', hosts[i], ports[i]);
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF NOT i = ANY (first_commands) THEN
            PERFORM sharding.dblink_send_query('parallel ' || node, commands[i]);
        END IF;
        BEGIN
            -- a command of several statements has several results; return the last one
            LOOP
                SELECT array_agg(r.value), count(*)
                INTO answers, rows_found
                FROM sharding.dblink_get_result('parallel ' || node) AS r(value text);
                success := rows_found <= 1;
                result := coalesce(answers[1], '');
                IF NOT success THEN
                    result := 'expected a single row in query result';
                END IF;
                EXIT WHEN rows_found = 0 OR sharding.dblink_is_busy('parallel ' || node) = 0;
            END LOOP;
        EXCEPTION
            WHEN datatype_mismatch THEN
                success := false;
                result := 'expected a single column in query target';
            WHEN OTHERS THEN
                success := false;
                result := 'ERROR:  ' || SQLERRM;
        END;
        -- empty the connection for the next command
        BEGIN
            LOOP
                PERFORM
                FROM sharding.dblink_get_result('parallel ' || node) AS r(value text);
                EXIT WHEN NOT FOUND;
            END LOOP;
        EXCEPTION WHEN OTHERS THEN
            NULL;  -- the error was reported above
        END;
        RETURN NEXT;
    END LOOP;

    FOREACH node IN ARRAY nodes LOOP
        IF NOT node = ANY (unreachable) THEN
            PERFORM sharding.dblink_disconnect('parallel ' || node);
        END IF;
    END LOOP;
END $$;

-- ---------------------------------------------------------------- on nodes
-- Run a command on every worker.
CREATE FUNCTION pg_catalog.run_command_on_workers(
    command text, parallel boolean DEFAULT true,
    OUT nodename text, OUT nodeport int, OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH target AS (
        SELECT array_agg(w.nodename) AS hosts,
            array_agg(w.nodeport) AS ports,
            array_agg(command) AS commands
        FROM sharding.workers() w
    )
    SELECT target.hosts[r.n], target.ports[r.n], r.success, r.result
    FROM target, sharding.run_in_parallel(target.hosts, target.ports, target.commands) r
    ORDER BY r.n
$$;

-- Run a command on every node, the coordinator included.
CREATE FUNCTION pg_catalog.run_command_on_all_nodes(
    command text, parallel boolean DEFAULT true,
    give_warning_for_connection_errors boolean DEFAULT false,
    OUT nodeid int, OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH target AS (
        SELECT array_agg(d.nodeid ORDER BY d.nodeid) AS ids,
            array_agg(d.nodename ORDER BY d.nodeid) AS hosts,
            array_agg(d.nodeport ORDER BY d.nodeid) AS ports,
            array_agg(command) AS commands
        FROM pg_dist_node d
        WHERE d.isactive
    )
    SELECT target.ids[r.n], r.success, r.result
    FROM target, sharding.run_in_parallel(target.hosts, target.ports, target.commands) r
    ORDER BY r.n
$$;

-- Run a command on the coordinator.
CREATE FUNCTION pg_catalog.run_command_on_coordinator(
    command text, give_warning_for_connection_errors boolean DEFAULT false,
    OUT nodeid int, OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT d.nodeid, r.success, r.result
    FROM pg_dist_node d,
        sharding.run_in_parallel(ARRAY[d.nodename], ARRAY[d.nodeport], ARRAY[command]) r
    WHERE d.groupid = 0
$$;

-- ---------------------------------------------------------------- on shards
-- Run a command for every placement of a table's shards; %s is replaced by the shard's name.
CREATE FUNCTION pg_catalog.run_command_on_placements(
    table_name regclass, command text, parallel boolean DEFAULT true,
    OUT nodename text, OUT nodeport int, OUT shardid bigint, OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH placement AS (
        SELECT s.shardid, d.nodename, d.nodeport,
            replace(command, '%s',
                sharding.placement_name(s.logicalrelid, s.shardid, d.groupid)) AS command
        FROM pg_dist_shard s
        JOIN pg_dist_placement p USING (shardid)
        JOIN pg_dist_node d USING (groupid)
        WHERE s.logicalrelid = table_name
        ORDER BY s.shardid, d.groupid
    ), target AS (
        SELECT array_agg(placement.nodename) AS hosts,
            array_agg(placement.nodeport) AS ports,
            array_agg(placement.command) AS commands,
            array_agg(placement.shardid) AS shards
        FROM placement
    )
    SELECT target.hosts[r.n], target.ports[r.n], target.shards[r.n], r.success, r.result
    FROM target, sharding.run_in_parallel(target.hosts, target.ports, target.commands) r
    ORDER BY r.n
$$;

-- Run a command for one placement of every shard.
CREATE FUNCTION pg_catalog.run_command_on_shards(
    table_name regclass, command text, parallel boolean DEFAULT true,
    OUT shardid bigint, OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH placement AS (
        SELECT DISTINCT ON (s.shardid) s.shardid, d.nodename, d.nodeport,
            replace(command, '%s',
                sharding.placement_name(s.logicalrelid, s.shardid, d.groupid)) AS command
        FROM pg_dist_shard s
        JOIN pg_dist_placement p USING (shardid)
        JOIN pg_dist_node d USING (groupid)
        WHERE s.logicalrelid = table_name
        ORDER BY s.shardid, d.groupid DESC
    ), target AS (
        SELECT array_agg(placement.nodename) AS hosts,
            array_agg(placement.nodeport) AS ports,
            array_agg(placement.command) AS commands,
            array_agg(placement.shardid) AS shards
        FROM placement
    )
    SELECT target.shards[r.n], r.success, r.result
    FROM target, sharding.run_in_parallel(target.hosts, target.ports, target.commands) r
    ORDER BY r.n
$$;

-- Run a command for every pair of colocated shards; the first %s is replaced by the name of the
-- first table's shard, the second %s by the other's.
CREATE FUNCTION pg_catalog.run_command_on_colocated_placements(
    table_name1 regclass, table_name2 regclass, command text, parallel boolean DEFAULT true,
    OUT nodename text, OUT nodeport int, OUT shardid1 bigint, OUT shardid2 bigint,
    OUT success boolean, OUT result text
) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = table_name1)
       IS DISTINCT FROM
       (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = table_name2)
    THEN
        RAISE EXCEPTION 'tables % and % are not co-located', table_name1, table_name2
            USING ERRCODE = 'XX000';
    END IF;
    RETURN QUERY
    WITH placement AS (
        SELECT a.shardid AS id1, b.shardid AS id2, d.nodename, d.nodeport,
            format(command,
                sharding.placement_name(a.logicalrelid, a.shardid, d.groupid),
                sharding.placement_name(b.logicalrelid, b.shardid, d.groupid)) AS command
        FROM pg_dist_shard a
        JOIN pg_dist_shard b ON b.logicalrelid = table_name2
            AND b.shardminvalue IS NOT DISTINCT FROM a.shardminvalue
        JOIN pg_dist_placement p ON p.shardid = a.shardid
        JOIN pg_dist_node d USING (groupid)
        WHERE a.logicalrelid = table_name1
        ORDER BY a.shardid, d.groupid
    ), target AS (
        SELECT array_agg(placement.nodename) AS hosts,
            array_agg(placement.nodeport) AS ports,
            array_agg(placement.command) AS commands,
            array_agg(placement.id1) AS shards1,
            array_agg(placement.id2) AS shards2
        FROM placement
    )
    SELECT target.hosts[r.n], target.ports[r.n], target.shards1[r.n], target.shards2[r.n],
        r.success, r.result
    FROM target, sharding.run_in_parallel(target.hosts, target.ports, target.commands) r
    ORDER BY r.n;
END $$;

-- Nodes: adding, removing and changing them, and checking their connections.
--
-- A worker is a row in pg_dist_node and a foreign server of postgres_fdw. A new node has no shards;
-- it gets some when a table is distributed or when shards are moved to it.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- lists
-- Return the active workers.
CREATE FUNCTION pg_catalog.citus_get_active_worker_nodes(OUT node_name text, OUT node_port bigint)
RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT nodename, nodeport::bigint
    FROM sharding.workers()
$$;

-- The former name of this function.
CREATE FUNCTION pg_catalog.master_get_active_worker_nodes(OUT node_name text, OUT node_port bigint)
RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT nodename, nodeport::bigint
    FROM sharding.workers()
$$;

-- Return true: only the coordinator has these functions.
CREATE FUNCTION pg_catalog.citus_is_coordinator() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT true
$$;

-- Return the coordinator's node id.
CREATE FUNCTION pg_catalog.citus_coordinator_nodeid() RETURNS int
LANGUAGE sql STABLE AS $$
    SELECT nodeid
    FROM pg_catalog.pg_dist_node
    WHERE groupid = 0
$$;

-- Return a node's host name.
CREATE FUNCTION pg_catalog.citus_nodename_for_nodeid(nodeid int) RETURNS text
LANGUAGE sql STABLE STRICT AS $$
    SELECT d.nodename
    FROM pg_catalog.pg_dist_node d
    WHERE d.nodeid = $1
$$;

-- Return a node's port.
CREATE FUNCTION pg_catalog.citus_nodeport_for_nodeid(nodeid int) RETURNS int
LANGUAGE sql STABLE STRICT AS $$
    SELECT d.nodeport
    FROM pg_catalog.pg_dist_node d
    WHERE d.nodeid = $1
$$;

-- Return the node with this host name and port. Raises an error if there is none.
CREATE FUNCTION sharding.node(host text, port int) RETURNS pg_catalog.pg_dist_node
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node;
BEGIN
    SELECT *
    INTO node
    FROM pg_dist_node
    WHERE nodename = host
      AND nodeport = port;
    IF node.nodeid IS NULL THEN
        RAISE EXCEPTION 'node at "%:%" does not exist', host, port
            USING ERRCODE = 'XX000';
    END IF;
    RETURN node;
END $$;

-- ---------------------------------------------------------------- adding
-- Set the host name and port under which other nodes reach the coordinator.
CREATE FUNCTION pg_catalog.citus_set_coordinator_host(
    host text, port int DEFAULT current_setting('port')::int,
    node_role noderole DEFAULT 'primary', node_cluster name DEFAULT 'default'
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
    UPDATE pg_dist_node
    SET nodename = host,
        nodeport = port
    WHERE groupid = 0;
    IF NOT FOUND THEN
        INSERT INTO pg_dist_node
            (groupid, nodename, nodeport, noderole, nodecluster, shouldhaveshards)
        VALUES (0, host, port, node_role, node_cluster, false);
    END IF;
END $$;

-- Check that the coordinator can connect to a node, and that 01_worker.sql is loaded there.
-- postgres_fdw would connect only when the node is used.
CREATE FUNCTION sharding.check_new_node(host text, port int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    why text;
    prepared boolean;
BEGIN
    BEGIN
        PERFORM sharding.dblink_connect('sharding_add', sharding.conninfo(host, port));
    EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
        GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
        RAISE EXCEPTION
            'connection to the remote node %@%:% failed with the following error: %',
            current_user, host, port, coalesce(substring(why FROM 'failed: (.*)'), why)
            USING ERRCODE = '08006';
    END;
    SELECT r.prepared
    INTO prepared
    FROM sharding.dblink('sharding_add', 'SELECT to_regclass(''sharding.command'') IS NOT NULL')
        AS r(prepared boolean);
    PERFORM sharding.dblink_disconnect('sharding_add');
    IF NOT prepared THEN
        RAISE EXCEPTION 'database "%" on %:% has not been prepared for a worker',
            current_database(), host, port
            USING ERRCODE = 'XX000',
                  HINT = 'Load sql/worker/*.sql there first.';
    END IF;
END $$;

-- Add a worker and return its node id; for a worker that is there already, return its id.
CREATE FUNCTION pg_catalog.citus_add_node(
    nodename text, nodeport int, groupid int DEFAULT -1,
    noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default'
) RETURNS int
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
#variable_conflict use_variable
DECLARE
    id int;
BEGIN
    SELECT d.nodeid
    INTO id
    FROM pg_dist_node d
    WHERE d.nodename = citus_add_node.nodename
      AND d.nodeport = citus_add_node.nodeport;
    IF id IS NOT NULL THEN
        RETURN id;
    END IF;
    IF noderole <> 'primary' THEN
        RAISE EXCEPTION 'the teaching cluster has primary nodes only'
            USING ERRCODE = '0A000';
    END IF;
    IF nodename NOT IN ('localhost', '127.0.0.1', '::1')
       AND EXISTS (
           SELECT
           FROM pg_dist_node d
           WHERE d.groupid = 0
             AND d.nodename = 'localhost')
    THEN
        RAISE EXCEPTION
            'cannot add a worker node when the coordinator hostname is set to localhost'
            USING ERRCODE = 'XX000',
                  DETAIL = 'Worker nodes need to be able to connect to the coordinator to '
                      'transfer data.',
                  HINT = 'Use SELECT citus_set_coordinator_host(''<hostname>'') to configure '
                      'the coordinator hostname';
    END IF;
    -- as in Citus, a call that fails uses up the ids
    id := nextval('pg_dist_node_nodeid_seq');
    groupid := CASE WHEN groupid > 0 THEN groupid ELSE nextval('pg_dist_groupid_seq') END;
    PERFORM sharding.check_new_node(nodename, nodeport);
    INSERT INTO pg_dist_node (nodeid, groupid, nodename, nodeport, noderole, nodecluster)
    VALUES (id, groupid, nodename, nodeport, noderole, nodecluster);
    PERFORM sharding.connect_node(id, nodename, nodeport);
    RETURN id;
END $$;

-- The former name of this function.
CREATE FUNCTION pg_catalog.master_add_node(
    nodename text, nodeport int, groupid int DEFAULT -1,
    noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default'
) RETURNS int
LANGUAGE sql STRICT AS $$
    SELECT pg_catalog.citus_add_node(nodename, nodeport, groupid, noderole, nodecluster)
$$;

-- ---------------------------------------------------------------- removing
-- Refuse to remove a node that has the only placement of a shard.
CREATE FUNCTION sharding.check_no_only_placement(node pg_dist_node) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    only_here record;
BEGIN
    SELECT p.shardid, s.logicalrelid
    INTO only_here
    FROM pg_dist_placement p
    JOIN pg_dist_shard s ON s.shardid = p.shardid
    WHERE p.groupid = node.groupid
      AND NOT EXISTS (
          SELECT
          FROM pg_dist_placement elsewhere
          WHERE elsewhere.shardid = p.shardid
            AND elsewhere.groupid <> p.groupid)
    ORDER BY p.shardid
    LIMIT 1;
    IF only_here.shardid IS NOT NULL THEN
        -- "because because" is Citus's text
        RAISE EXCEPTION 'cannot remove or disable the node %:% because because it contains the '
            'only shard placement for shard %', node.nodename, node.nodeport, only_here.shardid
            USING ERRCODE = 'XX000',
                  DETAIL = 'One of the table(s) that prevents the operation complete '
                      'successfully is ' || sharding.qualified_name(only_here.logicalrelid),
                  HINT = 'To proceed, either drop the tables or use undistribute_table() '
                      'function to convert them to local tables';
    END IF;
END $$;

-- Remove a node. If it can be reached, its copies of reference tables and its old placements are
-- dropped.
CREATE FUNCTION pg_catalog.citus_remove_node(nodename text, nodeport int) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    node pg_dist_node := sharding.node(nodename, nodeport);
    held text;
    was_internal boolean;
BEGIN
    PERFORM sharding.check_no_only_placement(node);
    was_internal := sharding.set_internal_ddl(true);
    IF node.groupid <> 0 THEN
        BEGIN
            FOR held IN
                SELECT sharding.shard_table(s.logicalrelid, s.shardid)
                FROM pg_dist_placement p
                JOIN pg_dist_shard s USING (shardid)
                WHERE p.groupid = node.groupid
                UNION ALL
                SELECT object_name
                FROM pg_dist_cleanup
                WHERE node_group_id = node.groupid
            LOOP
                PERFORM sharding.run_on_node(node.nodeid,
                    format('DROP TABLE IF EXISTS %s CASCADE', held));
            END LOOP;
        EXCEPTION WHEN connection_exception OR connection_failure
                OR sqlclient_unable_to_establish_sqlconnection THEN
            NULL;
        END;
        DELETE FROM pg_dist_cleanup
        WHERE node_group_id = node.groupid;
        PERFORM sharding.disconnect_node(node.nodeid);
    END IF;
    DELETE FROM pg_dist_placement
    WHERE groupid = node.groupid;
    DELETE FROM pg_dist_node
    WHERE nodeid = node.nodeid;
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

-- ---------------------------------------------------------------- changing
-- Stop using a node, but keep it in the metadata. Its copies of reference tables become outdated,
-- so their placements are deleted.
CREATE FUNCTION pg_catalog.citus_disable_node(
    nodename text, nodeport int, synchronous boolean DEFAULT false
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node := sharding.node(nodename, nodeport);
BEGIN
    PERFORM sharding.check_no_only_placement(node);
    DELETE FROM pg_dist_placement
    WHERE groupid = node.groupid;
    UPDATE pg_dist_node
    SET isactive = false
    WHERE nodeid = node.nodeid;
END $$;

-- Use a disabled node again.
CREATE FUNCTION pg_catalog.citus_activate_node(nodename text, nodeport int) RETURNS int
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node := sharding.node(nodename, nodeport);
BEGIN
    UPDATE pg_dist_node
    SET isactive = true
    WHERE nodeid = node.nodeid;
    RETURN node.nodeid;
END $$;

-- Set whether a node should have shards. The next rebalance drains a node that should not.
CREATE FUNCTION pg_catalog.citus_set_node_property(
    nodename text, nodeport int, property text, value boolean
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node := sharding.node(nodename, nodeport);
BEGIN
    IF property <> 'shouldhaveshards' THEN
        RAISE EXCEPTION
            'only the ''shouldhaveshards'' property can be set using this function'
            USING ERRCODE = 'XX000';
    ELSIF node.groupid = 0 AND value THEN
        RAISE EXCEPTION
            'in the teaching cluster the coordinator holds no shards of distributed tables'
            USING ERRCODE = '0A000';
    END IF;
    UPDATE pg_dist_node
    SET shouldhaveshards = value
    WHERE nodeid = node.nodeid;
END $$;

-- Set a node's new address, also for its foreign server.
CREATE FUNCTION pg_catalog.citus_update_node(
    node_id int, new_node_name text, new_node_port int,
    force boolean DEFAULT false, lock_cooldown int DEFAULT 10000
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node;
BEGIN
    UPDATE pg_dist_node
    SET nodename = new_node_name,
        nodeport = new_node_port
    WHERE nodeid = node_id
    RETURNING * INTO node;
    IF node.nodeid IS NULL THEN
        RAISE EXCEPTION 'node % not found', node_id
            USING ERRCODE = 'P0002';
    END IF;
    IF node.groupid <> 0 THEN
        EXECUTE format('ALTER SERVER %I OPTIONS (SET host %L, SET port %L)',
            'worker_' || node_id, new_node_name, new_node_port);
    END IF;
END $$;

-- ---------------------------------------------------------------- health
-- Return for each pair of nodes whether the first can connect to the second; NULL if the first
-- cannot be reached from here.
CREATE FUNCTION pg_catalog.citus_check_cluster_node_health(
    OUT from_nodename text, OUT from_nodeport int, OUT to_nodename text, OUT to_nodeport int,
    OUT result boolean
) RETURNS SETOF record
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    from_node pg_dist_node;
    to_node pg_dist_node;
    reachable boolean;
BEGIN
    FOR from_node IN
        SELECT *
        FROM pg_dist_node
        ORDER BY nodeid
    LOOP
        reachable := true;
        IF from_node.groupid <> 0 THEN
            BEGIN
                PERFORM sharding.dblink_connect('health',
                    sharding.conninfo(from_node.nodename, from_node.nodeport));
            EXCEPTION WHEN OTHERS THEN
                reachable := false;
            END;
        END IF;
        FOR to_node IN
            SELECT *
            FROM pg_dist_node
            ORDER BY nodeid
        LOOP
            from_nodename := from_node.nodename;
            from_nodeport := from_node.nodeport;
            to_nodename := to_node.nodename;
            to_nodeport := to_node.nodeport;
            result := NULL;
            IF reachable AND from_node.groupid = 0 THEN
                BEGIN
                    PERFORM sharding.dblink_connect('health',
                        sharding.conninfo(to_node.nodename, to_node.nodeport));
                    PERFORM sharding.dblink_disconnect('health');
                    result := true;
                EXCEPTION WHEN OTHERS THEN
                    result := false;
                END;
            ELSIF reachable THEN
                SELECT remote.reached
                INTO result
                FROM sharding.dblink('health',
                    format('SELECT sharding.can_reach(%L, %s)', to_node.nodename, to_node.nodeport))
                    AS remote(reached boolean);
            END IF;
            RETURN NEXT;
        END LOOP;
        IF reachable AND from_node.groupid <> 0 THEN
            PERFORM sharding.dblink_disconnect('health');
        END IF;
    END LOOP;
END $$;

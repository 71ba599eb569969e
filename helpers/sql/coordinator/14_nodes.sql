-- Nodes: adding, removing, asking after them.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- lists
CREATE FUNCTION pg_catalog.citus_get_active_worker_nodes(OUT node_name text, OUT node_port bigint) RETURNS SETOF record
LANGUAGE sql STABLE AS $$ SELECT nodename, nodeport::bigint FROM sharding.workers() $$;
CREATE FUNCTION pg_catalog.master_get_active_worker_nodes(OUT node_name text, OUT node_port bigint) RETURNS SETOF record
LANGUAGE sql STABLE AS $$ SELECT nodename, nodeport::bigint FROM sharding.workers() $$;
CREATE FUNCTION pg_catalog.citus_is_coordinator() RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT true $$;
CREATE FUNCTION pg_catalog.citus_coordinator_nodeid() RETURNS int LANGUAGE sql STABLE AS $$ SELECT nodeid FROM pg_catalog.pg_dist_node WHERE groupid = 0 $$;
CREATE FUNCTION pg_catalog.citus_nodename_for_nodeid(nodeid int) RETURNS text LANGUAGE sql STABLE STRICT AS $$ SELECT d.nodename FROM pg_catalog.pg_dist_node d WHERE d.nodeid = $1 $$;
CREATE FUNCTION pg_catalog.citus_nodeport_for_nodeid(nodeid int) RETURNS int LANGUAGE sql STABLE STRICT AS $$ SELECT d.nodeport FROM pg_catalog.pg_dist_node d WHERE d.nodeid = $1 $$;

-- The node of that name and port, or an error.
CREATE FUNCTION sharding.node(host text, port int) RETURNS pg_catalog.pg_dist_node LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE n pg_dist_node;
BEGIN
    SELECT * INTO n FROM pg_dist_node WHERE nodename = host AND nodeport = port;
    IF n.nodeid IS NULL THEN RAISE EXCEPTION 'node at "%:%" does not exist', host, port USING ERRCODE = 'XX000'; END IF;
    RETURN n;
END $$;

-- ---------------------------------------------------------------- the coordinator
CREATE FUNCTION pg_catalog.citus_set_coordinator_host(host text, port int DEFAULT current_setting('port')::int,
    node_role noderole DEFAULT 'primary', node_cluster name DEFAULT 'default') RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
    UPDATE pg_dist_node SET nodename = host, nodeport = port WHERE groupid = 0;
    IF NOT FOUND THEN
        INSERT INTO pg_dist_node (groupid, nodename, nodeport, noderole, nodecluster, shouldhaveshards) VALUES (0, host, port, node_role, node_cluster, false);
    END IF;
END $$;

-- ---------------------------------------------------------------- adding
CREATE FUNCTION pg_catalog.citus_add_node(nodename text, nodeport int, groupid int DEFAULT -1, noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default') RETURNS int
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
#variable_conflict use_variable
DECLARE id int; why text;
BEGIN
    SELECT d.nodeid INTO id FROM pg_dist_node d WHERE d.nodename = citus_add_node.nodename AND d.nodeport = citus_add_node.nodeport;
    IF id IS NOT NULL THEN RETURN id; END IF;
    IF noderole <> 'primary' THEN RAISE EXCEPTION 'the teaching part has primary nodes only' USING ERRCODE = '0A000'; END IF;
    IF nodename NOT IN ('localhost', '127.0.0.1', '::1') AND EXISTS (SELECT FROM pg_dist_node d WHERE d.groupid = 0 AND d.nodename = 'localhost') THEN
        RAISE EXCEPTION 'cannot add a worker node when the coordinator hostname is set to localhost'
            USING ERRCODE = 'XX000', DETAIL = 'Worker nodes need to be able to connect to the coordinator to transfer data.', HINT = 'Use SELECT citus_set_coordinator_host(''<hostname>'') to configure the coordinator hostname';
    END IF;
    -- the numbers are taken first: an attempt that fails uses them up, as with Citus
    id := nextval('pg_dist_node_nodeid_seq'); groupid := CASE WHEN groupid > 0 THEN groupid ELSE nextval('pg_dist_groupid_seq') END;
    BEGIN
        PERFORM sharding.dblink_connect('sharding_add', sharding.conninfo(nodename, nodeport));
    EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
        GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
        RAISE EXCEPTION 'connection to the remote node %@%:% failed with the following error: %', current_user, nodename, nodeport,
            coalesce(substring(why FROM 'failed: (.*)'), why) USING ERRCODE = '08006';
    END;
    IF NOT (SELECT r FROM sharding.dblink('sharding_add', 'SELECT to_regclass(''sharding.command'') IS NOT NULL') AS t(r boolean)) THEN
        PERFORM sharding.dblink_disconnect('sharding_add');
        RAISE EXCEPTION 'database "%" on %:% has not been prepared as a worker''s', current_database(), nodename, nodeport
            USING ERRCODE = 'XX000', HINT = 'Load sql/worker/*.sql there first.';
    END IF;
    PERFORM sharding.dblink_disconnect('sharding_add');
    INSERT INTO pg_dist_node (nodeid, groupid, nodename, nodeport, noderole, nodecluster) VALUES (id, groupid, nodename, nodeport, noderole, nodecluster);
    PERFORM sharding.connect_node(id, nodename, nodeport);
    RETURN id;
END $$;
CREATE FUNCTION pg_catalog.master_add_node(nodename text, nodeport int, groupid int DEFAULT -1, noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default') RETURNS int
LANGUAGE sql STRICT AS $$ SELECT pg_catalog.citus_add_node(nodename, nodeport, groupid, noderole, nodecluster) $$;

-- ---------------------------------------------------------------- removing
CREATE FUNCTION sharding.check_only_placements(n pg_dist_node) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE s record;
BEGIN
    SELECT shardid, c.relname, ns.nspname INTO s FROM pg_dist_placement p JOIN pg_dist_shard x USING (shardid) JOIN pg_class c ON c.oid = x.logicalrelid JOIN pg_namespace ns ON ns.oid = c.relnamespace
    WHERE p.groupid = n.groupid AND NOT EXISTS (SELECT FROM pg_dist_placement o WHERE o.shardid = p.shardid AND o.groupid <> p.groupid) ORDER BY shardid LIMIT 1;
    IF s.shardid IS NOT NULL THEN
        RAISE EXCEPTION 'cannot remove or disable the node %:% because because it contains the only shard placement for shard %', n.nodename, n.nodeport, s.shardid
            USING ERRCODE = 'XX000', DETAIL = format('One of the table(s) that prevents the operation complete successfully is %I.%I', s.nspname, s.relname),
                  HINT = 'To proceed, either drop the tables or use undistribute_table() function to convert them to local tables';
    END IF;
END $$;

CREATE FUNCTION pg_catalog.citus_remove_node(nodename text, nodeport int) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE n pg_dist_node := sharding.node(nodename, nodeport); c record; was text;
BEGIN
    PERFORM sharding.check_only_placements(n);
    was := sharding.busy(true);
    IF n.groupid <> 0 THEN
        BEGIN                                            -- leave the node clean; one that is dead cannot be cleaned
            FOR c IN SELECT sharding.shard(s.logicalrelid, s.shardid) AS shard FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid) WHERE p.groupid = n.groupid LOOP
                PERFORM sharding.node_run(n.nodeid, format('DROP TABLE IF EXISTS %s CASCADE', c.shard));
            END LOOP;
            FOR c IN SELECT object_name FROM pg_dist_cleanup WHERE node_group_id = n.groupid LOOP
                PERFORM sharding.node_run(n.nodeid, format('DROP TABLE IF EXISTS %s CASCADE', c.object_name));
            END LOOP;
        EXCEPTION WHEN connection_exception OR sqlclient_unable_to_establish_sqlconnection OR connection_failure THEN NULL;
        END;
        DELETE FROM pg_dist_cleanup WHERE node_group_id = n.groupid;
        PERFORM sharding.disconnect_node(n.nodeid);
    END IF;
    DELETE FROM pg_dist_placement WHERE groupid = n.groupid;
    DELETE FROM pg_dist_node WHERE nodeid = n.nodeid;
    PERFORM sharding.busy(was::boolean);
END $$;

CREATE FUNCTION pg_catalog.citus_disable_node(nodename text, nodeport int, synchronous boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE n pg_dist_node := sharding.node(nodename, nodeport);
BEGIN
    PERFORM sharding.check_only_placements(n);
    DELETE FROM pg_dist_placement WHERE groupid = n.groupid;
    UPDATE pg_dist_node SET isactive = false WHERE nodeid = n.nodeid;
END $$;
CREATE FUNCTION pg_catalog.citus_activate_node(nodename text, nodeport int) RETURNS int
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE n pg_dist_node := sharding.node(nodename, nodeport);
BEGIN
    UPDATE pg_dist_node SET isactive = true WHERE nodeid = n.nodeid;
    RETURN n.nodeid;
END $$;

CREATE FUNCTION pg_catalog.citus_set_node_property(nodename text, nodeport int, property text, value boolean) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE n pg_dist_node := sharding.node(nodename, nodeport);
BEGIN
    IF property <> 'shouldhaveshards' THEN RAISE EXCEPTION 'only the ''shouldhaveshards'' property can be set using this function' USING ERRCODE = 'XX000'; END IF;
    IF n.groupid = 0 AND value THEN RAISE EXCEPTION 'in the teaching part the coordinator holds no shards of distributed tables' USING ERRCODE = '0A000'; END IF;
    UPDATE pg_dist_node SET shouldhaveshards = value WHERE nodeid = n.nodeid;
END $$;

-- A node that came back at another address: the servers follow.
CREATE FUNCTION pg_catalog.citus_update_node(node_id int, new_node_name text, new_node_port int, force boolean DEFAULT false, lock_cooldown int DEFAULT 10000) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE n pg_dist_node;
BEGIN
    UPDATE pg_dist_node SET nodename = new_node_name, nodeport = new_node_port WHERE nodeid = node_id RETURNING * INTO n;
    IF n.nodeid IS NULL THEN RAISE EXCEPTION 'node % not found', node_id USING ERRCODE = 'P0002'; END IF;
    IF n.groupid <> 0 THEN EXECUTE format('ALTER SERVER %I OPTIONS (SET host %L, SET port %L)', 'worker_' || node_id, new_node_name, new_node_port); END IF;
END $$;

-- ---------------------------------------------------------------- health
-- Every node tries to connect to every node.
CREATE FUNCTION pg_catalog.citus_check_cluster_node_health(OUT from_nodename text, OUT from_nodeport int, OUT to_nodename text, OUT to_nodeport int, OUT result boolean) RETURNS SETOF record
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE f pg_dist_node; t pg_dist_node; ok boolean;
BEGIN
    FOR f IN SELECT * FROM pg_dist_node ORDER BY nodeid LOOP
        ok := f.groupid = 0;
        IF NOT ok THEN
            BEGIN
                PERFORM sharding.dblink_connect('health', sharding.conninfo(f.nodename, f.nodeport)); ok := true;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END IF;
        FOR t IN SELECT * FROM pg_dist_node ORDER BY nodeid LOOP
            from_nodename := f.nodename; from_nodeport := f.nodeport; to_nodename := t.nodename; to_nodeport := t.nodeport; result := NULL;
            IF ok AND f.groupid = 0 THEN
                BEGIN
                    PERFORM sharding.dblink_connect('health', sharding.conninfo(t.nodename, t.nodeport)); PERFORM sharding.dblink_disconnect('health'); result := true;
                EXCEPTION WHEN OTHERS THEN result := false;
                END;
            ELSIF ok THEN
                SELECT r INTO result FROM sharding.dblink('health', format('SELECT sharding.can_reach(%L, %s)', t.nodename, t.nodeport)) AS x(r boolean);
            END IF;
            RETURN NEXT;
        END LOOP;
        IF ok AND f.groupid <> 0 THEN PERFORM sharding.dblink_disconnect('health'); END IF;
    END LOOP;
END $$;

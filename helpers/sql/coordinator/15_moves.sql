-- Moving shards: copy to the other node, switch, and leave the old copy for a later clean-up.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- clean-up
-- Old placements are dropped after the move has committed (Citus defers it too): whatever fails in between,
-- one whole placement is in force, and a reader that planned before the switch still finds what it planned for.
-- Called at the start of every function that moves. A placement that such a reader may want is left for the next call.
CREATE FUNCTION sharding.clean_up() RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE c record; done int := 0; readers text[]; gone boolean := false;
BEGIN
    readers := ARRAY(SELECT DISTINCT virtualtransaction FROM pg_locks WHERE pid <> pg_backend_pid() AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND relation IN (SELECT foreign_table FROM pg_dist_cleanup));
    FOR i IN 1 .. 50 LOOP
        gone := NOT EXISTS (SELECT FROM pg_locks WHERE virtualtransaction = ANY (readers));
        EXIT WHEN gone;
        PERFORM pg_sleep(0.02);
    END LOOP;
    IF NOT gone THEN RETURN 0; END IF;
    FOR c IN SELECT x.record_id, x.object_name, d.nodeid FROM pg_dist_cleanup x JOIN pg_dist_node d ON d.groupid = x.node_group_id ORDER BY record_id FOR UPDATE OF x SKIP LOCKED LOOP
        BEGIN
            PERFORM sharding.node_run(c.nodeid, format('DROP TABLE IF EXISTS %s CASCADE', c.object_name));
            DELETE FROM pg_dist_cleanup WHERE record_id = c.record_id;
            done := done + 1;
        EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection OR connection_exception OR connection_failure THEN NULL;   -- a dead node is cleaned when it is back
        END;
    END LOOP;
    RETURN done;
END $$;

CREATE PROCEDURE pg_catalog.citus_cleanup_orphaned_resources() LANGUAGE plpgsql AS $$
DECLARE n int := sharding.clean_up();
BEGIN
    IF n > 0 THEN RAISE NOTICE 'cleaned up % orphaned resources', n; END IF;
END $$;

-- ---------------------------------------------------------------- one shard, with all that are colocated
-- Point a shard's foreign table at another server. PostgreSQL has no command for that, and detaching and attaching
-- the partition would mean dropping the table's keys, so its catalog rows are changed. Touching its pg_class row makes
-- every session plan anew. No lock that readers would notice is needed: see clean_up.
CREATE FUNCTION sharding.point_at(shard_table regclass, server name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET allow_system_table_mods = on AS $$
DECLARE new_server oid := (SELECT oid FROM pg_foreign_server WHERE srvname = server);
BEGIN
    UPDATE pg_foreign_table SET ftserver = new_server WHERE ftrelid = shard_table;
    UPDATE pg_depend SET refobjid = new_server WHERE classid = 'pg_class'::regclass AND objid = shard_table AND refclassid = 'pg_foreign_server'::regclass;
    UPDATE pg_class SET relname = relname WHERE oid = shard_table;
END $$;

-- Move a shard and those colocated with it, all locked against writes; reads go on until the switch.
CREATE FUNCTION sharding.move(shard_id bigint, source pg_dist_node, target pg_dist_node) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE s record; fk sharding.foreign_key; cols text; was text := sharding.busy(true); ids bigint[];
BEGIN
    SELECT array_agg(o.shardid ORDER BY o.shardid) INTO ids FROM pg_dist_shard x JOIN pg_dist_partition p USING (logicalrelid)
    JOIN pg_dist_partition q ON q.colocationid = p.colocationid JOIN pg_dist_shard o ON o.logicalrelid = q.logicalrelid AND o.shardminvalue = x.shardminvalue WHERE x.shardid = shard_id;
    FOR s IN SELECT x.shardid, x.logicalrelid AS rel, x.shardminvalue, t.relname, t.schemaname, sharding.with_id(t.relname, x.shardid) AS name
             FROM pg_dist_shard x JOIN sharding.table_name t ON t.relid = x.logicalrelid WHERE x.shardid = ANY (ids) ORDER BY x.shardid LOOP
        -- a leftover of an earlier move may stand in the way
        DELETE FROM pg_dist_cleanup WHERE object_name = sharding.shard(s.rel, s.shardid) AND node_group_id = target.groupid;
        IF FOUND THEN PERFORM sharding.node_run(target.nodeid, format('DROP TABLE IF EXISTS %s CASCADE', sharding.shard(s.rel, s.shardid))); END IF;
        PERFORM sharding.node_run(target.nodeid, coalesce(sharding.needed_types(s.rel), '') || sharding.create_shard(s.rel, s.shardid, s.shardminvalue = '-2147483648'));
        -- a foreign table for the new placement, only for as long as the copy takes
        cols := sharding.copied_columns(s.rel);
        EXECUTE format('CREATE FOREIGN TABLE sharding.incoming (LIKE %s INCLUDING GENERATED) SERVER %I OPTIONS (schema_name %L, table_name %L)',
            s.rel::regclass, 'worker_' || target.nodeid, s.schemaname, s.name);
        EXECUTE format('INSERT INTO sharding.incoming (%s) SELECT %1$s FROM shards.%I', cols, s.name);
        DROP FOREIGN TABLE sharding.incoming;
        INSERT INTO pg_dist_cleanup (object_name, node_group_id, foreign_table) VALUES (sharding.shard(s.rel, s.shardid), source.groupid, format('shards.%I', s.name)::regclass);
    END LOOP;
    UPDATE pg_dist_placement SET groupid = target.groupid, placementid = DEFAULT WHERE shardid = ANY (ids) AND groupid = source.groupid;
    FOR fk IN SELECT k.* FROM sharding.foreign_key k WHERE onshards AND EXISTS (SELECT FROM pg_dist_shard x WHERE x.logicalrelid = k.conrelid AND x.shardid = ANY (ids)) LOOP
        PERFORM sharding.node_run(target.nodeid, sharding.add_foreign_key(fk, (SELECT shardid FROM pg_dist_shard x WHERE x.logicalrelid = fk.conrelid AND shardid = ANY (ids))));
    END LOOP;
    FOR s IN SELECT x.shardid, sharding.with_id(t.relname, x.shardid) AS name FROM pg_dist_shard x JOIN sharding.table_name t ON t.relid = x.logicalrelid WHERE x.shardid = ANY (ids) LOOP
        PERFORM sharding.point_at(format('shards.%I', s.name)::regclass, 'worker_' || target.nodeid);
    END LOOP;
    PERFORM sharding.busy(was::boolean);
END $$;

-- What every move needs first: a fresh picture, no writers, no leftovers in the way.
CREATE FUNCTION sharding.prepare_moves(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM sharding.need_fresh_snapshot(what);
    PERFORM sharding.lock_all();
    PERFORM sharding.clean_up();
END $$;

CREATE FUNCTION pg_catalog.citus_move_shard_placement(shard_id bigint, source_node_name text, source_node_port int, target_node_name text, target_node_port int,
    shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto') RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE s pg_dist_node; t pg_dist_node; rel regclass; k "char";
BEGIN
    IF EXISTS (SELECT FROM pg_dist_partition p JOIN pg_dist_shard x USING (logicalrelid), sharding.workers() w WHERE p.repmodel = 't'
               AND NOT EXISTS (SELECT FROM pg_dist_placement y WHERE y.shardid = x.shardid AND y.groupid = w.groupid)) THEN
        RAISE EXCEPTION 'there are missing reference tables on some nodes'
            USING ERRCODE = 'XX000', HINT = 'Copy reference tables first with replicate_reference_tables() or use citus_rebalance_start() that will do it automatically.';
    END IF;
    SELECT logicalrelid INTO rel FROM pg_dist_shard WHERE shardid = shard_id;
    IF rel IS NULL THEN RAISE EXCEPTION 'could not find valid entry for shard %', shard_id USING ERRCODE = 'XX000'; END IF;
    k := sharding.kind(rel);
    IF k <> 'h' THEN
        RAISE EXCEPTION 'table % is a % table, moving shard of a % is %not supported', sharding.qualified(rel), CASE k WHEN 't' THEN 'reference' ELSE 'local' END,
            CASE k WHEN 't' THEN 'reference table' ELSE 'local table added to metadata' END, CASE k WHEN 't' THEN '' ELSE 'currently ' END USING ERRCODE = '0A000';
    END IF;
    IF (source_node_name, source_node_port) = (target_node_name, target_node_port) THEN
        RAISE EXCEPTION 'cannot move shard to the same node' USING ERRCODE = '22023';
    END IF;
    SELECT * INTO t FROM pg_dist_node WHERE nodename = target_node_name AND nodeport = target_node_port;
    IF t.nodeid IS NULL THEN
        RAISE EXCEPTION 'Moving shards to a non-existing node is not supported' USING ERRCODE = '0A000', HINT = format('Add the target node via SELECT citus_add_node(''%s'', %s);', target_node_name, target_node_port);
    ELSIF NOT t.isactive THEN
        RAISE EXCEPTION 'Moving shards to a non-active node is not supported' USING ERRCODE = '0A000', HINT = format('Activate the target node via SELECT citus_activate_node(''%s'', %s);', target_node_name, target_node_port);
    ELSIF NOT t.shouldhaveshards THEN
        RAISE EXCEPTION 'Moving shards to a node that shouldn''t have a shard is not supported' USING ERRCODE = '0A000',
            HINT = format('Allow shards on the target node via SELECT * FROM citus_set_node_property(''%s'', %s, ''shouldhaveshards'', true);', target_node_name, target_node_port);
    END IF;
    SELECT * INTO s FROM pg_dist_node WHERE nodename = source_node_name AND nodeport = source_node_port;
    IF EXISTS (SELECT FROM pg_dist_placement WHERE shardid = shard_id AND groupid = t.groupid) THEN
        RAISE WARNING 'shard is already present on node %:%', target_node_name, target_node_port USING DETAIL = 'Move may have already completed.';
        RETURN;
    ELSIF NOT EXISTS (SELECT FROM pg_dist_placement WHERE shardid = shard_id AND groupid = s.groupid) THEN
        RAISE EXCEPTION 'could not find placement matching "%:%"', source_node_name, source_node_port USING ERRCODE = '22000', HINT = 'Confirm the placement still exists and try again.';
    END IF;
    PERFORM sharding.check_transfer_mode(rel, shard_transfer_mode);
    PERFORM sharding.prepare_moves('citus_move_shard_placement');
    PERFORM sharding.move(shard_id, s, t);
END $$;
CREATE FUNCTION pg_catalog.citus_move_shard_placement(shard_id bigint, source_node_id int, target_node_id int, transfer_mode citus.shard_transfer_mode DEFAULT 'auto') RETURNS void
LANGUAGE sql STRICT SET search_path = pg_catalog AS $$
    SELECT citus_move_shard_placement(shard_id, citus_nodename_for_nodeid(source_node_id), citus_nodeport_for_nodeid(source_node_id),
        citus_nodename_for_nodeid(target_node_id), citus_nodeport_for_nodeid(target_node_id), transfer_mode)
$$;

CREATE FUNCTION sharding.qualified(rel regclass) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel
$$;

-- 'auto' means logical replication, which needs a way to name rows; here every mode blocks writes, but Citus's
-- refusal is kept, so that a call that works here works there.
CREATE FUNCTION sharding.check_transfer_mode(rel oid, mode citus.shard_transfer_mode) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t record;
BEGIN
    IF mode <> 'auto' THEN RETURN; END IF;
    SELECT c.relname INTO t FROM pg_dist_partition p JOIN pg_dist_partition q USING (colocationid) JOIN pg_class c ON c.oid = q.logicalrelid
    WHERE p.logicalrelid = rel AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND (indisprimary OR indisreplident)) ORDER BY c.oid LIMIT 1;
    IF t.relname IS NOT NULL THEN
        RAISE EXCEPTION 'cannot use logical replication to transfer shards of the relation % since it doesn''t have a REPLICA IDENTITY or PRIMARY KEY', t.relname USING ERRCODE = '55000',
            DETAIL = 'UPDATE and DELETE commands on the shard will error out during logical replication unless there is a REPLICA IDENTITY or PRIMARY KEY.',
            HINT = 'If you wish to continue without a replica identity set the shard_transfer_mode to ''force_logical'' or ''block_writes''.';
    END IF;
END $$;

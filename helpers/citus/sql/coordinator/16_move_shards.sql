-- Moving shards: copy the rows to the other node, switch, and drop the old placement later.
--
-- Writes wait while the rows are copied; reads continue. The switch changes the coordinator's
-- catalogs, so it takes effect for every session when the transaction commits. Until then the old
-- placement is used; afterwards, the new one.

SET check_function_bodies = off;  -- functions may call functions of later files

-- Drop the old placements now.
CREATE PROCEDURE pg_catalog.citus_cleanup_orphaned_resources()
LANGUAGE plpgsql AS $$
DECLARE
    dropped int := sharding.drop_old_placements();
BEGIN
    IF dropped > 0 THEN
        RAISE NOTICE 'cleaned up % orphaned resources', dropped;
    END IF;
END $$;

-- ---------------------------------------------------------------- one shard with its peers
-- Do what every move needs first: check the snapshot, block writes, drop old placements.
CREATE FUNCTION sharding.prepare_moves(what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM sharding.require_fresh_snapshot(what);
    PERFORM sharding.lock_all_tables();
    PERFORM sharding.drop_old_placements();
END $$;

-- Create a shard on the target node, copy its rows, and list the old placement for dropping.
CREATE FUNCTION sharding.copy_shard(
    shard pg_dist_shard, source pg_dist_node, target pg_dist_node
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    rel oid := shard.logicalrelid;
    full_name text := sharding.shard_table(rel, shard.shardid);
    first boolean := shard.shardminvalue = '-2147483648';
    named sharding.table_name;
    name name;
BEGIN
    SELECT *
    INTO named
    FROM sharding.table_name
    WHERE relid = rel;
    name := sharding.name_with_shard_id(named.relname, shard.shardid);

    -- An old placement of an earlier move may have the name. If a table that is not in the list has
    -- it, the move fails.
    DELETE FROM pg_dist_cleanup
    WHERE object_name = full_name
      AND node_group_id = target.groupid;
    IF FOUND THEN
        PERFORM sharding.run_on_node(target.nodeid,
            format('DROP TABLE IF EXISTS %s CASCADE', full_name));
    END IF;
    PERFORM sharding.create_types(rel, target.nodeid);
    PERFORM sharding.run_on_node(target.nodeid,
        sharding.create_shard_commands(rel, shard.shardid, first));

    -- a foreign table for the new placement, dropped after the copy
    EXECUTE format('CREATE FOREIGN TABLE sharding.incoming (LIKE %s INCLUDING GENERATED)
                        SERVER %I OPTIONS (schema_name %L, table_name %L)',
        rel::regclass, 'worker_' || target.nodeid, named.schemaname, name);
    EXECUTE format('INSERT INTO sharding.incoming (%s) SELECT %1$s FROM shards.%I',
        sharding.copied_columns(rel), name);
    DROP FOREIGN TABLE sharding.incoming;

    INSERT INTO pg_dist_cleanup (object_name, node_group_id, foreign_table)
    VALUES (full_name, source.groupid, format('shards.%I', name)::regclass);
END $$;

-- Set a shard's foreign table to another server. PostgreSQL has no command for this, and detaching
-- and attaching the partition would require dropping the table's keys; so this changes the catalog
-- rows. Updating the pg_class row makes every session plan again. Reads need not be blocked: the
-- old placement stays until they have finished (see drop_old_placements).
CREATE FUNCTION sharding.repoint_foreign_table(shard_table regclass, server name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET allow_system_table_mods = on AS $$
DECLARE
    new_server oid := (SELECT oid FROM pg_foreign_server WHERE srvname = server);
BEGIN
    UPDATE pg_foreign_table
    SET ftserver = new_server
    WHERE ftrelid = shard_table;
    UPDATE pg_depend
    SET refobjid = new_server
    WHERE classid = 'pg_class'::regclass
      AND objid = shard_table
      AND refclassid = 'pg_foreign_server'::regclass;
    UPDATE pg_class
    SET relname = relname
    WHERE oid = shard_table;
END $$;

-- Move a shard and its colocated shards: copy them, add their foreign keys, then switch.
CREATE FUNCTION sharding.move_shard(shard_id bigint, source pg_dist_node, target pg_dist_node)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    shard pg_dist_shard;
    fk sharding.foreign_key;
    was_internal boolean := sharding.set_internal_ddl(true);
BEGIN
    FOR shard IN
        SELECT *
        FROM sharding.colocated_shards(shard_id)
    LOOP
        PERFORM sharding.copy_shard(shard, source, target);
    END LOOP;
    FOR shard IN
        SELECT *
        FROM sharding.colocated_shards(shard_id)
    LOOP
        FOR fk IN
            SELECT *
            FROM sharding.foreign_key
            WHERE conrelid = shard.logicalrelid
              AND onshards
        LOOP
            PERFORM sharding.run_on_node(
                target.nodeid, sharding.shard_foreign_key_command(fk, shard.shardid));
        END LOOP;
        UPDATE pg_dist_placement
        SET groupid = target.groupid,
            placementid = DEFAULT
        WHERE shardid = shard.shardid
          AND groupid = source.groupid;
        PERFORM sharding.repoint_foreign_table(
            format('shards.%I', sharding.name_with_shard_id(t.relname, shard.shardid))::regclass,
            'worker_' || target.nodeid)
        FROM sharding.table_name t
        WHERE t.relid = shard.logicalrelid;
    END LOOP;
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

-- ---------------------------------------------------------------- the calls
-- Refuse to move shards of a table that is not distributed. STRICT: without a table, do nothing.
CREATE FUNCTION sharding.check_movable(rel regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) IS NULL THEN
        RAISE EXCEPTION
            'table % is a regular postgres table, you can only move shards of a citus table',
            sharding.qualified_name(rel)
            USING ERRCODE = '0A000';
    ELSIF sharding.kind(rel) = 't' THEN
        RAISE EXCEPTION
            'table % is a reference table, moving shard of a reference table is not supported',
            sharding.qualified_name(rel)
            USING ERRCODE = '0A000';
    ELSIF sharding.kind(rel) = 'l' THEN
        RAISE EXCEPTION 'table % is a local table, moving shard of a local table added to '
            'metadata is currently not supported', sharding.qualified_name(rel)
            USING ERRCODE = '0A000';
    END IF;
END $$;

-- Refuse the mode 'auto' for tables without a replica identity. In Citus it means logical
-- replication; here every mode blocks writes, but a call that works here must work there.
CREATE FUNCTION sharding.check_transfer_mode(rel oid, mode citus.shard_transfer_mode) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    keyless name;
BEGIN
    IF mode <> 'auto' THEN
        RETURN;
    END IF;
    SELECT c.relname
    INTO keyless
    FROM pg_dist_partition mine
    JOIN pg_dist_partition peer ON peer.colocationid = mine.colocationid
    JOIN pg_class c ON c.oid = peer.logicalrelid
    WHERE mine.logicalrelid = rel
      AND NOT EXISTS (
          SELECT
          FROM pg_index
          WHERE indrelid = c.oid
            AND (indisprimary OR indisreplident))
    ORDER BY c.oid
    LIMIT 1;
    IF keyless IS NOT NULL THEN
        RAISE EXCEPTION 'cannot use logical replication to transfer shards of the relation % '
            'since it doesn''t have a REPLICA IDENTITY or PRIMARY KEY', keyless
            USING ERRCODE = '55000',
                  DETAIL = 'UPDATE and DELETE commands on the shard will error out during '
                      'logical replication unless there is a REPLICA IDENTITY or PRIMARY KEY.',
                  HINT = 'If you wish to continue without a replica identity set the '
                      'shard_transfer_mode to ''force_logical'' or ''block_writes''.';
    END IF;
END $$;

-- Return the node to which a shard is moved. Raises an error if it cannot have shards.
CREATE FUNCTION sharding.target_node(host text, port int) RETURNS pg_dist_node
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    node pg_dist_node;
BEGIN
    SELECT *
    INTO node
    FROM pg_dist_node
    WHERE nodename = host
      AND nodeport = port;
    IF node.nodeid IS NULL THEN
        RAISE EXCEPTION 'Moving shards to a non-existing node is not supported'
            USING ERRCODE = '0A000',
                  HINT = format('Add the target node via SELECT citus_add_node(''%s'', %s);',
                      host, port);
    ELSIF NOT node.isactive THEN
        RAISE EXCEPTION 'Moving shards to a non-active node is not supported'
            USING ERRCODE = '0A000',
                  HINT = format('Activate the target node via '
                      'SELECT citus_activate_node(''%s'', %s);', host, port);
    ELSIF NOT node.shouldhaveshards THEN
        RAISE EXCEPTION
            'Moving shards to a node that shouldn''t have a shard is not supported'
            USING ERRCODE = '0A000',
                  HINT = format('Allow shards on the target node via '
                      'SELECT * FROM citus_set_node_property(''%s'', %s, '
                      '''shouldhaveshards'', true);', host, port);
    END IF;
    RETURN node;
END $$;

-- Move a shard and its colocated shards from one node to another.
CREATE FUNCTION pg_catalog.citus_move_shard_placement(
    shard_id bigint, source_node_name text, source_node_port int,
    target_node_name text, target_node_port int,
    shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto'
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    source pg_dist_node;
    target pg_dist_node;
    rel regclass := (SELECT logicalrelid FROM pg_dist_shard WHERE shardid = shard_id);
BEGIN
    IF EXISTS (SELECT FROM sharding.missing_copies()) THEN
        RAISE EXCEPTION 'there are missing reference tables on some nodes'
            USING ERRCODE = 'XX000',
                  HINT = 'Copy reference tables first with replicate_reference_tables() or use '
                      'citus_rebalance_start() that will do it automatically.';
    ELSIF rel IS NULL THEN
        RAISE EXCEPTION 'could not find valid entry for shard %', shard_id
            USING ERRCODE = 'XX000';
    END IF;
    PERFORM sharding.check_movable(rel);
    IF (source_node_name, source_node_port) = (target_node_name, target_node_port) THEN
        RAISE EXCEPTION 'cannot move shard to the same node'
            USING ERRCODE = '22023';
    END IF;
    target := sharding.target_node(target_node_name, target_node_port);
    SELECT *
    INTO source
    FROM pg_dist_node
    WHERE nodename = source_node_name
      AND nodeport = source_node_port;
    IF EXISTS (
        SELECT
        FROM pg_dist_placement
        WHERE shardid = shard_id
          AND groupid = target.groupid)
    THEN
        RAISE WARNING 'shard is already present on node %:%', target_node_name, target_node_port
            USING DETAIL = 'Move may have already completed.';
        RETURN;
    ELSIF NOT EXISTS (
        SELECT
        FROM pg_dist_placement
        WHERE shardid = shard_id
          AND groupid = source.groupid)
    THEN
        RAISE EXCEPTION 'could not find placement matching "%:%"',
            source_node_name, source_node_port
            USING ERRCODE = '22000',
                  HINT = 'Confirm the placement still exists and try again.';
    END IF;
    PERFORM sharding.check_transfer_mode(rel, shard_transfer_mode);
    PERFORM sharding.prepare_moves('citus_move_shard_placement');
    PERFORM sharding.move_shard(shard_id, source, target);
END $$;

-- The same, with the nodes given by id.
CREATE FUNCTION pg_catalog.citus_move_shard_placement(
    shard_id bigint, source_node_id int, target_node_id int,
    transfer_mode citus.shard_transfer_mode DEFAULT 'auto'
) RETURNS void
LANGUAGE sql STRICT SET search_path = pg_catalog AS $$
    SELECT citus_move_shard_placement(
        shard_id,
        citus_nodename_for_nodeid(source_node_id), citus_nodeport_for_nodeid(source_node_id),
        citus_nodename_for_nodeid(target_node_id), citus_nodeport_for_nodeid(target_node_id),
        transfer_mode)
$$;

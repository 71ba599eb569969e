-- Placement: which node has which shard, and the commands that create shards and copies there.
--
-- Tables of one colocation group have the same shard ranges on the same nodes; this keeps their
-- joins and foreign keys on one node. The first table of a group is placed on the workers in turn
-- (round robin), later tables follow it.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- colocation groups
-- Return the colocation group for a table with this key type and shard count: the oldest that
-- fits, or a new one. A reference table has no key (type 0) and is replicated to all nodes
-- (factor -1).
CREATE FUNCTION sharding.choose_colocation_group(
    shard_count int, key_type oid, key_collation oid, always_new boolean DEFAULT false
) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id int;
BEGIN
    IF NOT always_new THEN
        SELECT min(colocationid)
        INTO id
        FROM pg_dist_colocation
        WHERE shardcount = shard_count
          AND distributioncolumntype = key_type
          AND distributioncolumncollation = key_collation;
    END IF;
    IF id IS NULL THEN
        INSERT INTO pg_dist_colocation
        VALUES (nextval('pg_dist_colocationid_seq'), shard_count,
            CASE WHEN key_type = 0 THEN -1 ELSE 1 END, key_type, key_collation)
        RETURNING colocationid INTO id;
    END IF;
    RETURN id;
END $$;

-- Return the group of the table "other". Raises an error if a table with this key cannot join it.
CREATE FUNCTION sharding.check_colocation(
    rel oid, key_type oid, key_collation oid, other regclass
) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    their_group pg_dist_colocation;
    mine name := sharding.bare_name(rel);
    theirs name := sharding.bare_name(other);
BEGIN
    SELECT c.*
    INTO their_group
    FROM pg_dist_partition p
    JOIN pg_dist_colocation c USING (colocationid)
    WHERE p.logicalrelid = other;
    IF their_group.colocationid IS NULL THEN
        RAISE EXCEPTION 'relation % is not distributed', theirs
            USING ERRCODE = 'XX000';
    ELSIF their_group.distributioncolumntype <> key_type THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', theirs, mine
            USING ERRCODE = 'XX000',
                  DETAIL = format('Distribution column types don''t match for %s and %s.',
                      theirs, mine);
    ELSIF their_group.distributioncolumncollation <> key_collation THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', theirs, mine
            USING ERRCODE = 'XX000',
                  DETAIL = format('Distribution column collations don''t match for %s and %s.',
                      theirs, mine);
    END IF;
    RETURN their_group.colocationid;
END $$;

-- Insert a table's shards and their placements into the metadata. Shard ids are never reused: if
-- a shard that a crash left on a worker has the name of a new one, the call fails, and the next
-- call uses other ids.
CREATE FUNCTION sharding.place_shards(rel oid, shard_count int, colocation int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    lowest bigint := -2147483648;
    increment bigint := 4294967296 / shard_count;
    id bigint;
    peer oid := (
        SELECT logicalrelid
        FROM pg_dist_partition
        WHERE colocationid = colocation
          AND logicalrelid <> rel
          AND partmethod = 'h'
        ORDER BY logicalrelid
        LIMIT 1);
    peer_places int[] := ARRAY(
        SELECT groupid
        FROM pg_dist_shard
        JOIN pg_dist_placement USING (shardid)
        WHERE logicalrelid = peer
        ORDER BY shardminvalue::int);
    workers int[] := ARRAY(
        SELECT groupid
        FROM sharding.workers()
        WHERE shouldhaveshards);
BEGIN
    FOR i IN 0 .. shard_count - 1 LOOP
        id := nextval('pg_dist_shardid_seq');
        -- the last range also covers the remainder of the division
        INSERT INTO pg_dist_shard
        VALUES (rel, id, 't', lowest + i * increment,
            CASE WHEN i = shard_count - 1
                 THEN 2147483647
                 ELSE lowest + (i + 1) * increment - 1 END);
        INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
        VALUES (id, 1, 0,
            CASE WHEN peer IS NULL
                 THEN workers[1 + i % cardinality(workers)]
                 ELSE peer_places[1 + i] END);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- commands to a worker
-- postgres_fdw sends only SELECT, INSERT, UPDATE, DELETE and TRUNCATE. So each worker has a view
-- whose INSERT trigger executes the inserted text (sql/worker/01_worker.sql). The command runs in
-- the remote part of this transaction, and commits or rolls back with it. When the local
-- transaction commits, the workers commit one after the other; this is not two-phase commit.
--
-- Create the foreign server, the user mapping and the command table of a worker. All roles read and
-- write shards as the present user; what they may do is checked on the coordinator's tables. No
-- password is stored: the coordinator's server process reads it from its PGPASSFILE.
CREATE FUNCTION sharding.connect_node(node_id int, host text, port int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    server name := 'worker_' || node_id;
BEGIN
    -- fdw_tuple_cost is far above its default: the planner then considers it expensive to
    -- transfer rows, and runs joins and aggregates on the worker.
    EXECUTE format(
        'CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (
             host %L, port %L, dbname %L, connect_timeout ''5'',
             fetch_size ''20000'', batch_size ''500'',
             async_capable ''true'', parallel_commit ''true'', parallel_abort ''true'',
             fdw_startup_cost ''100'', fdw_tuple_cost ''100'')',
        server, host, port, current_database());
    EXECUTE format(
        'CREATE USER MAPPING FOR PUBLIC SERVER %I OPTIONS (user %L, password_required ''false'')',
        server, current_user);
    EXECUTE format(
        'CREATE FOREIGN TABLE sharding.%I (command text, has_result boolean, result text) SERVER %I
             OPTIONS (schema_name ''sharding'', table_name ''command'', async_capable ''false'')',
        'node_' || node_id, server);
END $$;

-- Drop a worker's foreign server, with every foreign table on it.
CREATE FUNCTION sharding.disconnect_node(node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('DROP SERVER %I CASCADE', 'worker_' || node_id);
END $$;

-- Run a command on a worker.
CREATE FUNCTION sharding.run_on_node(nodeid int, command text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF command <> '' THEN
        EXECUTE format('INSERT INTO sharding.%I (command, has_result) VALUES ($1, false)',
            'node_' || nodeid)
            USING command;
    END IF;
EXCEPTION WHEN undefined_function OR undefined_object THEN
    RAISE EXCEPTION '%', SQLERRM
        USING ERRCODE = SQLSTATE,
              DETAIL = 'The workers of the teaching cluster get the types of columns, but no '
                  'functions, operators or collations; in genuine Citus, they get these too.';
END $$;

-- Run a query on a worker and return the one value that it returns.
CREATE FUNCTION sharding.query_node(nodeid int, query text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format(
        'INSERT INTO sharding.%I (command, has_result) VALUES ($1, true) RETURNING result',
        'node_' || nodeid)
        INTO answer
        USING query;
    RETURN answer;
END $$;

-- ---------------------------------------------------------------- creating shards
-- Create a table's shards on the workers, with one command for each worker.
CREATE FUNCTION sharding.create_shards(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    node record;
BEGIN
    FOR node IN
        SELECT s.nodeid,
            string_agg(
                sharding.create_shard_commands(rel, s.shardid, s.first), '; ' ORDER BY s.shardid
            ) AS commands
        FROM sharding.worker_shards(rel) s
        GROUP BY s.nodeid
    LOOP
        PERFORM sharding.create_types(rel, node.nodeid);
        PERFORM sharding.run_on_node(node.nodeid, node.commands);
    END LOOP;
END $$;

-- Create a foreign table for each shard, as partition i of the table.
CREATE FUNCTION sharding.attach_shards(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    named sharding.table_name;
    shard record;
    shard_count int := (SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = rel);
    key name := (
        SELECT attname
        FROM pg_attribute
        WHERE attrelid = rel
          AND attnum = sharding.key_column(rel));
BEGIN
    SELECT *
    INTO named
    FROM sharding.table_name
    WHERE relid = rel;
    FOR shard IN
        SELECT sharding.name_with_shard_id(named.relname, s.shardid) AS name, d.nodeid,
            row_number() OVER (ORDER BY s.shardminvalue::int) - 1 AS i
        FROM pg_dist_shard s
        JOIN pg_dist_placement USING (shardid)
        JOIN pg_dist_node d USING (groupid)
        WHERE s.logicalrelid = rel
    LOOP
        EXECUTE format(
            'CREATE FOREIGN TABLE shards.%I PARTITION OF %s
                 FOR VALUES WITH (MODULUS %s, REMAINDER %s)
                 SERVER %I OPTIONS (schema_name %L, table_name %L)',
            shard.name, rel::regclass, shard_count, shard.i,
            'worker_' || shard.nodeid, named.schemaname, shard.name);
        PERFORM sharding.assume_statistics('shards', shard.name, key, false);
    END LOOP;
    PERFORM sharding.assume_statistics(named.schemaname, named.relname, key, true);
END $$;

-- Give the planner statistics for a shard. Foreign tables are not analyzed automatically, and with
-- the defaults the planner keeps joins on the coordinator. With 1000 rows and mostly different
-- keys, postgres_fdw does not overestimate the join, and transferring rows counts as expensive.
-- ANALYZE replaces these statistics.
CREATE FUNCTION sharding.assume_statistics(
    schemaname name, relname name, key name, inherited boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_restore_relation_stats(
        'schemaname', schemaname::text, 'relname', relname::text,
        'relpages', 10, 'reltuples', 1000::real);
    PERFORM pg_restore_attribute_stats(
        'schemaname', schemaname::text, 'relname', relname::text,
        'attname', key::text, 'inherited', inherited,
        'null_frac', 0::real, 'avg_width', 8, 'n_distinct', -0.75::real);
END $$;

-- ---------------------------------------------------------------- copies of reference tables
-- Create the coordinator's foreign table for a reference table's copy on a worker.
CREATE FUNCTION sharding.attach_copy(rel oid, shard_id bigint, node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    named sharding.table_name;
    copy_name text := sharding.copy_name(shard_id, node_id);
BEGIN
    SELECT *
    INTO named
    FROM sharding.table_name
    WHERE relid = rel;
    EXECUTE format('DROP FOREIGN TABLE IF EXISTS %s', copy_name);
    EXECUTE format('CREATE FOREIGN TABLE %s (LIKE %s INCLUDING GENERATED) SERVER %I
                        OPTIONS (schema_name %L, table_name %L)',
        copy_name, rel::regclass, 'worker_' || node_id,
        named.schemaname, sharding.name_with_shard_id(named.relname, shard_id));
END $$;

-- Create a reference table's copy on a worker, with its rows.
CREATE FUNCTION sharding.add_copy(rel oid, node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint := (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = rel);
BEGIN
    PERFORM sharding.create_types(rel, node_id);
    PERFORM sharding.run_on_node(node_id, sharding.create_shard_commands(rel, id, false));
    -- writes wait until the copy is registered
    EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE', rel::regclass);
    PERFORM sharding.attach_copy(rel, id, node_id);
    EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s',
        sharding.copy_name(id, node_id), sharding.copied_columns(rel), rel::regclass);
    INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
    SELECT id, 1, 0, groupid
    FROM pg_dist_node
    WHERE nodeid = node_id;
END $$;

-- Return the copies that are missing: a new worker has none at first.
CREATE FUNCTION sharding.missing_copies() RETURNS TABLE (rel oid, shardid bigint, nodeid int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT p.logicalrelid::oid, s.shardid, w.nodeid
    FROM pg_dist_partition p
    JOIN pg_dist_shard s ON s.logicalrelid = p.logicalrelid
    CROSS JOIN sharding.workers() w
    WHERE p.repmodel = 't'
      AND NOT EXISTS (
          SELECT
          FROM pg_dist_placement there
          WHERE there.shardid = s.shardid
            AND there.groupid = w.groupid)
$$;

-- Create the missing copies. Citus also does this when a table is distributed or shards are moved,
-- not when a node is added.
CREATE FUNCTION sharding.ensure_reference_copies() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT *
        FROM sharding.missing_copies()
        ORDER BY shardid, nodeid
    LOOP
        PERFORM sharding.add_copy(missing.rel, missing.nodeid);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- old placements
-- Drop the placements that committed moves left behind, and return how many (Citus defers this
-- too). A session that planned its query before the move may still read an old placement; it holds
-- a lock on the shard's foreign table. Wait up to a second for such sessions; if they have not
-- finished, drop nothing.
CREATE FUNCTION sharding.drop_old_placements() RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    leftover record;
    dropped int := 0;
    finished boolean := false;
    readers text[] := ARRAY(
        SELECT DISTINCT virtualtransaction
        FROM pg_locks
        WHERE pid <> pg_backend_pid()
          AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND relation IN (SELECT foreign_table FROM pg_dist_cleanup));
BEGIN
    FOR attempt IN 1 .. 50 LOOP
        finished := NOT EXISTS (
            SELECT
            FROM pg_locks
            WHERE virtualtransaction = ANY (readers));
        EXIT WHEN finished;
        PERFORM pg_sleep(0.02);
    END LOOP;
    IF NOT finished THEN
        RETURN 0;
    END IF;
    FOR leftover IN
        SELECT c.record_id, c.object_name, d.nodeid
        FROM pg_dist_cleanup c
        JOIN pg_dist_node d ON d.groupid = c.node_group_id
        ORDER BY c.record_id
        FOR UPDATE OF c SKIP LOCKED
    LOOP
        BEGIN
            PERFORM sharding.run_on_node(leftover.nodeid,
                format('DROP TABLE IF EXISTS %s CASCADE', leftover.object_name));
            DELETE FROM pg_dist_cleanup
            WHERE record_id = leftover.record_id;
            dropped := dropped + 1;
        EXCEPTION WHEN connection_exception OR connection_failure
                OR sqlclient_unable_to_establish_sqlconnection THEN
            NULL;  -- an unavailable node is cleaned up by a later call
        END;
    END LOOP;
    RETURN dropped;
END $$;

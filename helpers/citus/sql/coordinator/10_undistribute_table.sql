-- undistribute_table: turn a distributed or reference table into a plain one, with all its rows.
--
-- Rows are read from the shards, then the shards are dropped. So all writes must wait meanwhile, or
-- rows would be lost; most of this file ensures that.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- blocking writes
-- Refuse a transaction that has already used a worker. postgres_fdw keeps the first snapshot of a
-- remote transaction; later rows would not be visible, and so would be lost. Once this transaction
-- blocks all writes its snapshot stays valid, so a second call in it is allowed.
CREATE FUNCTION sharding.require_fresh_snapshot(what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('sharding.writes_blocked', true) = pg_current_xact_id()::text THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM sharding.postgres_fdw_get_connections() WHERE used_in_xact) THEN
        RAISE EXCEPTION '% cannot run in a transaction that has already used the workers', what
            USING ERRCODE = '25001',
                  HINT = 'Run it in a separate transaction.';
    END IF;
    PERFORM set_config('sharding.writes_blocked', pg_current_xact_id()::text, true);
END $$;

-- Block writes, not reads, of every table that has shards. Waiting for one table while holding
-- another could deadlock with a session that locks them in the other order. So this waits for the
-- first table only and locks the others with NOWAIT; if one is not available, it releases all and
-- waits for that one first.
CREATE FUNCTION sharding.lock_all_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    rel regclass;
    waited_for regclass;
BEGIN
    FOR attempt IN 1 .. 1000 LOOP
        BEGIN
            FOR rel IN
                SELECT logicalrelid
                FROM pg_dist_partition
                ORDER BY logicalrelid IS DISTINCT FROM waited_for, logicalrelid
            LOOP
                EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE %s',
                    rel, CASE WHEN rel IS DISTINCT FROM waited_for THEN 'NOWAIT' END);
            END LOOP;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF rel IS NOT DISTINCT FROM waited_for THEN
                RAISE;  -- lock_timeout has expired
            END IF;
            waited_for := rel;
        END;
    END LOOP;
    RAISE EXCEPTION 'could not lock table % against writes', waited_for
        USING ERRCODE = '55P03';
END $$;

-- ---------------------------------------------------------------- one table
-- Drop a table's shards on the workers, then delete its metadata. CASCADE reaches only foreign keys
-- of other shards, which the callers remove from sharding.foreign_key too. IF EXISTS, because the
-- workers commit before the coordinator: if it crashed in between, the metadata name shards that
-- are gone, and the table can still be dropped.
CREATE FUNCTION sharding.drop_shards(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    node record;
    leftover record;
BEGIN
    FOR node IN
        SELECT s.nodeid,
            string_agg(format('DROP TABLE IF EXISTS %s CASCADE', s.shard),
                '; ' ORDER BY s.shardid) AS commands
        FROM sharding.worker_shards(rel) s
        GROUP BY s.nodeid
    LOOP
        PERFORM sharding.run_on_node(node.nodeid, node.commands);
    END LOOP;
    -- old placements left by earlier moves of its shards
    FOR leftover IN
        DELETE FROM pg_dist_cleanup c
        USING pg_dist_shard s, pg_dist_node d
        WHERE s.logicalrelid = rel
          AND c.object_name = sharding.shard_table(rel, s.shardid)
          AND d.groupid = c.node_group_id
        RETURNING d.nodeid, c.object_name
    LOOP
        PERFORM sharding.run_on_node(leftover.nodeid,
            format('DROP TABLE IF EXISTS %s CASCADE', leftover.object_name));
    END LOOP;
    PERFORM sharding.remove_metadata(rel);
END $$;

-- Turn a distributed or reference table into a plain one and return the new table's OID. Its
-- foreign keys stay in sharding.foreign_key.
CREATE FUNCTION sharding.make_plain(old oid) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    saved jsonb;
    name text;
    new oid;
    object sharding.shard_object;
    fk sharding.foreign_key;
    key_without_default name;
    was_internal boolean := sharding.set_internal_ddl(true);
BEGIN
    -- drop the default that refuses a missing key
    SELECT attname
    INTO key_without_default
    FROM pg_attribute
    JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = old
      AND attnum = sharding.key_column(old)
      AND sharding.kind(old) = 'h'
      AND pg_get_expr(adbin, adrelid) LIKE '%sharding.no_key()%';
    IF key_without_default IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT',
            old::regclass, key_without_default);
    END IF;
    PERFORM sharding.collect_foreign_keys(old);
    FOR fk IN
        SELECT *
        FROM sharding.foreign_key
        WHERE old IN (conrelid, confrelid)
          AND onshards
    LOOP
        PERFORM sharding.foreign_key_on_shards(fk, false);
    END LOOP;

    EXECUTE format('DROP STATISTICS sharding.%I', 'check_query_' || old);
    saved := sharding.set_aside(old);
    name := format('%I.%I', saved->>'schema', saved->>'name');
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)',
        name, old::regclass);
    new := name::regclass;
    PERFORM sharding.copy_rows(old, new);
    FOR object IN
        SELECT *
        FROM sharding.shard_object o
        WHERE relid = old
          AND kind IN ('k', 'K', 'i', 'I')
          AND definition NOT LIKE 'CHECK%'
          -- see sharding.declare_unique
          AND NOT (kind = 'i' AND EXISTS (
              SELECT
              FROM sharding.shard_object copied
              WHERE copied.relid = old
                AND copied.kind IN ('K', 'I')
                AND copied.name = o.name))
        ORDER BY kind DESC, objid
    LOOP
        EXECUTE sharding.key_command(object, object.name::name, name, false);
    END LOOP;
    PERFORM sharding.drop_shards(old);
    PERFORM sharding.replace_table(saved, old, new);
    PERFORM sharding.set_internal_ddl(was_internal);
    RETURN new;
END $$;

-- ---------------------------------------------------------------- the call
-- Return all foreign keys, declared in the catalogs or stored in sharding.foreign_key.
CREATE FUNCTION sharding.all_foreign_keys() RETURNS TABLE (conrelid oid, confrelid oid)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT conrelid, confrelid
    FROM sharding.foreign_key
    UNION ALL
    SELECT conrelid, confrelid
    FROM pg_constraint
    WHERE contype = 'f'
      AND conparentid = 0
$$;

-- Undistribute a table. If foreign keys connect it to others, all of them are undistributed, or the
-- call is refused.
CREATE FUNCTION pg_catalog.undistribute_table(
    table_name regclass, cascade_via_foreign_keys boolean DEFAULT false
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $body$
DECLARE
    rel oid;
    tables oid[] := ARRAY[table_name::oid];
    plain_tables oid[] := '{}';
    tie text;
BEGIN
    IF coalesce(sharding.kind(table_name), 'l') = 'l' THEN
        RAISE EXCEPTION 'cannot undistribute table because the table is not distributed'
            USING ERRCODE = 'XX000';
    END IF;
    PERFORM sharding.require_owner(table_name);
    PERFORM sharding.require_fresh_snapshot('undistribute_table');
    PERFORM sharding.lock_all_tables();

    IF cascade_via_foreign_keys THEN
        -- all tables that foreign keys connect to this one, directly or indirectly
        WITH RECURSIVE tied AS (
            SELECT table_name::oid AS rel
            UNION
            SELECT CASE WHEN fk.conrelid = tied.rel THEN fk.confrelid ELSE fk.conrelid END
            FROM tied
            JOIN sharding.all_foreign_keys() fk ON tied.rel IN (fk.conrelid, fk.confrelid)
        )
        SELECT array_agg(tied.rel ORDER BY tied.rel)
        INTO tables
        FROM tied
        WHERE sharding.kind(tied.rel) IN ('h', 't');
    ELSE
        SELECT CASE
            WHEN bool_or(fk.confrelid = table_name AND fk.conrelid <> table_name)
            THEN 'is referenced by a foreign key'
            WHEN bool_or(fk.conrelid = table_name)
            THEN 'has a foreign key' END
        INTO tie
        FROM sharding.all_foreign_keys() fk;
        IF tie IS NOT NULL THEN
            RAISE EXCEPTION 'cannot complete operation because table % %',
                sharding.bare_name(table_name), tie
                USING ERRCODE = 'XX000',
                      HINT = format('Use cascade option to undistribute all the relations '
                          'involved in a foreign key relationship with %s by executing SELECT '
                          'undistribute_table($$%1$s$$, cascade_via_foreign_keys=>true)',
                          table_name);
        END IF;
    END IF;

    FOREACH rel IN ARRAY tables LOOP
        plain_tables := plain_tables || sharding.make_plain(rel);
    END LOOP;
    FOREACH rel IN ARRAY plain_tables LOOP
        PERFORM sharding.restore_foreign_keys(rel);
    END LOOP;
END $body$;

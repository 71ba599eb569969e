-- undistribute_table: back to a plain table, with all its rows.
--
-- The rebuild of 12 and 13, the other way round. What is new here is the care about writers: rows
-- are read from the shards and the shards are dropped, so nothing may be written in between.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- keeping writers away
-- Refuse a transaction that has already talked to the workers. postgres_fdw keeps a remote
-- transaction's first snapshot; rows that came later would not be seen, and so be lost. Once this
-- transaction keeps every writer away its picture stays true: then a second call passes.
CREATE FUNCTION sharding.need_fresh_snapshot(what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('sharding.writes_blocked', true) = pg_current_xact_id()::text THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM sharding.postgres_fdw_get_connections() WHERE used_in_xact) THEN
        RAISE EXCEPTION '% cannot run in a transaction that has already talked to the workers', what
            USING ERRCODE = '25001',
                  HINT = 'Run it as a statement, or a transaction, of its own.';
    END IF;
    PERFORM set_config('sharding.writes_blocked', pg_current_xact_id()::text, true);
END $$;

-- Keep writers, not readers, off every table that has shards. To wait for one table while holding
-- another would deadlock with a writer that goes the other way round. So it waits only for the
-- first table; the others are wanted at once, and where one is not to be had, all are let go, and
-- the next round waits for that one.
CREATE FUNCTION sharding.lock_all() RETURNS void
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
                RAISE;                      -- waited for as long as lock_timeout allows
            END IF;
            waited_for := rel;
        END;
    END LOOP;
    RAISE EXCEPTION 'could not keep writers away from table %', waited_for
        USING ERRCODE = '55P03';
END $$;

-- ---------------------------------------------------------------- one table
-- Remove every trace of a table's shards: on the workers, then in the metadata. CASCADE reaches
-- only foreign keys of other shards, which the callers take from the record, too. IF EXISTS, since
-- the workers commit before the coordinator: where it crashed in between, the metadata name shards
-- that are gone, and the table can still be dropped.
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
        PERFORM sharding.node_run(node.nodeid, node.commands);
    END LOOP;
    -- what earlier moves of its shards left behind
    FOR leftover IN
        DELETE FROM pg_dist_cleanup c
        USING pg_dist_shard s, pg_dist_node d
        WHERE s.logicalrelid = rel
          AND c.object_name = sharding.shard(rel, s.shardid)
          AND d.groupid = c.node_group_id
        RETURNING d.nodeid, c.object_name
    LOOP
        PERFORM sharding.node_run(leftover.nodeid,
            format('DROP TABLE IF EXISTS %s CASCADE', leftover.object_name));
    END LOOP;
    PERFORM sharding.forget(rel);
END $$;

-- Turn a distributed or reference table into a plain one. Foreign keys stay on record. Returns
-- the new table.
CREATE FUNCTION sharding.to_plain(old oid) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    kept jsonb;
    name text;
    new oid;
    object sharding.shard_object;
    fk sharding.foreign_key;
    key_without_default name;
    was_busy boolean := sharding.busy(true);
BEGIN
    -- our own default of the key does not go along
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

    kept := sharding.set_aside(old);
    name := format('%I.%I', kept->>'schema', kept->>'name');
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)',
        name, old::regclass);
    new := name::regclass;
    PERFORM sharding.copy_rows(old, new);
    FOR object IN
        SELECT *
        FROM sharding.shard_object
        WHERE relid = old
          AND kind IN ('k', 'K', 'i', 'I')
          AND definition NOT LIKE 'CHECK%'
        ORDER BY kind DESC, objid
    LOOP
        EXECUTE sharding.add_key(object, object.name::name, name, false);
    END LOOP;
    PERFORM sharding.drop_shards(old);
    PERFORM sharding.to_successor(kept, old, new);
    PERFORM sharding.busy(was_busy);
    RETURN new;
END $$;

-- ---------------------------------------------------------------- what a student calls
-- All foreign keys, wherever they are kept.
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

-- A table whose foreign keys tie it to others goes plain with all of them, or not at all.
CREATE FUNCTION pg_catalog.undistribute_table(
    table_name regclass, cascade_via_foreign_keys boolean DEFAULT false
) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $body$
DECLARE
    rel oid;
    family oid[] := ARRAY[table_name::oid];
    made oid[] := '{}';
    tie text;
BEGIN
    IF coalesce(sharding.kind(table_name), 'l') = 'l' THEN
        RAISE EXCEPTION 'cannot undistribute table because the table is not distributed'
            USING ERRCODE = 'XX000';
    END IF;
    PERFORM sharding.need_fresh_snapshot('undistribute_table');
    PERFORM sharding.lock_all();

    IF cascade_via_foreign_keys THEN
        -- everything that is tied to the table by foreign keys, directly or not
        WITH RECURSIVE tied AS (
            SELECT table_name::oid AS rel
            UNION
            SELECT CASE WHEN fk.conrelid = tied.rel THEN fk.confrelid ELSE fk.conrelid END
            FROM tied
            JOIN sharding.all_foreign_keys() fk ON tied.rel IN (fk.conrelid, fk.confrelid)
        )
        SELECT array_agg(tied.rel ORDER BY tied.rel)
        INTO family
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

    FOREACH rel IN ARRAY family LOOP
        made := made || sharding.to_plain(rel);
    END LOOP;
    FOREACH rel IN ARRAY made LOOP
        PERFORM sharding.restore_foreign_keys(rel);
    END LOOP;
END $body$;

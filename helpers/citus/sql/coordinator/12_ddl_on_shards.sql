-- DDL: what is done to the table is done to its shards, in the same transaction.
--
-- After a command the catalogs are compared with the record of the shards' shape, and the
-- difference is sent: objects that are gone, new, or different under the same identity. So every
-- way to write ALTER TABLE is covered by a few kinds of difference.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- one difference, one shard
-- The command for an object that is new. Each of these three returns '' where nothing is to be
-- done.
CREATE FUNCTION sharding.added_object_command(
    rel oid, is_now sharding.shard_object, shard text, shardid bigint
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    column_default text;
    command text;
BEGIN
    is_now.suffixed := is_now.kind IN ('k', 'i');
    command := sharding.object_command(is_now, shard, shardid);
    IF is_now.kind <> 'c' THEN
        RETURN command;
    END IF;
    SELECT pg_get_expr(adbin, adrelid)
    INTO column_default
    FROM pg_attrdef
    JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE adrelid = rel
      AND adnum = is_now.objid
      AND attgenerated = '';
    IF column_default IS NULL THEN
        RETURN command;
    ELSIF column_default LIKE 'nextval(%' THEN
        RAISE EXCEPTION 'cannot execute ADD COLUMN commands involving serial pseudotypes when '
            'metadata is synchronized to workers'
            USING ERRCODE = '0A000';
    END IF;
    -- Rows that are there get the default; later ones bring their own value with them.
    RETURN command || format(' DEFAULT %s; ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT',
        column_default, shard, is_now.name);
END $$;

-- The command for an object that is gone. With a dropped column its indexes, constraints and NOT
-- NULL may have gone already: hence IF EXISTS.
CREATE FUNCTION sharding.removed_object_command(
    rel oid, was sharding.shard_object, shard text, shardid bigint
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    shard_schema name := (SELECT schemaname FROM sharding.table_name WHERE relid = rel);
    column_now name := (
        SELECT attname
        FROM pg_attribute
        WHERE attrelid = rel
          AND attnum = was.objid
          AND NOT attisdropped);
BEGIN
    CASE was.kind
        WHEN 'c' THEN
            RETURN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', shard, was.name);
        WHEN 'n' THEN
            IF column_now IS NULL THEN
                RETURN '';
            END IF;
            RETURN format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', shard, column_now);
        WHEN 'k' THEN
            RETURN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I',
                shard, sharding.name_on_shard(was, shardid));
        ELSE
            RETURN format('DROP INDEX IF EXISTS %I.%I',
                shard_schema, sharding.name_on_shard(was, shardid));
    END CASE;
END $$;

-- The command for an object that is different now.
CREATE FUNCTION sharding.changed_object_command(
    rel oid, was sharding.shard_object, is_now sharding.shard_object, shard text, shardid bigint
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    shard_schema name := (SELECT schemaname FROM sharding.table_name WHERE relid = rel);
    old_name name := sharding.name_on_shard(was, shardid);
    new_name name;
BEGIN
    is_now.suffixed := was.suffixed;
    new_name := sharding.name_on_shard(is_now, shardid);
    IF is_now.kind = 'n' THEN
        RETURN '';
    ELSIF is_now.kind = 'c' THEN
        RETURN concat_ws('; ',
            CASE WHEN was.name <> is_now.name
                 THEN format('ALTER TABLE %s RENAME COLUMN %I TO %I',
                     shard, was.name, is_now.name) END,
            CASE WHEN was.definition <> is_now.definition
                 THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE %s',
                     shard, is_now.name, is_now.definition) END);
    ELSIF is_now.kind = 'k' AND was.definition = is_now.definition || ' NOT VALID' THEN
        RETURN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', shard, old_name);
    ELSIF was.definition <> is_now.definition THEN
        -- A column or function in it has another name. The shard's definition followed already.
        RETURN '';
    ELSIF is_now.kind = 'i' THEN
        RETURN format('ALTER INDEX %I.%I RENAME TO %I', shard_schema, old_name, new_name);
    ELSIF sharding.kind(rel) = 'h' THEN
        RAISE EXCEPTION 'renaming constraints belonging to distributed tables is currently '
            'unsupported'
            USING ERRCODE = '0A000';
    END IF;
    RETURN format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', shard, old_name, new_name);
END $$;

-- ---------------------------------------------------------------- all differences, all shards
-- The shards follow the table's name and schema; so do the foreign tables that point to them.
CREATE FUNCTION sharding.rename_shards(rel oid, new_schema name, new_name name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    named sharding.table_name;
    placement record;
    was_internal boolean := sharding.set_internal_ddl(true);
BEGIN
    SELECT *
    INTO named
    FROM sharding.table_name
    WHERE relid = rel;
    FOR placement IN
        SELECT s.shardid, d.nodeid, d.groupid,
            sharding.kind(rel) = 't' AND d.groupid <> 0 AS is_copy,
            sharding.name_with_shard_id(named.relname, s.shardid) AS old_shard,
            sharding.name_with_shard_id(new_name, s.shardid) AS new_shard
        FROM pg_dist_shard s
        JOIN pg_dist_placement USING (shardid)
        JOIN pg_dist_node d USING (groupid)
        WHERE s.logicalrelid = rel
        ORDER BY s.shardid
    LOOP
        -- the shard itself
        IF placement.groupid <> 0 AND placement.old_shard <> placement.new_shard THEN
            PERFORM sharding.run_on_node(placement.nodeid, format('ALTER TABLE %I.%I RENAME TO %I',
                named.schemaname, placement.old_shard, placement.new_shard));
        END IF;
        IF placement.groupid <> 0 AND named.schemaname <> new_schema THEN
            PERFORM sharding.run_on_node(placement.nodeid, format(
                'CREATE SCHEMA IF NOT EXISTS %I; ALTER TABLE %I.%I SET SCHEMA %1$I',
                new_schema, named.schemaname, placement.new_shard));
        END IF;
        -- the table of its name on the coordinator; the one for a copy is named by number
        IF NOT placement.is_copy AND placement.old_shard <> placement.new_shard THEN
            EXECUTE format('ALTER TABLE shards.%I RENAME TO %I',
                placement.old_shard, placement.new_shard);
        END IF;
        IF placement.groupid <> 0 THEN
            EXECUTE format(
                'ALTER FOREIGN TABLE %s OPTIONS (SET schema_name %L, SET table_name %L)',
                CASE WHEN placement.is_copy
                     THEN sharding.copy_name(placement.shardid, placement.nodeid)
                     ELSE format('shards.%I', placement.new_shard) END,
                new_schema, placement.new_shard);
        END IF;
    END LOOP;
    UPDATE sharding.table_name
    SET schemaname = new_schema,
        relname = new_name
    WHERE relid = rel;
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

-- Bring one table's shards, and the record of their shape, to what the catalogs say now.
CREATE FUNCTION sharding.sync_table(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    difference record;
    was sharding.shard_object;
    is_now sharding.shard_object;
    target record;
    changed boolean := false;
BEGIN
    -- Constraints and indexes go before their columns, and come after them.
    FOR difference IN
        SELECT o AS was, w AS is_now, coalesce(o.kind, w.kind) AS kind,
            coalesce(w.objid, o.objid) AS objid
        FROM (
            SELECT *
            FROM sharding.shard_object
            WHERE relid = rel
              AND kind IN ('c', 'n', 'k', 'i')
        ) o
        FULL JOIN sharding.expected_objects(rel) w ON w.kind = o.kind AND w.objid = o.objid
        WHERE (o.name, o.definition) IS DISTINCT FROM (w.name, w.definition)
        ORDER BY w.objid IS NOT NULL,
            CASE WHEN w.objid IS NULL
                 THEN position(o.kind::text IN 'ikcn')
                 ELSE position(w.kind::text IN 'cnki') END,
            coalesce(w.objid, o.objid)
    LOOP
        changed := true;
        was := difference.was;
        is_now := difference.is_now;
        FOR target IN
            SELECT *
            FROM sharding.worker_shards(rel)
        LOOP
            PERFORM sharding.run_on_node(target.nodeid,
                CASE WHEN was.objid IS NULL
                     THEN sharding.added_object_command(rel, is_now, target.shard, target.shardid)
                     WHEN is_now.objid IS NULL
                     THEN sharding.removed_object_command(rel, was, target.shard, target.shardid)
                     ELSE sharding.changed_object_command(
                         rel, was, is_now, target.shard, target.shardid) END);
        END LOOP;
        DELETE FROM sharding.shard_object
        WHERE relid = rel
          AND kind = difference.kind
          AND objid = difference.objid;
        IF is_now.objid IS NOT NULL THEN
            -- a CHECK that comes later carries the shard id, as with Citus
            INSERT INTO sharding.shard_object
            VALUES (rel, is_now.kind, is_now.objid, is_now.name, is_now.definition,
                coalesce(was.suffixed, is_now.kind IN ('k', 'i')));
        END IF;
    END LOOP;

    -- of a reference table, the local copy and the foreign tables for the others follow
    IF changed AND sharding.kind(rel) = 't' THEN
        PERFORM sharding.name_leaf_indexes(rel);
        PERFORM sharding.attach_copy(rel, s.shardid, s.nodeid)
        FROM sharding.worker_shards(rel) s;
    END IF;
END $$;

-- All tables that have shards. Which one the command changed is not asked: one command can reach
-- many (ALTER SCHEMA … RENAME), and to compare is cheap.
CREATE FUNCTION sharding.sync_shards() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    present record;
BEGIN
    FOR present IN
        SELECT c.oid AS rel, n.nspname AS schemaname, c.relname,
            (t.schemaname, t.relname) <> (n.nspname, c.relname) AS renamed
        FROM pg_dist_partition p
        JOIN sharding.table_name t ON t.relid = p.logicalrelid
        JOIN pg_class c ON c.oid = p.logicalrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    LOOP
        IF present.renamed THEN
            PERFORM sharding.rename_shards(present.rel, present.schemaname, present.relname);
        END IF;
        PERFORM sharding.sync_table(present.rel);
    END LOOP;
END $$;

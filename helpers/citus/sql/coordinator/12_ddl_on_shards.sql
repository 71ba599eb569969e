-- DDL on shards: what a command changes in a table is changed in its shards, in the same
-- transaction.
--
-- After a command the catalogs are compared with sharding.shard_object, and the shards get commands
-- for the objects that were added, removed or changed. So a few kinds of difference cover all forms
-- of ALTER TABLE.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- one difference, one shard
-- Return the command for an added object. This function and the next two return '' if nothing is to
-- be done.
CREATE FUNCTION sharding.added_object_command(
    rel oid, new_object sharding.shard_object, shard text, shardid bigint
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    column_default text;
    command text;
BEGIN
    new_object.suffixed := new_object.kind IN ('k', 'i');
    command := sharding.object_command(new_object, shard, shardid);
    IF new_object.kind <> 'c' THEN
        RETURN command;
    END IF;
    SELECT pg_get_expr(adbin, adrelid)
    INTO column_default
    FROM pg_attrdef
    JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE adrelid = rel
      AND adnum = new_object.objid
      AND attgenerated = '';
    IF column_default IS NULL THEN
        RETURN command;
    ELSIF column_default LIKE 'nextval(%' THEN
        RAISE EXCEPTION 'cannot execute ADD COLUMN commands involving serial pseudotypes when '
            'metadata is synchronized to workers'
            USING ERRCODE = '0A000';
    END IF;
    -- Existing rows get the default; the coordinator sends the value of later rows.
    RETURN command || format(' DEFAULT %s; ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT',
        column_default, shard, new_object.name);
END $$;

-- Return the command for a removed object. Dropping a column may have removed its indexes,
-- constraints and NOT NULL already; hence IF EXISTS.
CREATE FUNCTION sharding.removed_object_command(
    rel oid, old_object sharding.shard_object, shard text, shardid bigint
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    shard_schema name := (SELECT schemaname FROM sharding.table_name WHERE relid = rel);
    column_now name := (
        SELECT attname
        FROM pg_attribute
        WHERE attrelid = rel
          AND attnum = old_object.objid
          AND NOT attisdropped);
BEGIN
    CASE old_object.kind
        WHEN 'c' THEN
            RETURN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', shard, old_object.name);
        WHEN 'n' THEN
            IF column_now IS NULL THEN
                RETURN '';
            END IF;
            RETURN format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', shard, column_now);
        WHEN 'k' THEN
            RETURN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I',
                shard, sharding.name_on_shard(old_object, shardid));
        ELSE
            RETURN format('DROP INDEX IF EXISTS %I.%I',
                shard_schema, sharding.name_on_shard(old_object, shardid));
    END CASE;
END $$;

-- Return the command for a changed object.
CREATE FUNCTION sharding.changed_object_command(
    rel oid, old_object sharding.shard_object, new_object sharding.shard_object,
    shard text, shardid bigint
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    shard_schema name := (SELECT schemaname FROM sharding.table_name WHERE relid = rel);
    old_name name := sharding.name_on_shard(old_object, shardid);
    new_name name;
BEGIN
    new_object.suffixed := old_object.suffixed;
    new_name := sharding.name_on_shard(new_object, shardid);
    IF new_object.kind = 'n' THEN
        RETURN '';
    ELSIF new_object.kind = 'c' THEN
        RETURN concat_ws('; ',
            CASE WHEN old_object.name <> new_object.name
                 THEN format('ALTER TABLE %s RENAME COLUMN %I TO %I',
                     shard, old_object.name, new_object.name) END,
            CASE WHEN old_object.definition <> new_object.definition
                 THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE %s',
                     shard, new_object.name, new_object.definition) END);
    ELSIF new_object.kind = 'k'
          AND old_object.definition = new_object.definition || ' NOT VALID'
    THEN
        RETURN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', shard, old_name);
    ELSIF old_object.definition <> new_object.definition THEN
        -- a column or function in it was renamed; the shard's definition changed with it
        RETURN '';
    ELSIF new_object.kind = 'i' THEN
        RETURN format('ALTER INDEX %I.%I RENAME TO %I', shard_schema, old_name, new_name);
    ELSIF sharding.kind(rel) = 'h' THEN
        RAISE EXCEPTION 'renaming constraints belonging to distributed tables is currently '
            'unsupported'
            USING ERRCODE = '0A000';
    END IF;
    RETURN format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', shard, old_name, new_name);
END $$;

-- ---------------------------------------------------------------- all differences, all shards
-- Rename a table's shards after the table, and move them to its schema; change the foreign tables
-- for them.
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
        -- the coordinator's table with the shard's name (that of a copy is named by ids)
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

-- Return the command for a changed, added or removed part of a type on a worker that has the type.
CREATE FUNCTION sharding.type_part_command(
    old_part sharding.type_part, new_part sharding.type_part
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    type oid := coalesce(new_part.typid, old_part.typid);
    name text := sharding.type_name(type);
    present_name text := name;
    command text;
BEGIN
    CASE coalesce(new_part.kind, old_part.kind)
        WHEN 't' THEN
            present_name := format('%I.%I', old_part.definition, old_part.name);
            command := concat_ws('; ',
                CASE WHEN (sharding.type_extension(type)).extension IS NOT NULL
                     THEN format('ALTER EXTENSION %I SET SCHEMA %I',
                         (sharding.type_extension(type)).extension, new_part.definition)
                     WHEN old_part.definition <> new_part.definition
                     THEN format('ALTER TYPE %s SET SCHEMA %I',
                         present_name, new_part.definition) END,
                CASE WHEN old_part.name <> new_part.name
                     THEN format('ALTER TYPE %I.%I RENAME TO %I',
                         new_part.definition, old_part.name, new_part.name) END);
            RETURN format('CREATE SCHEMA IF NOT EXISTS %I; DO %L', new_part.definition,
                format('BEGIN IF to_regtype(%L) IS NOT NULL THEN %s; END IF; END',
                    present_name, command));
        WHEN 'e' THEN
            command := CASE WHEN old_part.name IS NOT NULL
                THEN format('RENAME VALUE %L TO %L', old_part.name, new_part.name)
                ELSE format('ADD VALUE IF NOT EXISTS %L %s', new_part.name, (
                    SELECT CASE WHEN other.enumsortorder < added.enumsortorder
                                THEN format('AFTER %L', other.enumlabel)
                                ELSE format('BEFORE %L', other.enumlabel) END
                    FROM pg_enum added
                    JOIN pg_enum other ON other.enumtypid = type AND other.oid <> added.oid
                    WHERE added.oid = new_part.objid
                    -- the label before it, or, for the first one, the label after it
                    ORDER BY other.enumsortorder < added.enumsortorder DESC,
                        abs(other.enumsortorder - added.enumsortorder)
                    LIMIT 1)) END;
        WHEN 'a' THEN
            command := concat_ws('; ALTER TYPE ' || name || ' ',
                CASE WHEN new_part.name IS NULL
                     THEN format('DROP ATTRIBUTE IF EXISTS %I', old_part.name)
                     WHEN old_part.name <> new_part.name
                     THEN format('RENAME ATTRIBUTE %I TO %I', old_part.name, new_part.name) END,
                (SELECT format(
                     CASE WHEN old_part.name IS NULL THEN 'ADD ATTRIBUTE %I %s'
                          ELSE 'ALTER ATTRIBUTE %I TYPE %s' END,
                     attname, sharding.column_type(a))
                 FROM pg_attribute a
                 JOIN pg_type t ON t.typrelid = attrelid
                 WHERE t.oid = type
                   AND attnum = new_part.objid
                   AND old_part.definition IS DISTINCT FROM new_part.definition));
        WHEN 'n' THEN
            command := CASE WHEN new_part.name IS NULL THEN 'DROP NOT NULL'
                            WHEN old_part.name IS NULL THEN 'SET NOT NULL' END;
        WHEN 'k' THEN
            command := CASE
                WHEN new_part.name IS NULL
                THEN format('DROP CONSTRAINT IF EXISTS %I', old_part.name)
                WHEN old_part.name IS NULL
                THEN format('ADD CONSTRAINT %I %s', new_part.name, new_part.definition)
                WHEN old_part.name <> new_part.name
                THEN format('RENAME CONSTRAINT %I TO %I', old_part.name, new_part.name)
                WHEN old_part.definition = new_part.definition || ' NOT VALID'
                THEN format('VALIDATE CONSTRAINT %I', new_part.name) END;
    END CASE;
    RETURN coalesce(
        format('DO %L', format('BEGIN IF to_regtype(%L) IS NOT NULL THEN ALTER %s %s %s; END IF; '
            'END', name,
            CASE WHEN coalesce(new_part.kind, old_part.kind) IN ('n', 'k')
                 THEN 'DOMAIN' ELSE 'TYPE' END,
            name, nullif(command, ''))),
        '');
END $$;

-- Change the workers' types, and sharding.type_part, to what the catalogs have now.
CREATE FUNCTION sharding.sync_types() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    difference record;
    old_part sharding.type_part;
    new_part sharding.type_part;
    node int;
BEGIN
    FOR difference IN
        SELECT o AS old_part, w AS new_part
        FROM sharding.type_part o
        FULL JOIN (
            SELECT part.*
            FROM (SELECT DISTINCT typid FROM sharding.type_part) known,
                LATERAL sharding.type_parts(known.typid) part
        ) w ON (w.typid, w.kind, w.objid) = (o.typid, o.kind, o.objid)
        WHERE (o.name, o.definition) IS DISTINCT FROM (w.name, w.definition)
        ORDER BY coalesce(w.kind, o.kind) = 't' DESC, w.objid
    LOOP
        old_part := difference.old_part;
        new_part := difference.new_part;
        FOR node IN
            SELECT nodeid
            FROM sharding.workers()
        LOOP
            PERFORM sharding.create_types(typrelid, node)
            FROM pg_type
            WHERE oid = new_part.typid
              AND new_part.kind = 'a';
            PERFORM sharding.run_on_node(node, sharding.type_part_command(old_part, new_part));
        END LOOP;
        DELETE FROM sharding.type_part p
        WHERE p = old_part;
        INSERT INTO sharding.type_part
        SELECT new_part.*
        WHERE new_part.typid IS NOT NULL;
        -- the columns' definitions have the new name; the shards' columns need no command
        UPDATE sharding.shard_object o
        SET definition = w.definition
        FROM pg_dist_partition p, LATERAL sharding.expected_objects(p.logicalrelid) w
        WHERE (o.relid, o.kind, o.objid) = (w.relid, w.kind, w.objid)
          AND o.kind = 'c'
          AND new_part.kind = 't';
    END LOOP;
END $$;

-- Change one table's shards, and sharding.shard_object, to what the catalogs have now.
CREATE FUNCTION sharding.sync_table(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    difference record;
    old_object sharding.shard_object;
    new_object sharding.shard_object;
    target record;
    changed boolean := false;
BEGIN
    -- Constraints and indexes are dropped before their columns and added after them.
    FOR difference IN
        SELECT o AS old_object, w AS new_object, coalesce(o.kind, w.kind) AS kind,
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
        old_object := difference.old_object;
        new_object := difference.new_object;
        IF new_object.kind = 'c' THEN
            PERFORM sharding.create_types(rel, nodeid)
            FROM (SELECT DISTINCT nodeid FROM sharding.worker_shards(rel)) node;
        END IF;
        FOR target IN
            SELECT *
            FROM sharding.worker_shards(rel)
        LOOP
            PERFORM sharding.run_on_node(target.nodeid,
                CASE WHEN old_object.objid IS NULL
                     THEN sharding.added_object_command(
                         rel, new_object, target.shard, target.shardid)
                     WHEN new_object.objid IS NULL
                     THEN sharding.removed_object_command(
                         rel, old_object, target.shard, target.shardid)
                     ELSE sharding.changed_object_command(
                         rel, old_object, new_object, target.shard, target.shardid) END);
        END LOOP;
        DELETE FROM sharding.shard_object
        WHERE relid = rel
          AND kind = difference.kind
          AND objid = difference.objid;
        IF new_object.objid IS NOT NULL THEN
            -- as in Citus, the name of a CHECK that is added later ends with the shard id
            INSERT INTO sharding.shard_object
            VALUES (rel, new_object.kind, new_object.objid, new_object.name, new_object.definition,
                coalesce(old_object.suffixed, new_object.kind IN ('k', 'i')));
        END IF;
    END LOOP;

    -- a reference table's local copy and foreign tables must change too
    IF changed AND sharding.kind(rel) = 't' THEN
        PERFORM sharding.name_leaf_indexes(rel);
        PERFORM sharding.attach_copy(rel, s.shardid, s.nodeid)
        FROM sharding.worker_shards(rel) s;
    END IF;
END $$;

-- Do this for all tables that have shards: one command can change many (ALTER SCHEMA … RENAME),
-- and comparing takes little time.
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
        PERFORM sharding.own_partitions(present.rel);
    END LOOP;
END $$;

-- The definition of a shard: the columns, constraints, indexes and foreign keys that a table's
-- shards get on a worker.
--
-- The definition is read from the catalogs and stored in sharding.shard_object; the commands are
-- generated from there. Every function here has the search path pg_catalog, so that PostgreSQL's
-- pg_get_…def functions qualify every name.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- reading the catalogs
-- Return the objects that a table's shards should have. The names of keys and indexes end with the
-- shard id. Names of CHECK constraints do if the constraint was added after CREATE TABLE (see
-- sync_table).
CREATE FUNCTION sharding.expected_objects(relid oid) RETURNS SETOF sharding.shard_object
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    -- columns
    SELECT relid, 'c'::"char", attnum::oid, attname::text,
        sharding.column_type(a)
        || CASE attgenerated
           WHEN '' THEN ''
           WHEN 's' THEN format(' GENERATED ALWAYS AS (%s) STORED', pg_get_expr(adbin, adrelid))
           ELSE format(' GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(adbin, adrelid)) END,
        false
    FROM pg_attribute a
    LEFT JOIN pg_attrdef ON adrelid = attrelid
        AND adnum = attnum
        AND attgenerated <> ''
    WHERE attrelid = relid
      AND attnum > 0
      AND NOT attisdropped
    UNION ALL
    -- NOT NULL
    SELECT relid, 'n', attnum::oid, attname::text, 'NOT NULL', false
    FROM pg_attribute
    WHERE attrelid = relid
      AND attnum > 0
      AND attnotnull
      AND NOT attisdropped
    UNION ALL
    -- constraints
    SELECT relid, 'k', oid, conname::text, pg_get_constraintdef(oid), contype <> 'c'
    FROM pg_constraint
    WHERE conrelid = relid
      AND contype IN ('p', 'u', 'x', 'c')
    UNION ALL
    -- Indexes without a constraint: the text of CREATE INDEX after the table's name. The length of
    -- the text before it is known, so it does not have to be parsed.
    SELECT relid, 'i', indexrelid, i.relname::text,
        CASE WHEN indisunique THEN 'U' ELSE ' ' END
        || substr(pg_get_indexdef(indexrelid), 1 + length(
            format('CREATE %sINDEX %I ON %s%I.%I ',
                CASE WHEN indisunique THEN 'UNIQUE ' END, i.relname,
                CASE c.relkind WHEN 'p' THEN 'ONLY ' END, n.nspname, c.relname))),
        true
    FROM pg_index
    JOIN pg_class i ON i.oid = indexrelid
    JOIN pg_class c ON c.oid = indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE indrelid = relid
      AND NOT EXISTS (
          SELECT
          FROM pg_constraint
          WHERE conindid = indexrelid
            AND contype IN ('p', 'u', 'x')
            AND conrelid = relid)
$$;

-- Return the columns to name when rows are copied: all but generated columns.
CREATE FUNCTION sharding.copied_columns(rel oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = rel
      AND attnum > 0
      AND NOT attisdropped
      AND attgenerated = ''
$$;

-- ---------------------------------------------------------------- commands for a shard
-- Return an object's name on a shard.
CREATE FUNCTION sharding.name_on_shard(object sharding.shard_object, shardid bigint)
RETURNS name
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN object.suffixed
                THEN sharding.name_with_shard_id(object.name, shardid)
                ELSE object.name::name END
$$;

-- Return the command that adds a constraint or index to a table under the given name. Over shards,
-- unique ones are added with ONLY, because PostgreSQL refuses them on foreign partitions. They are
-- then listed in the catalogs, and hold because each shard has its own.
CREATE FUNCTION sharding.key_command(
    object sharding.shard_object, key_name name, table_name text, over_shards boolean
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE
        WHEN object.kind IN ('k', 'K')
        THEN format('ALTER TABLE %s%s ADD CONSTRAINT %I %s',
            CASE WHEN over_shards AND object.suffixed THEN 'ONLY ' END,
            table_name, key_name, object.definition)
        WHEN left(object.definition, 1) = 'U'
        THEN format('CREATE UNIQUE INDEX %I ON %s%s %s',
            key_name, CASE WHEN over_shards THEN 'ONLY ' END,
            table_name, substr(object.definition, 2))
        ELSE format('CREATE INDEX %I ON %s %s',
            key_name, table_name, substr(object.definition, 2)) END
$$;

-- Mark the keys of a distributed table valid. PostgreSQL marks a key that was added with ONLY
-- invalid, because the partitions have no such index; but the shards do.
CREATE FUNCTION sharding.mark_keys_valid(rel oid) RETURNS void
LANGUAGE sql SET search_path = pg_catalog AS $$
    UPDATE pg_index
    SET indisvalid = true
    WHERE indrelid = rel
      AND NOT indisvalid
$$;

-- Return the command that adds an object to a shard.
CREATE FUNCTION sharding.object_command(object sharding.shard_object, shard text, shardid bigint)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE object.kind
        WHEN 'c'
        THEN format('ALTER TABLE %s ADD COLUMN %I %s', shard, object.name, object.definition)
        WHEN 'n'
        THEN format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', shard, object.name)
        ELSE sharding.key_command(object, sharding.name_on_shard(object, shardid), shard, false) END
$$;

-- Return the commands for the triggers of a distributed table's shard: one refuses changed keys,
-- and on the first shard, to which hash partitioning sends them, one refuses NULL keys. They are
-- on the shards because a row trigger on the coordinator would make postgres_fdw send row by row.
CREATE FUNCTION sharding.guard_trigger_commands(relid oid, shard text, first boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN first
                THEN format('; CREATE TRIGGER refuse_null_key BEFORE INSERT ON %s
                    FOR EACH ROW WHEN (NEW.%I IS NULL)
                    EXECUTE FUNCTION sharding.refuse_null_key()', shard, attname)
                ELSE '' END
        || format('; CREATE TRIGGER refuse_key_change BEFORE UPDATE OF %I ON %s
                    FOR EACH ROW WHEN (OLD.%1$I IS DISTINCT FROM NEW.%1$I)
                    EXECUTE FUNCTION sharding.refuse_key_change()', attname, shard)
    FROM pg_attribute
    WHERE attrelid = relid
      AND attnum = sharding.key_column(relid)
      AND sharding.kind(relid) = 'h'
$$;

-- Return the commands that create one shard with all objects of the table's definition.
CREATE FUNCTION sharding.create_shard_commands(relid oid, shardid bigint, first boolean)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('CREATE SCHEMA IF NOT EXISTS %I; CREATE %sTABLE %s (%s)',
            t.schemaname,
            (SELECT 'UNLOGGED '
             FROM pg_class
             WHERE oid = $1
               AND relpersistence = 'u'),
            s.shard,
            (SELECT string_agg(
                 format('%I %s%s', c.name, c.definition, ' ' || not_null.definition),
                 ', ' ORDER BY c.objid)
             FROM sharding.shard_object c
             LEFT JOIN sharding.shard_object not_null ON not_null.relid = c.relid
                 AND not_null.objid = c.objid
                 AND not_null.kind = 'n'
             WHERE c.relid = $1
               AND c.kind = 'c'))
        || coalesce(
            (SELECT string_agg(
                 '; ' || sharding.object_command(o, s.shard, $2),
                 '' ORDER BY o.kind DESC, o.objid)
             FROM sharding.shard_object o
             WHERE o.relid = $1
               AND o.kind IN ('k', 'i')),
            '')
        || coalesce(sharding.guard_trigger_commands($1, s.shard, first), '')
    FROM sharding.table_name t,
        LATERAL (SELECT sharding.shard_table($1, $2) AS shard) s
    WHERE t.relid = $1
$$;

-- ---------------------------------------------------------------- types
-- Return a relation's column types that a worker may not have, and the types that they consist of.
-- A type comes after those that it needs ("rank" is higher for it).
CREATE FUNCTION sharding.types_of(relid oid) RETURNS TABLE (type oid, rank int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE used AS (
        SELECT atttypid AS type, 0 AS depth
        FROM pg_attribute
        WHERE attrelid = relid
          AND attnum > 0
          AND NOT attisdropped
        UNION
        SELECT part.type, depth + 1
        FROM used
        JOIN pg_type t ON t.oid = used.type,
            LATERAL (
                VALUES (t.typelem), (t.typbasetype)
                UNION ALL
                SELECT CASE t.typtype WHEN 'm' THEN rngtypid ELSE rngsubtype END
                FROM pg_range
                WHERE t.oid IN (rngtypid, rngmultitypid)
                UNION ALL
                SELECT atttypid
                FROM pg_attribute
                WHERE attrelid = t.typrelid
                  AND attnum > 0
                  AND NOT attisdropped
            ) part(type)
        WHERE part.type <> 0
    )
    SELECT t.oid, -max(depth)
    FROM used
    JOIN pg_type t ON t.oid = used.type
    WHERE t.typnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
      AND NOT EXISTS (SELECT FROM pg_type WHERE typarray = t.oid)
    GROUP BY t.oid
$$;

-- Return a type's name with its schema.
CREATE FUNCTION sharding.type_name(type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', nspname, typname)
    FROM pg_type t
    JOIN pg_namespace n ON n.oid = typnamespace
    WHERE t.oid = type
$$;

-- Return the type of a column or attribute with its collation, as SQL.
CREATE FUNCTION sharding.column_type(a pg_attribute) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format_type(a.atttypid, a.atttypmod)
        || coalesce(
            (SELECT format(' COLLATE %I.%I', n.nspname, c.collname)
             FROM pg_collation c
             JOIN pg_namespace n ON n.oid = c.collnamespace
             JOIN pg_type t ON t.oid = a.atttypid
             WHERE c.oid = a.attcollation
               AND c.oid <> t.typcollation),
            '')
$$;

-- Return the extension of a type, and the extension's schema; NULLs for a type of none.
CREATE FUNCTION sharding.type_extension(type oid, OUT extension name, OUT schemaname name)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT extname, nspname
    FROM pg_depend
    JOIN pg_extension e ON e.oid = refobjid
    JOIN pg_namespace n ON n.oid = extnamespace
    WHERE classid = 'pg_type'::regclass
      AND objid = type
      AND deptype = 'e'
$$;

-- Return the parts of a type that ALTER can change, as rows of sharding.type_part.
CREATE FUNCTION sharding.type_parts(type oid) RETURNS SETOF sharding.type_part
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT type, 't'::"char", 0::oid, typname::text, coalesce(e.schemaname, nspname)::text
    FROM pg_type t
    JOIN pg_namespace n ON n.oid = typnamespace,
        LATERAL sharding.type_extension(type) e
    WHERE t.oid = type
    UNION ALL
    SELECT type, 'e', oid, enumlabel, ''
    FROM pg_enum
    WHERE enumtypid = type
    UNION ALL
    -- the OIDs of an attribute's type and collation stay the same when these are renamed
    SELECT type, 'a', attnum::oid, attname, concat_ws(' ', atttypid, atttypmod, attcollation)
    FROM pg_type t
    JOIN pg_attribute ON attrelid = typrelid
    WHERE t.oid = type
      AND NOT attisdropped
    UNION ALL
    SELECT type, (CASE contype WHEN 'n' THEN 'n' ELSE 'k' END)::"char", oid, conname,
        pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE contypid = type
$$;

-- Return the command that creates a type, or the type's extension, on a worker without it.
CREATE FUNCTION sharding.create_type_command(type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN e.extension IS NOT NULL
        THEN format('CREATE SCHEMA IF NOT EXISTS %I;
            CREATE EXTENSION IF NOT EXISTS %I SCHEMA %1$I CASCADE', e.schemaname, e.extension)
        -- PostgreSQL has no CREATE TYPE IF NOT EXISTS
        ELSE format('CREATE SCHEMA IF NOT EXISTS %I; DO %L', nspname, format(
            'BEGIN IF to_regtype(%L) IS NULL THEN CREATE %s; END IF; END',
            sharding.type_name(type),
            CASE typtype
            WHEN 'e' THEN (
                SELECT format('TYPE %s AS ENUM (%s)', sharding.type_name(type),
                    string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder))
                FROM pg_enum
                WHERE enumtypid = type)
            WHEN 'd' THEN (
                SELECT format('DOMAIN %s AS %s%s', sharding.type_name(type),
                    format_type(typbasetype, typtypmod),
                    string_agg(
                        format(' CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)), ''))
                FROM pg_constraint
                WHERE contypid = type)
            WHEN 'c' THEN (
                SELECT format('TYPE %s AS (%s)', sharding.type_name(type),
                    string_agg(format('%I %s', attname, sharding.column_type(a)), ', '
                        ORDER BY attnum))
                FROM pg_attribute a
                WHERE attrelid = typrelid
                  AND attnum > 0
                  AND NOT attisdropped)
            WHEN 'r' THEN (
                SELECT format('TYPE %s AS RANGE (SUBTYPE = %s, MULTIRANGE_TYPE_NAME = %s)',
                    sharding.type_name(type), format_type(rngsubtype, NULL),
                    sharding.type_name(rngmultitypid))
                FROM pg_range
                WHERE rngtypid = type)
            END)) END
    FROM pg_type t
    JOIN pg_namespace n ON n.oid = typnamespace,
        LATERAL sharding.type_extension(type) e
    WHERE t.oid = type
$$;

-- Create the types of a relation's columns on a worker that lacks them.
CREATE FUNCTION sharding.create_types(relid oid, node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    types oid[] := ARRAY(SELECT type FROM sharding.types_of(relid) ORDER BY rank);
BEGIN
    PERFORM sharding.run_on_node(node_id, coalesce(
        (SELECT string_agg(sharding.create_type_command(u.type), '; ' ORDER BY u.position)
         FROM unnest(types) WITH ORDINALITY u(type, position)),
        ''));
    INSERT INTO sharding.type_part
    SELECT part.*
    FROM unnest(types) type, LATERAL sharding.type_parts(type) part
    ON CONFLICT DO NOTHING;
END $$;

-- ---------------------------------------------------------------- foreign keys
-- A shard can refer to the colocated shard with the same range, or to a reference table's copy on
-- its own node. Any other reference would have to be checked on another node.
--
-- Return a foreign key's action as SQL: "", " ON UPDATE CASCADE", …
CREATE FUNCTION sharding.referential_action(event text, code "char") RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT coalesce(' ' || event || ' ' ||
        CASE code WHEN 'r' THEN 'RESTRICT'
                  WHEN 'c' THEN 'CASCADE'
                  WHEN 'n' THEN 'SET NULL'
                  WHEN 'd' THEN 'SET DEFAULT' END, '')
$$;

-- Return the names of columns, in the given order.
CREATE FUNCTION sharding.column_names(rel oid, numbers int2[]) RETURNS name[]
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT array_agg(attname ORDER BY u.position)
    FROM unnest(numbers) WITH ORDINALITY u(number, position)
    JOIN pg_attribute ON attrelid = rel AND attnum = u.number
$$;

-- Return a declared foreign key as a row of sharding.foreign_key.
CREATE FUNCTION sharding.read_foreign_key(con pg_constraint) RETURNS sharding.foreign_key
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT ROW(con.conname, con.conrelid, con.confrelid,
        sharding.column_names(con.conrelid, con.conkey),
        sharding.column_names(con.confrelid, con.confkey),
        CASE con.confmatchtype WHEN 'f' THEN ' MATCH FULL' ELSE '' END
        || sharding.referential_action('ON UPDATE', con.confupdtype)
        || sharding.referential_action('ON DELETE', con.confdeltype)
        || CASE WHEN con.condeferrable THEN ' DEFERRABLE' ELSE '' END
        || CASE WHEN con.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END,
        false)::sharding.foreign_key
$$;

-- Return the command that declares a foreign key from one table to another.
CREATE FUNCTION sharding.foreign_key_command(
    fk sharding.foreign_key, key_name name, table_name text, referenced text
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)%s',
        table_name, key_name, sharding.name_list(fk.columns),
        referenced, sharding.name_list(fk.refcolumns), fk.actions)
$$;

-- Return the command that declares a foreign key on one shard.
CREATE FUNCTION sharding.shard_foreign_key_command(fk sharding.foreign_key, shardid bigint)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT sharding.foreign_key_command(fk,
        sharding.name_with_shard_id(fk.conname, $2),
        sharding.shard_table(fk.conrelid, $2),
        sharding.shard_table(fk.confrelid, referenced.shardid))
    FROM pg_dist_shard mine
    JOIN pg_dist_shard referenced ON referenced.logicalrelid = fk.confrelid
        -- the one shard of a reference table has no range
        AND referenced.shardminvalue IS NOT DISTINCT FROM
            CASE WHEN sharding.kind(fk.confrelid) = 'h' THEN mine.shardminvalue END
    WHERE mine.shardid = $2
$$;

-- Add a foreign key to all shards of its table, or drop it, with one command for each worker.
CREATE FUNCTION sharding.foreign_key_on_shards(fk sharding.foreign_key, adding boolean)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    node record;
BEGIN
    FOR node IN
        SELECT s.nodeid,
            string_agg(
                CASE WHEN adding
                     THEN sharding.shard_foreign_key_command(fk, s.shardid)
                     ELSE format('ALTER TABLE %s DROP CONSTRAINT %I',
                         s.shard, sharding.name_with_shard_id(fk.conname, s.shardid)) END,
                '; ' ORDER BY s.shardid) AS commands
        FROM sharding.worker_shards(fk.conrelid) s
        GROUP BY s.nodeid
    LOOP
        PERFORM sharding.run_on_node(node.nodeid, node.commands);
    END LOOP;
    UPDATE sharding.foreign_key
    SET onshards = adding
    WHERE conrelid = fk.conrelid
      AND conname = fk.conname;
END $$;

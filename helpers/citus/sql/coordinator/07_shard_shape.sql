-- The shape of a shard: what a table's columns, constraints and indexes become on a worker.
--
-- The shape is read from the catalogs, recorded in sharding.shard_object, and turned into
-- commands from that record. Every function here has the search path pg_catalog, so that the
-- catalogs' own printing functions qualify every name that they print.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- what the catalogs say
-- The objects that a table's shards should have. Keys and indexes carry the shard id in their
-- name. CHECK constraints that came with CREATE TABLE do not; later ones do (see sync_table).
CREATE FUNCTION sharding.wanted(relid oid) RETURNS SETOF sharding.shard_object
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    -- columns
    SELECT relid, 'c'::"char", attnum::oid, attname::text,
        format_type(atttypid, atttypmod)
        || CASE WHEN attcollation <> t.typcollation
                THEN format(' COLLATE %I.%I', cn.nspname, co.collname)
                ELSE '' END
        || CASE attgenerated
           WHEN '' THEN ''
           WHEN 's' THEN format(' GENERATED ALWAYS AS (%s) STORED', pg_get_expr(adbin, adrelid))
           ELSE format(' GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(adbin, adrelid)) END,
        false
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
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
    -- Indexes of no constraint. Wanted is what stands after the names in CREATE INDEX; how long
    -- the part before it is, is known, so nothing has to be parsed.
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

-- The columns that a copy of the rows names. (Generated columns compute themselves.)
CREATE FUNCTION sharding.copied_columns(rel oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = rel
      AND attnum > 0
      AND NOT attisdropped
      AND attgenerated = ''
$$;

-- ---------------------------------------------------------------- from the record to commands
-- The object's name on a shard.
CREATE FUNCTION sharding.name_on_shard(object sharding.shard_object, shardid bigint)
RETURNS name
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN object.suffixed
                THEN sharding.with_id(object.name, shardid)
                ELSE object.name::name END
$$;

-- The command that gives a recorded constraint or index to a table, under a name of choice.
-- A table over shards takes unique ones with ONLY: its partitions are foreign, so PostgreSQL would
-- refuse them there. Declared so they are on record, and hold because each shard has its own.
CREATE FUNCTION sharding.add_key(
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

-- The command that adds one recorded object to a shard.
CREATE FUNCTION sharding.add_object(object sharding.shard_object, shard text, shardid bigint)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE object.kind
        WHEN 'c'
        THEN format('ALTER TABLE %s ADD COLUMN %I %s', shard, object.name, object.definition)
        WHEN 'n'
        THEN format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', shard, object.name)
        ELSE sharding.add_key(object, sharding.name_on_shard(object, shardid), shard, false) END
$$;

-- The triggers that guard a distributed table's shard: against changed keys, and on the first
-- shard, where hash partitioning sends them, against NULL keys. They stand on the shards since a
-- row trigger on the coordinator would make postgres_fdw send row by row.
CREATE FUNCTION sharding.add_guards(relid oid, shard text, first boolean) RETURNS text
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

-- The commands that make one shard, with everything that the table's record lists.
CREATE FUNCTION sharding.create_shard(relid oid, shardid bigint, first boolean) RETURNS text
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
                 '; ' || sharding.add_object(o, s.shard, $2),
                 '' ORDER BY o.kind DESC, o.objid)
             FROM sharding.shard_object o
             WHERE o.relid = $1
               AND o.kind IN ('k', 'i')),
            '')
        || coalesce(sharding.add_guards($1, s.shard, first), '')
    FROM sharding.table_name t,
        LATERAL (SELECT sharding.shard($1, $2) AS shard) s
    WHERE t.relid = $1
$$;

-- ---------------------------------------------------------------- types
-- The commands for types that a worker may not have yet: enums with their labels, domains, and
-- types of an extension. What lies under a domain or an array comes with it.
CREATE FUNCTION sharding.needed_types(relid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE used AS (
        SELECT atttypid AS type
        FROM pg_attribute
        WHERE attrelid = relid
          AND attnum > 0
          AND NOT attisdropped
        UNION
        SELECT part.type
        FROM used
        JOIN pg_type t ON t.oid = used.type,
            LATERAL (VALUES (t.typelem), (t.typbasetype)) part(type)
        WHERE part.type <> 0
    ), named AS (
        SELECT t.*, format_type(t.oid, NULL) AS type_name, n.nspname,
            e.extname, en.nspname AS extension_schema
        FROM used
        JOIN pg_type t ON t.oid = used.type
        JOIN pg_namespace n ON n.oid = t.typnamespace
        LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass
            AND d.objid = t.oid
            AND d.deptype = 'e'
        LEFT JOIN pg_extension e ON e.oid = d.refobjid
        LEFT JOIN pg_namespace en ON en.oid = e.extnamespace
    ), definition AS (
        SELECT named.oid, named.nspname,
            format('CREATE TYPE %s AS ENUM (%s)', type_name,
                (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                 FROM pg_enum
                 WHERE enumtypid = named.oid)) AS command
        FROM named
        WHERE extname IS NULL
          AND typtype = 'e'
        UNION ALL
        SELECT named.oid, named.nspname,
            format('CREATE DOMAIN %s AS %s%s', type_name, format_type(typbasetype, typtypmod),
                (SELECT string_agg(' ' || pg_get_constraintdef(oid), '')
                 FROM pg_constraint
                 WHERE contypid = named.oid))
        FROM named
        WHERE extname IS NULL
          AND typtype = 'd'
    ), commands AS (
        SELECT oid, format('CREATE SCHEMA IF NOT EXISTS %I; '
            'CREATE EXTENSION IF NOT EXISTS %I SCHEMA %1$I; ', extension_schema, extname) AS command
        FROM named
        WHERE extname IS NOT NULL
        UNION ALL
        -- there is no CREATE TYPE IF NOT EXISTS
        SELECT oid, format('CREATE SCHEMA IF NOT EXISTS %I; DO %L; ', nspname,
            format('BEGIN %s; EXCEPTION WHEN duplicate_object THEN NULL; END', command))
        FROM definition
    )
    SELECT string_agg(command, '' ORDER BY oid)
    FROM commands
$$;

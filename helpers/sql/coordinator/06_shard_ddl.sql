-- The shape of a shard, read from the catalogs. Every function here has the search path pg_catalog, so that
-- the catalogs' own printing functions qualify every name that they print.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- what the catalogs say
-- The objects that a table's shards should have. p/u/x constraints and indexes carry the shard id in their
-- name; CHECK constraints that came with CREATE TABLE do not, later ones do (sync_shards sees to it).
CREATE FUNCTION sharding.wanted(relid oid) RETURNS SETOF sharding.shard_object LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT relid, 'c'::"char", attnum::oid, attname::text,
        format_type(atttypid, atttypmod)
        || CASE WHEN attcollation <> t.typcollation THEN format(' COLLATE %I.%I', cn.nspname, co.collname) ELSE '' END
        || CASE WHEN attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid),
                CASE attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) ELSE '' END, false
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation co ON co.oid = attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum AND attgenerated <> ''
    WHERE attrelid = relid AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT relid, 'n', attnum::oid, attname::text, 'NOT NULL', false FROM pg_attribute
    WHERE attrelid = relid AND attnum > 0 AND attnotnull AND NOT attisdropped
    UNION ALL
    SELECT relid, 'k', oid, conname::text, pg_get_constraintdef(oid), contype <> 'c' FROM pg_constraint
    WHERE conrelid = relid AND contype IN ('p', 'u', 'x', 'c')
    UNION ALL
    -- what stands after the names in CREATE INDEX: the names' own length is known, so nothing has to be parsed
    SELECT relid, 'i', indexrelid, i.relname::text,
        CASE WHEN indisunique THEN 'U' ELSE ' ' END
        || substr(pg_get_indexdef(indexrelid), length(format('CREATE %sINDEX %I ON %s%I.%I ',
            CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END, i.relname,
            CASE c.relkind WHEN 'p' THEN 'ONLY ' ELSE '' END,
            n.nspname, c.relname)) + 1), true
    FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE indrelid = relid AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x') AND conrelid = relid)
$$;

-- ---------------------------------------------------------------- one shard's commands
-- The command that adds one object to a shard.
CREATE FUNCTION sharding.add_object(o sharding.shard_object, shard text, shardid bigint) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE o.kind
        WHEN 'c' THEN format('ALTER TABLE %s ADD COLUMN %I %s', shard, o.name, o.definition)
        WHEN 'n' THEN format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', shard, o.name)
        WHEN 'k' THEN format('ALTER TABLE %s ADD CONSTRAINT %I %s', shard, CASE WHEN o.suffixed THEN sharding.with_id(o.name, shardid) ELSE o.name END, o.definition)
        WHEN 'i' THEN format('CREATE %sINDEX %I ON %s %s', CASE WHEN left(o.definition, 1) = 'U' THEN 'UNIQUE ' END,
                             sharding.with_id(o.name, shardid), shard, substr(o.definition, 2)) END
$$;

-- Make one shard on a node, with everything that the table's record lists, and a distributed table's guards:
-- against changed keys, and on the first shard against NULL keys.
CREATE FUNCTION sharding.create_shard(relid oid, shardid bigint, first boolean) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('CREATE SCHEMA IF NOT EXISTS %I; CREATE %sTABLE %s (%s)', t.schemaname,
               CASE WHEN (SELECT relpersistence FROM pg_class WHERE oid = $1) = 'u' THEN 'UNLOGGED ' END, s.shard,
               (SELECT string_agg(format('%I %s', c.name, c.definition || CASE WHEN n.objid IS NOT NULL THEN ' NOT NULL' ELSE '' END), ', ' ORDER BY c.objid)
                FROM sharding.shard_object c LEFT JOIN sharding.shard_object n ON n.relid = c.relid AND n.objid = c.objid AND n.kind = 'n'
                WHERE c.relid = $1 AND c.kind = 'c'))
        || coalesce((SELECT string_agg('; ' || sharding.add_object(o, s.shard, $2), '' ORDER BY o.kind DESC, o.objid)
                     FROM sharding.shard_object o WHERE o.relid = $1 AND o.kind IN ('k', 'i')), '')
        || coalesce((SELECT CASE WHEN first THEN format('; CREATE TRIGGER refuse_null_key BEFORE INSERT ON %s FOR EACH ROW WHEN (NEW.%I IS NULL)
               EXECUTE FUNCTION sharding.refuse_null_key()', s.shard, attname) ELSE '' END
               || format('; CREATE TRIGGER refuse_key_change BEFORE UPDATE OF %I ON %s FOR EACH ROW WHEN (OLD.%1$I IS DISTINCT FROM NEW.%1$I)
               EXECUTE FUNCTION sharding.refuse_key_change()', attname, s.shard)
            FROM pg_attribute WHERE attrelid = $1 AND attnum = sharding.key_column($1) AND sharding.kind($1) = 'h'), '')
    FROM sharding.table_name t, LATERAL (SELECT sharding.shard($1, $2) AS shard) s WHERE t.relid = $1
$$;

-- Types that a worker may not have yet: enums (with their labels), domains, and types of an extension.
CREATE FUNCTION sharding.needed_types(relid oid) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE used AS (
        SELECT atttypid AS t FROM pg_attribute WHERE attrelid = relid AND attnum > 0 AND NOT attisdropped
        UNION SELECT x.t FROM used JOIN pg_type y ON y.oid = used.t, LATERAL (VALUES (y.typelem), (y.typbasetype)) x(t) WHERE x.t <> 0)
    SELECT string_agg(CASE
        WHEN e.extname IS NOT NULL THEN format('CREATE SCHEMA IF NOT EXISTS %I; CREATE EXTENSION IF NOT EXISTS %I SCHEMA %1$I; ', en.nspname, e.extname)
        WHEN t.typtype = 'e' THEN format('CREATE SCHEMA IF NOT EXISTS %I; DO %L; ', n.nspname, format('BEGIN CREATE TYPE %s AS ENUM (%s); EXCEPTION WHEN duplicate_object THEN NULL; END',
            format_type(t.oid, NULL), (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)))
        WHEN t.typtype = 'd' THEN format('CREATE SCHEMA IF NOT EXISTS %I; DO %L; ', n.nspname, format('BEGIN CREATE DOMAIN %s AS %s%s; EXCEPTION WHEN duplicate_object THEN NULL; END',
            format_type(t.oid, NULL), format_type(t.typbasetype, t.typtypmod),
            (SELECT string_agg(' ' || pg_get_constraintdef(c.oid), '') FROM pg_constraint c WHERE contypid = t.oid)))
        END, '' ORDER BY t.oid)
    FROM used JOIN pg_type t ON t.oid = used.t JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid LEFT JOIN pg_namespace en ON en.oid = e.extnamespace
$$;

-- ---------------------------------------------------------------- foreign keys on shards
-- The command that puts a foreign key on one shard: it refers to the colocated shard of the same range,
-- or to the copy of the reference table on the same node.
CREATE FUNCTION sharding.add_foreign_key(fk sharding.foreign_key, shardid bigint) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)%s', sharding.shard(fk.conrelid, $2),
        sharding.with_id(fk.conname, $2), sharding.idents(fk.columns), sharding.shard(fk.confrelid, r.shardid), sharding.idents(fk.refcolumns), fk.actions)
    FROM pg_dist_shard s JOIN pg_dist_shard r ON r.logicalrelid = fk.confrelid AND r.shardminvalue IS NOT DISTINCT FROM
        CASE WHEN sharding.kind(fk.confrelid) = 'h' THEN s.shardminvalue END
    WHERE s.shardid = $2
$$;

-- A pg_constraint foreign key as a row of sharding.foreign_key.
CREATE FUNCTION sharding.read_foreign_key(con pg_constraint) RETURNS sharding.foreign_key LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT ROW(con.conname, con.conrelid, con.confrelid,
        ARRAY(SELECT attname FROM unnest(con.conkey) WITH ORDINALITY k(n, o) JOIN pg_attribute ON attrelid = con.conrelid AND attnum = n ORDER BY o),
        ARRAY(SELECT attname FROM unnest(con.confkey) WITH ORDINALITY k(n, o) JOIN pg_attribute ON attrelid = con.confrelid AND attnum = n ORDER BY o),
        CASE con.confmatchtype WHEN 'f' THEN ' MATCH FULL' ELSE '' END
        || CASE con.confupdtype WHEN 'r' THEN ' ON UPDATE RESTRICT' WHEN 'c' THEN ' ON UPDATE CASCADE' WHEN 'n' THEN ' ON UPDATE SET NULL' WHEN 'd' THEN ' ON UPDATE SET DEFAULT' ELSE '' END
        || CASE con.confdeltype WHEN 'r' THEN ' ON DELETE RESTRICT' WHEN 'c' THEN ' ON DELETE CASCADE' WHEN 'n' THEN ' ON DELETE SET NULL' WHEN 'd' THEN ' ON DELETE SET DEFAULT' ELSE '' END
        || CASE WHEN con.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN con.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END,
        false)::sharding.foreign_key
$$;

-- Put a foreign key on all shards of its table, or take it away.
CREATE FUNCTION sharding.foreign_key_on_shards(fk sharding.foreign_key, adding boolean) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE n record;
BEGIN
    FOR n IN SELECT d.nodeid, string_agg(CASE WHEN adding THEN sharding.add_foreign_key(fk, s.shardid)
                        ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', sharding.shard(fk.conrelid, s.shardid), sharding.with_id(fk.conname, s.shardid)) END, '; ' ORDER BY s.shardid) AS commands
             FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid)
             WHERE s.logicalrelid = fk.conrelid AND groupid <> 0 GROUP BY 1 LOOP
        PERFORM sharding.node_run(n.nodeid, n.commands);
    END LOOP;
    UPDATE sharding.foreign_key SET onshards = adding WHERE conrelid = fk.conrelid AND conname = fk.conname;
END $$;

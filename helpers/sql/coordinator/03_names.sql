-- Names: of shards, and of what belongs to them.

SET check_function_bodies = off;  -- functions of later files are named here

-- The name with a shard id: "products_102008". Where that passes 63 bytes, Citus's rule: the name is cut
-- (never inside a character) and carries its own hash, "…_202566d9_102013".
CREATE FUNCTION sharding.with_id(name text, shardid bigint) RETURNS name LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE tail text := '_' || shardid; room int; cut text := name;
BEGIN
    IF octet_length(name) + octet_length(tail) < 64 THEN RETURN name || tail; END IF;
    room := 64 - octet_length(tail) - 10;               -- 10 = "_", eight hex digits, and the string's end
    WHILE octet_length(cut) > room LOOP cut := left(cut, -1); END LOOP;
    RETURN cut || '_' || lpad(to_hex(hashtext(name COLLATE "C")), 8, '0') || tail;
END $$;

-- As Citus has it: the shard's name, qualified unless its schema is public.
CREATE FUNCTION pg_catalog.shard_name(object_name regclass, shard_id bigint, skip_qualify_public boolean DEFAULT true) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT CASE WHEN n.nspname = 'public' AND skip_qualify_public THEN quote_ident(sharding.with_id(c.relname, shard_id))
                ELSE format('%I.%I', n.nspname, sharding.with_id(c.relname, shard_id)) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = object_name
$$;

-- The shard's qualified name on a worker. It stands in the table's own schema there.
CREATE FUNCTION sharding.shard(relid oid, shardid bigint) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', t.schemaname, sharding.with_id(t.relname, shardid)) FROM sharding.table_name t WHERE t.relid = $1
$$;

-- The same on any node: the coordinator keeps its copy of a reference table in the schema "shards".
CREATE FUNCTION sharding.placement_name(relid oid, shardid bigint, groupid int) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN groupid = 0 AND t.relid IS NULL THEN relid::regclass::text       -- a local table known to the metadata
                WHEN groupid = 0 THEN format('shards.%I', sharding.with_id(t.relname, shardid))
                ELSE format('%I.%I', t.schemaname, sharding.with_id(t.relname, shardid)) END
    FROM (SELECT 1) one LEFT JOIN sharding.table_name t ON t.relid = $1
$$;

-- The coordinator's foreign table for a reference table's copy on a worker.
CREATE FUNCTION sharding.copy_name(shardid bigint, nodeid int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('shards.%I', 'copy_' || shardid || '_on_' || nodeid)
$$;

-- The key's attribute number.
CREATE FUNCTION sharding.key_column(relid oid) RETURNS int2 LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT partattrs[0] FROM pg_partitioned_table WHERE partrelid = relid
$$;

-- pg_dist_partition.partkey is a parse-tree node, as with Citus; these two translate.
CREATE FUNCTION pg_catalog.column_name_to_column(table_name regclass, column_name text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT format('{VAR :varno 1 :varattno %s :vartype %s :vartypmod %s :varcollid %s :varnullingrels (b) :varlevelsup 0 :varreturningtype 0 :varnosyn 1 :varattnosyn %1$s :location -1}',
        attnum, atttypid, atttypmod, attcollation)
    FROM pg_attribute WHERE attrelid = table_name AND attname = column_name
$$;
CREATE FUNCTION pg_catalog.column_to_column_name(table_name regclass, column_var_text text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT attname FROM pg_attribute WHERE attrelid = table_name AND attnum = substring(column_var_text FROM ':varattno (\d+)')::int
$$;

-- A list of names as SQL.
CREATE FUNCTION sharding.idents(names name[]) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(quote_ident(n), ', ' ORDER BY o) FROM unnest(names) WITH ORDINALITY u(n, o)
$$;

-- Is this table distributed ('h'), a reference table ('t'), only known to the metadata ('l')? NULL: none of them.
CREATE FUNCTION sharding.kind(relid oid) RETURNS "char" LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT (CASE WHEN partmethod = 'h' THEN 'h' WHEN repmodel = 't' THEN 't' ELSE 'l' END)::"char" FROM pg_dist_partition WHERE logicalrelid = relid
$$;

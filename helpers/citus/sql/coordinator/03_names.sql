-- Names, and small questions to the metadata.
--
-- A shard is a plain table on a worker: the table's name, an underscore, the shard's number. All
-- that belongs to it (constraints, indexes) is named in the same way. The other functions here are
-- look-ups that every later file uses: what kind of table is this, where do its shards stand?

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- names of shards
-- The name with a shard id: "products_102008". A name that passes 63 bytes with it is cut (never
-- inside a character) and carries its own hash instead, as with Citus: "…_202566d9_102013".
CREATE FUNCTION sharding.with_id(name text, shardid bigint) RETURNS name
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    tail text := '_' || shardid;
    room int := 64 - octet_length(tail) - 10;  -- 10: "_", eight hex digits, and the string's end
    cut text := name;
BEGIN
    IF octet_length(name) + octet_length(tail) < 64 THEN
        RETURN name || tail;
    END IF;
    WHILE octet_length(cut) > room LOOP
        cut := left(cut, -1);
    END LOOP;
    RETURN cut || '_' || lpad(to_hex(hashtext(name COLLATE "C")), 8, '0') || tail;
END $$;

-- For students: the shard's name, qualified unless its schema is public.
CREATE FUNCTION pg_catalog.shard_name(
    object_name regclass, shard_id bigint, skip_qualify_public boolean DEFAULT true
) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT CASE WHEN n.nspname = 'public' AND skip_qualify_public
                THEN quote_ident(sharding.with_id(c.relname, shard_id))
                ELSE format('%I.%I', n.nspname, sharding.with_id(c.relname, shard_id)) END
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = object_name
$$;

-- The shard's qualified name on a worker. It stands in the table's own schema there.
CREATE FUNCTION sharding.shard(relid oid, shardid bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', t.schemaname, sharding.with_id(t.relname, shardid))
    FROM sharding.table_name t
    WHERE t.relid = $1
$$;

-- The shard's name on any node. The coordinator keeps its copy of a reference table in the schema
-- "shards"; a local table that the metadata know of is its own only shard.
CREATE FUNCTION sharding.placement_name(relid oid, shardid bigint, groupid int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN groupid = 0 AND t.relid IS NULL
                THEN relid::regclass::text
                WHEN groupid = 0
                THEN format('shards.%I', sharding.with_id(t.relname, shardid))
                ELSE format('%I.%I', t.schemaname, sharding.with_id(t.relname, shardid)) END
    FROM (SELECT) one_row
    LEFT JOIN sharding.table_name t ON t.relid = $1
$$;

-- The coordinator's foreign table for a reference table's copy on a worker.
CREATE FUNCTION sharding.copy_name(shardid bigint, nodeid int) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT format('shards.%I', 'copy_' || shardid || '_on_' || nodeid)
$$;

-- ---------------------------------------------------------------- names of tables and columns
-- A table's bare name.
CREATE FUNCTION sharding.bare_name(rel oid) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT relname
    FROM pg_class
    WHERE oid = rel
$$;

-- A table's name with its schema.
CREATE FUNCTION sharding.qualified(rel regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
$$;

-- A list of names as SQL.
CREATE FUNCTION sharding.idents(names name[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(quote_ident(u.name), ', ' ORDER BY u.position)
    FROM unnest(names) WITH ORDINALITY u(name, position)
$$;

-- The attribute number of a distributed table's key.
CREATE FUNCTION sharding.key_column(relid oid) RETURNS int2
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT partattrs[0]
    FROM pg_partitioned_table
    WHERE partrelid = relid
$$;

-- pg_dist_partition.partkey is a node of a parse tree, as with Citus. These two translate.
CREATE FUNCTION pg_catalog.column_name_to_column(table_name regclass, column_name text)
RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT format(
        '{VAR :varno 1 :varattno %s :vartype %s :vartypmod %s :varcollid %s '
        ':varnullingrels (b) :varlevelsup 0 :varreturningtype 0 '
        ':varnosyn 1 :varattnosyn %1$s :location -1}',
        attnum, atttypid, atttypmod, attcollation)
    FROM pg_attribute
    WHERE attrelid = table_name
      AND attname = column_name
$$;

-- … and back.
CREATE FUNCTION pg_catalog.column_to_column_name(table_name regclass, column_var_text text)
RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT attname
    FROM pg_attribute
    WHERE attrelid = table_name
      AND attnum = substring(column_var_text FROM ':varattno (\d+)')::int
$$;

-- ---------------------------------------------------------------- questions to the metadata
-- Is this table distributed ('h'), a reference table ('t'), only known to the metadata ('l')?
-- NULL: none of them.
CREATE FUNCTION sharding.kind(relid oid) RETURNS "char"
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT (CASE WHEN partmethod = 'h' THEN 'h'
                 WHEN repmodel = 't' THEN 't'
                 ELSE 'l' END)::"char"
    FROM pg_dist_partition
    WHERE logicalrelid = relid
$$;

-- The workers that are in use, in the order in which shards are dealt out.
CREATE FUNCTION sharding.workers() RETURNS SETOF pg_catalog.pg_dist_node
LANGUAGE sql STABLE AS $$
    SELECT *
    FROM pg_catalog.pg_dist_node
    WHERE groupid <> 0
      AND isactive
    ORDER BY nodename COLLATE "C", nodeport
$$;

-- A table's shards on the workers: one row for each placement, with the name that it has there.
-- "first" marks the shard of the lowest hash values (a reference table has none).
CREATE FUNCTION sharding.worker_shards(rel oid)
RETURNS TABLE (shardid bigint, shard text, first boolean, nodeid int, groupid int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT s.shardid, format('%I.%I', t.schemaname, sharding.with_id(t.relname, s.shardid)),
        s.shardminvalue = '-2147483648', d.nodeid, d.groupid
    FROM pg_dist_shard s
    JOIN sharding.table_name t ON t.relid = s.logicalrelid
    JOIN pg_dist_placement p ON p.shardid = s.shardid
    JOIN pg_dist_node d ON d.groupid = p.groupid
    WHERE s.logicalrelid = rel
      AND d.groupid <> 0
    ORDER BY s.shardid, d.nodeid
$$;

-- A shard and those of the same range in the colocated tables, which stand on the same node.
CREATE FUNCTION sharding.colocated_shards(shard_id bigint) RETURNS SETOF pg_catalog.pg_dist_shard
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT peer.*
    FROM pg_dist_shard mine
    JOIN pg_dist_partition my_table ON my_table.logicalrelid = mine.logicalrelid
    JOIN pg_dist_partition peer_table ON peer_table.colocationid = my_table.colocationid
    JOIN pg_dist_shard peer ON peer.logicalrelid = peer_table.logicalrelid
        AND peer.shardminvalue = mine.shardminvalue
    WHERE mine.shardid = shard_id
    ORDER BY peer.shardid
$$;

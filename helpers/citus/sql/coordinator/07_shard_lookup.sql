-- Looking up shards: the hash of a value, the shard that has it, and the names of shards.
--
-- The hash is that of PostgreSQL's default hash function for the type. The hash values, from
-- -2147483648 to 2147483647, are divided into as many equal ranges as there are shards.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- from a value to its shard
-- Return the hash function of an operator class (its support function 1) as SQL.
CREATE FUNCTION sharding.hash_function(opclass oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', n.nspname, f.proname)
    FROM pg_opclass o
    JOIN pg_amproc support ON support.amprocfamily = o.opcfamily
        AND support.amproclefttype = o.opcintype
        AND support.amprocrighttype = o.opcintype
        AND support.amprocnum = 1
    JOIN pg_proc f ON f.oid = support.amproc
    JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE o.oid = opclass
$$;

-- Return the hash of a value, which decides on its shard.
CREATE FUNCTION pg_catalog.worker_hash(value anyelement) RETURNS int
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    hash_function text := sharding.hash_function(sharding.hash_opclass(pg_typeof(value)));
    hash int;
BEGIN
    IF hash_function IS NULL THEN
        RAISE EXCEPTION 'cannot find a hash function for the input type'
            USING ERRCODE = '0A000',
                  HINT = 'Cast input to a data type with a hash function.';
    END IF;
    EXECUTE format('SELECT %s($1)', hash_function)
        INTO hash
        USING value;
    RETURN hash;
END $$;

-- Return the hash of a value for one table, with the type and collation of its distribution column.
CREATE FUNCTION sharding.key_hash(relid oid, value text) RETURNS int
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    key record;
    hash int;
BEGIN
    SELECT a.atttypid, format_type(a.atttypid, a.atttypmod) AS type,
        quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS collation
    INTO key
    FROM pg_attribute a
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE a.attrelid = relid
      AND a.attnum = sharding.key_column(relid);
    EXECUTE format('SELECT %s(CAST($1 AS %s)%s)',
            sharding.hash_function(sharding.hash_opclass(key.atttypid)), key.type,
            coalesce(' COLLATE ' || key.collation, ''))
        INTO hash
        USING value;
    RETURN hash;
END $$;

-- Return the shard that has, or would have, the row with this key.
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(
    table_name regclass, distribution_value text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    method "char" := (SELECT partmethod FROM pg_dist_partition WHERE logicalrelid = table_name);
    hash int;
BEGIN
    IF method IS NULL THEN
        RAISE EXCEPTION 'relation is not distributed' USING ERRCODE = '42P16';
    ELSIF method = 'n' THEN
        RETURN (
            SELECT shardid
            FROM pg_dist_shard
            WHERE logicalrelid = table_name);
    ELSIF distribution_value IS NULL THEN
        RAISE EXCEPTION
            'distribution value cannot be NULL for tables other than reference tables.'
            USING ERRCODE = '22004';
    END IF;
    hash := sharding.key_hash(table_name, distribution_value);
    RETURN (
        SELECT shardid
        FROM pg_dist_shard
        WHERE logicalrelid = table_name
          AND hash BETWEEN shardminvalue::int AND shardmaxvalue::int);
END $$;

-- The same for a value of any type; the function above takes text.
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(
    table_name regclass, distribution_value anyelement
) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT get_shard_id_for_distribution_column(table_name, distribution_value::text)
$$;

-- ---------------------------------------------------------------- names of shards
-- Return the shard's name, qualified unless its schema is public.
CREATE FUNCTION pg_catalog.shard_name(
    object_name regclass, shard_id bigint, skip_qualify_public boolean DEFAULT true
) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT CASE WHEN n.nspname = 'public' AND skip_qualify_public
                THEN quote_ident(sharding.name_with_shard_id(c.relname, shard_id))
                ELSE format(
                    '%I.%I', n.nspname, sharding.name_with_shard_id(c.relname, shard_id)) END
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = object_name
$$;

-- Return the shard's name on a node. The coordinator's copy of a reference table is in the schema
-- "shards"; a local table that is listed in the metadata is its own only shard.
CREATE FUNCTION sharding.placement_name(relid oid, shardid bigint, groupid int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN groupid = 0 AND t.relid IS NULL
                THEN relid::regclass::text
                WHEN groupid = 0
                THEN format('shards.%I', sharding.name_with_shard_id(t.relname, shardid))
                ELSE format(
                    '%I.%I', t.schemaname, sharding.name_with_shard_id(t.relname, shardid)) END
    FROM (SELECT) one_row
    LEFT JOIN sharding.table_name t ON t.relid = $1
$$;

-- Return a shard and the shards with the same range in colocated tables, which are on its node.
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

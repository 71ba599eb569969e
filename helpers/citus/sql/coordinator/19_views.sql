-- The views of the cluster, and the sizes of shards and tables.
--
-- The views read the metadata. Sizes are not stored there: a query that selects them reads them
-- from the shards' nodes.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- sizes
-- Return the size of a shard on a node (by default the first that has it), by the size function
-- named in "how"; NULL if the node is unavailable.
CREATE FUNCTION sharding.placement_size(shard_id bigint, how text, on_group int DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    place record;
    query text;
    size bigint;
BEGIN
    SELECT d.nodeid, d.groupid,
        sharding.placement_name(s.logicalrelid, shard_id, d.groupid) AS name
    INTO place
    FROM pg_dist_shard s
    JOIN pg_dist_placement USING (shardid)
    JOIN pg_dist_node d USING (groupid)
    WHERE s.shardid = shard_id
      AND d.groupid = coalesce(on_group, d.groupid)
    ORDER BY d.groupid
    LIMIT 1;
    IF place.nodeid IS NULL THEN
        RETURN NULL;
    END IF;
    query := format('SELECT %I(%L::regclass)', how, place.name);
    IF place.groupid <> 0 THEN
        RETURN sharding.query_node(place.nodeid, query);
    END IF;
    EXECUTE query INTO size;
    RETURN size;
EXCEPTION WHEN connection_exception OR connection_failure
        OR sqlclient_unable_to_establish_sqlconnection THEN
    RETURN NULL;
END $$;

-- Return the size of a shard with its indexes.
CREATE FUNCTION sharding.shard_size(shard_id bigint) RETURNS bigint
LANGUAGE sql AS $$
    SELECT sharding.placement_size(shard_id, 'pg_total_relation_size')
$$;

-- Return the size of a table: the sum over all its placements.
CREATE FUNCTION sharding.table_size(rel regclass, how text) RETURNS bigint
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) IS NULL THEN
        RAISE EXCEPTION
            'cannot calculate the size because relation ''%'' is not distributed',
            sharding.bare_name(rel)
            USING ERRCODE = '42P16';
    END IF;
    RETURN (
        SELECT coalesce(sum(sharding.placement_size(p.shardid, how, p.groupid)), 0)
        FROM pg_dist_shard s
        JOIN pg_dist_placement p USING (shardid)
        WHERE s.logicalrelid = rel);
END $$;

-- Return the size of the rows.
CREATE FUNCTION pg_catalog.citus_relation_size(logicalrelid regclass) RETURNS bigint
LANGUAGE sql STRICT AS $$
    SELECT sharding.table_size(logicalrelid, 'pg_relation_size')
$$;

-- Return the size of the rows with long values stored out of line (TOAST), without indexes.
CREATE FUNCTION pg_catalog.citus_table_size(logicalrelid regclass) RETURNS bigint
LANGUAGE sql STRICT AS $$
    SELECT sharding.table_size(logicalrelid, 'pg_table_size')
$$;

-- Return the whole size, with indexes.
CREATE FUNCTION pg_catalog.citus_total_relation_size(
    logicalrelid regclass, fail_on_error boolean DEFAULT true
) RETURNS bigint
LANGUAGE sql STRICT AS $$
    SELECT sharding.table_size(logicalrelid, 'pg_total_relation_size')
$$;

-- Return the sizes of all placements.
CREATE FUNCTION pg_catalog.citus_shard_sizes(OUT shard_id int, OUT size bigint)
RETURNS SETOF record
LANGUAGE sql AS $$
    SELECT s.shardid::int, sharding.shard_size(s.shardid)
    FROM pg_catalog.pg_dist_shard s
    JOIN pg_catalog.pg_dist_placement p USING (shardid)
$$;

-- ---------------------------------------------------------------- views
-- Return a table's kind (see sharding.kind) as a word.
CREATE FUNCTION sharding.kind_name(rel oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE sharding.kind(rel)
           WHEN 'h' THEN 'distributed'
           WHEN 't' THEN 'reference'
           ELSE 'local' END
$$;

SET allow_system_table_mods = on;

-- One row for each table.
CREATE VIEW public.citus_tables AS
SELECT p.logicalrelid AS table_name,
    sharding.kind_name(p.logicalrelid) AS citus_table_type,
    coalesce(column_to_column_name(p.logicalrelid, p.partkey), '<none>') AS distribution_column,
    p.colocationid AS colocation_id,
    pg_size_pretty(citus_total_relation_size(p.logicalrelid)) AS table_size,
    (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid) AS shard_count,
    pg_get_userbyid(c.relowner) AS table_owner,
    'heap'::name AS access_method
FROM pg_dist_partition p
JOIN pg_class c ON c.oid = p.logicalrelid
ORDER BY p.logicalrelid::text;

-- One row for each placement of each shard.
CREATE VIEW pg_catalog.citus_shards AS
SELECT s.logicalrelid AS table_name,
    s.shardid,
    shard_name(s.logicalrelid, s.shardid) AS shard_name,
    sharding.kind_name(s.logicalrelid) AS citus_table_type,
    p.colocationid AS colocation_id,
    d.nodename,
    d.nodeport,
    sharding.shard_size(s.shardid) AS shard_size
FROM pg_dist_shard s
JOIN pg_dist_partition p ON p.logicalrelid = s.logicalrelid
JOIN pg_dist_placement pl ON pl.shardid = s.shardid
JOIN pg_dist_node d ON d.groupid = pl.groupid
ORDER BY s.logicalrelid::text, s.shardid;

-- One row for each node.
CREATE VIEW pg_catalog.citus_nodes AS
SELECT nodename,
    nodeport,
    CASE WHEN groupid = 0 THEN 'coordinator' ELSE 'worker' END AS role,
    isactive AS active
FROM pg_dist_node;

-- The node of each placement, by host name and port.
CREATE VIEW pg_catalog.pg_dist_shard_placement AS
SELECT p.shardid, p.shardstate, p.shardlength, d.nodename, d.nodeport, p.placementid
FROM pg_dist_placement p
JOIN pg_dist_node d ON d.groupid = p.groupid;

RESET allow_system_table_mods;

GRANT SELECT
ON public.citus_tables, pg_catalog.citus_shards, pg_catalog.citus_nodes,
    pg_catalog.pg_dist_shard_placement, pg_catalog.pg_dist_node, pg_catalog.pg_dist_partition,
    pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_colocation
TO PUBLIC;

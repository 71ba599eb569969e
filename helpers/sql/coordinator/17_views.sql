-- The views of the cluster, and sizes.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- sizes
-- Asked of the shard's node when a query wants them, and only then. A node that does not answer: NULL.
CREATE FUNCTION sharding.size_of(shard_id bigint, how text, on_group int DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE p record; size bigint;
BEGIN
    SELECT d.nodeid, d.groupid, sharding.placement_name(s.logicalrelid, shard_id, d.groupid) AS name INTO p
    FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid)
    WHERE s.shardid = shard_id AND d.groupid = coalesce(on_group, d.groupid) ORDER BY groupid LIMIT 1;
    IF p.nodeid IS NULL THEN RETURN NULL; END IF;
    IF p.groupid <> 0 THEN RETURN sharding.node_ask(p.nodeid, format('SELECT %I(%L::regclass)', how, p.name)); END IF;
    EXECUTE format('SELECT %I(%L::regclass)', how, p.name) INTO size;
    RETURN size;
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection OR connection_exception OR connection_failure THEN RETURN NULL;
END $$;
CREATE FUNCTION sharding.shard_size(shard_id bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT sharding.size_of(shard_id, 'pg_total_relation_size') $$;

CREATE FUNCTION sharding.table_size(rel regclass, how text) RETURNS bigint LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) IS NULL THEN
        RAISE EXCEPTION 'cannot calculate the size because relation ''%'' is not distributed', (SELECT relname FROM pg_class WHERE oid = rel) USING ERRCODE = '42P16';
    END IF;
    RETURN (SELECT coalesce(sum(sharding.size_of(p.shardid, how, p.groupid)), 0) FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) WHERE s.logicalrelid = rel);
END $$;
CREATE FUNCTION pg_catalog.citus_relation_size(logicalrelid regclass) RETURNS bigint LANGUAGE sql STRICT AS $$ SELECT sharding.table_size(logicalrelid, 'pg_relation_size') $$;
CREATE FUNCTION pg_catalog.citus_table_size(logicalrelid regclass) RETURNS bigint LANGUAGE sql STRICT AS $$ SELECT sharding.table_size(logicalrelid, 'pg_table_size') $$;
CREATE FUNCTION pg_catalog.citus_total_relation_size(logicalrelid regclass, fail_on_error boolean DEFAULT true) RETURNS bigint LANGUAGE sql STRICT AS $$ SELECT sharding.table_size(logicalrelid, 'pg_total_relation_size') $$;
CREATE FUNCTION pg_catalog.citus_shard_sizes(OUT shard_id int, OUT size bigint) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT s.shardid::int, sharding.shard_size(s.shardid) FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_placement p USING (shardid)
$$;

-- ---------------------------------------------------------------- views
SET allow_system_table_mods = on;
CREATE VIEW public.citus_tables AS
    SELECT p.logicalrelid AS table_name,
        CASE sharding.kind(p.logicalrelid) WHEN 'h' THEN 'distributed' WHEN 't' THEN 'reference' ELSE 'local' END AS citus_table_type,
        coalesce(column_to_column_name(p.logicalrelid, p.partkey), '<none>') AS distribution_column,
        p.colocationid AS colocation_id,
        pg_size_pretty(sharding.table_size(p.logicalrelid, 'pg_total_relation_size')) AS table_size,
        (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid) AS shard_count,
        pg_get_userbyid(c.relowner) AS table_owner,
        'heap'::name AS access_method
    FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid ORDER BY p.logicalrelid::text;

CREATE VIEW pg_catalog.citus_shards AS
    SELECT s.logicalrelid AS table_name, s.shardid, shard_name(s.logicalrelid, s.shardid) AS shard_name,
        CASE sharding.kind(s.logicalrelid) WHEN 'h' THEN 'distributed' WHEN 't' THEN 'reference' ELSE 'local' END AS citus_table_type,
        p.colocationid AS colocation_id, n.nodename, n.nodeport, sharding.shard_size(s.shardid) AS shard_size
    FROM pg_dist_shard s JOIN pg_dist_placement pl USING (shardid) JOIN pg_dist_node n USING (groupid)
    JOIN pg_dist_partition p ON p.logicalrelid = s.logicalrelid ORDER BY s.logicalrelid::text, s.shardid;

CREATE VIEW pg_catalog.citus_nodes AS
    SELECT nodename, nodeport, CASE WHEN groupid = 0 THEN 'coordinator' ELSE 'worker' END AS role, isactive AS active FROM pg_dist_node;

CREATE VIEW pg_catalog.pg_dist_shard_placement AS
    SELECT p.shardid, p.shardstate, p.shardlength, n.nodename, n.nodeport, p.placementid FROM pg_dist_placement p JOIN pg_dist_node n USING (groupid);
RESET allow_system_table_mods;
GRANT SELECT ON public.citus_tables, pg_catalog.citus_shards, pg_catalog.citus_nodes, pg_catalog.pg_dist_shard_placement, pg_catalog.pg_dist_node,
    pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_colocation TO PUBLIC;
RESET check_function_bodies;

-- Placing: which colocation group a table joins, and where its shards go.
--
-- Tables of one group have the same shard ranges on the same nodes; that is what keeps their
-- joins and foreign keys on one node. The first table of a group is dealt out to the workers in
-- turn, every later one follows it.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- colocation
-- The group that a table of this key type and shard count joins: the oldest that fits, or a new
-- one. A reference table, which has no key (type 0), is replicated to all nodes: factor -1.
CREATE FUNCTION sharding.colocation_group(
    shard_count int, key_type oid, key_collation oid, always_new boolean DEFAULT false
) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id int;
BEGIN
    IF NOT always_new THEN
        SELECT min(colocationid)
        INTO id
        FROM pg_dist_colocation
        WHERE shardcount = shard_count
          AND distributioncolumntype = key_type
          AND distributioncolumncollation = key_collation;
    END IF;
    IF id IS NULL THEN
        INSERT INTO pg_dist_colocation
        VALUES (nextval('pg_dist_colocationid_seq'), shard_count,
            CASE WHEN key_type = 0 THEN -1 ELSE 1 END, key_type, key_collation)
        RETURNING colocationid INTO id;
    END IF;
    RETURN id;
END $$;

-- May a table with this key join the other's group? Returns the group.
CREATE FUNCTION sharding.check_colocation(
    rel oid, key_type oid, key_collation oid, other regclass
) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    their_group pg_dist_colocation;
    mine name := sharding.bare_name(rel);
    theirs name := sharding.bare_name(other);
BEGIN
    SELECT c.*
    INTO their_group
    FROM pg_dist_partition p
    JOIN pg_dist_colocation c USING (colocationid)
    WHERE p.logicalrelid = other;
    IF their_group.colocationid IS NULL THEN
        RAISE EXCEPTION 'relation % is not distributed', theirs
            USING ERRCODE = 'XX000';
    ELSIF their_group.distributioncolumntype <> key_type THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', theirs, mine
            USING ERRCODE = 'XX000',
                  DETAIL = format('Distribution column types don''t match for %s and %s.',
                      theirs, mine);
    ELSIF their_group.distributioncolumncollation <> key_collation THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', theirs, mine
            USING ERRCODE = 'XX000',
                  DETAIL = format('Distribution column collations don''t match for %s and %s.',
                      theirs, mine);
    END IF;
    RETURN their_group.colocationid;
END $$;

-- ---------------------------------------------------------------- shards and placements
-- Write the shards of a table, and where they stand, into the metadata. Numbers are never given
-- back: so an attempt that meets a shard which a crash left on a worker fails, and the next one
-- takes other numbers.
CREATE FUNCTION sharding.place_shards(rel oid, shard_count int, colocation int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    lowest bigint := -2147483648;
    increment bigint := 4294967296 / shard_count;
    id bigint;
    peer oid := (
        SELECT logicalrelid
        FROM pg_dist_partition
        WHERE colocationid = colocation
          AND logicalrelid <> rel
          AND partmethod = 'h'
        ORDER BY logicalrelid
        LIMIT 1);
    peer_places int[] := ARRAY(
        SELECT groupid
        FROM pg_dist_shard
        JOIN pg_dist_placement USING (shardid)
        WHERE logicalrelid = peer
        ORDER BY shardminvalue::int);
    workers int[] := ARRAY(
        SELECT groupid
        FROM sharding.workers()
        WHERE shouldhaveshards);
BEGIN
    FOR i IN 0 .. shard_count - 1 LOOP
        id := nextval('pg_dist_shardid_seq');
        -- the last range takes what the division left over
        INSERT INTO pg_dist_shard
        VALUES (rel, id, 't', lowest + i * increment,
            CASE WHEN i = shard_count - 1
                 THEN 2147483647
                 ELSE lowest + (i + 1) * increment - 1 END);
        INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
        VALUES (id, 1, 0,
            CASE WHEN peer IS NULL
                 THEN workers[1 + i % cardinality(workers)]
                 ELSE peer_places[1 + i] END);
    END LOOP;
END $$;

-- Make the shards on the workers, from the record of the table's shape; one message to each worker.
CREATE FUNCTION sharding.create_shards(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    types text := coalesce(sharding.needed_types(rel), '');
    node record;
BEGIN
    FOR node IN
        SELECT s.nodeid,
            string_agg(sharding.create_shard(rel, s.shardid, s.first), '; ' ORDER BY s.shardid)
                AS commands
        FROM sharding.worker_shards(rel) s
        GROUP BY s.nodeid
    LOOP
        PERFORM sharding.node_run(node.nodeid, types || node.commands);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- the coordinator's side
-- Make one foreign table for each shard, as partition i of the table.
CREATE FUNCTION sharding.attach_shards(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    named sharding.table_name;
    shard record;
    shard_count int := (SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = rel);
    key name := (
        SELECT attname
        FROM pg_attribute
        WHERE attrelid = rel
          AND attnum = sharding.key_column(rel));
BEGIN
    SELECT *
    INTO named
    FROM sharding.table_name
    WHERE relid = rel;
    FOR shard IN
        SELECT sharding.with_id(named.relname, s.shardid) AS name, d.nodeid,
            row_number() OVER (ORDER BY s.shardminvalue::int) - 1 AS i
        FROM pg_dist_shard s
        JOIN pg_dist_placement USING (shardid)
        JOIN pg_dist_node d USING (groupid)
        WHERE s.logicalrelid = rel
    LOOP
        EXECUTE format(
            'CREATE FOREIGN TABLE shards.%I PARTITION OF %s
                 FOR VALUES WITH (MODULUS %s, REMAINDER %s)
                 SERVER %I OPTIONS (schema_name %L, table_name %L)',
            shard.name, rel::regclass, shard_count, shard.i,
            'worker_' || shard.nodeid, named.schemaname, shard.name);
        PERFORM sharding.assume_statistics('shards', shard.name, key, false);
    END LOOP;
    PERFORM sharding.assume_statistics(named.schemaname, named.relname, key, true);
END $$;

-- Tell the planner what to expect of a shard. Nobody analyzes foreign tables, and its guesses for
-- an unknown one keep joins on the coordinator. 1000 rows with keys that are mostly different are
-- few enough that postgres_fdw does not fear the join's cross product, and enough that carrying
-- rows is dear. ANALYZE replaces it by the truth.
CREATE FUNCTION sharding.assume_statistics(
    schemaname name, relname name, key name, inherited boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_restore_relation_stats(
        'schemaname', schemaname::text, 'relname', relname::text,
        'relpages', 10, 'reltuples', 1000::real);
    PERFORM pg_restore_attribute_stats(
        'schemaname', schemaname::text, 'relname', relname::text,
        'attname', key::text, 'inherited', inherited,
        'null_frac', 0::real, 'avg_width', 8, 'n_distinct', -0.75::real);
END $$;

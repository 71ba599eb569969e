-- The metadata: which tables are distributed, into which shards, on which nodes.
--
-- First the tables that Citus has, under Citus's names, so that a course's queries work. Then the
-- tables that only this engine needs. Then the functions that look something up in them, and the
-- functions that delete a table's metadata.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- sequences
SET allow_system_table_mods = on;  -- to create tables in pg_catalog, as Citus does

CREATE SEQUENCE pg_catalog.pg_dist_shardid_seq MINVALUE 102008;
CREATE SEQUENCE pg_catalog.pg_dist_placement_placementid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_colocationid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_node_nodeid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_groupid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_background_job_job_id_seq;

-- ---------------------------------------------------------------- Citus's tables
-- The nodes. In Citus a group is a node with its replicas; here it is a single node. Group 0 is
-- the coordinator.
CREATE TABLE pg_catalog.pg_dist_node (
    nodeid int PRIMARY KEY DEFAULT nextval('pg_dist_node_nodeid_seq'),
    groupid int NOT NULL DEFAULT nextval('pg_dist_groupid_seq'),
    nodename text NOT NULL,
    nodeport int NOT NULL DEFAULT 5432,
    noderack text NOT NULL DEFAULT 'default',
    hasmetadata boolean NOT NULL DEFAULT true,
    isactive boolean NOT NULL DEFAULT true,
    noderole noderole NOT NULL DEFAULT 'primary',
    nodecluster name NOT NULL DEFAULT 'default',
    metadatasynced boolean DEFAULT true,
    shouldhaveshards boolean NOT NULL DEFAULT true,
    nodeisclone boolean NOT NULL DEFAULT false,
    nodeprimarynodeid int NOT NULL DEFAULT 0,
    UNIQUE (nodename, nodeport)
);

-- The tables. partmethod is 'h' for a table distributed by hash, and 'n' for a reference table
-- (repmodel 't') and for a local table that is listed in the metadata (repmodel 's').
CREATE TABLE pg_catalog.pg_dist_partition (
    logicalrelid regclass PRIMARY KEY,
    partmethod "char" NOT NULL,
    partkey text,
    colocationid int NOT NULL DEFAULT 0,
    repmodel "char" NOT NULL DEFAULT 'c',
    autoconverted boolean DEFAULT false
);

-- The shards, each with its range of hash values.
CREATE TABLE pg_catalog.pg_dist_shard (
    logicalrelid regclass NOT NULL,
    shardid bigint PRIMARY KEY,
    shardstorage "char" NOT NULL,
    shardminvalue text,
    shardmaxvalue text
);
CREATE INDEX pg_dist_shard_logicalrelid_index ON pg_catalog.pg_dist_shard (logicalrelid);

-- The node of each shard; a reference table's shard has one row for each node.
CREATE TABLE pg_catalog.pg_dist_placement (
    placementid bigint PRIMARY KEY DEFAULT nextval('pg_dist_placement_placementid_seq'),
    shardid bigint NOT NULL,
    shardstate int NOT NULL,
    shardlength bigint NOT NULL,
    groupid int NOT NULL,
    UNIQUE (shardid, groupid)
);

-- Colocation groups: tables with the same shard ranges on the same nodes.
CREATE TABLE pg_catalog.pg_dist_colocation (
    colocationid int PRIMARY KEY,
    shardcount int NOT NULL,
    replicationfactor int NOT NULL,
    distributioncolumntype oid NOT NULL,
    distributioncolumncollation oid NOT NULL
);

-- Old placements that shard moves left on a node, to be dropped later.
CREATE TABLE pg_catalog.pg_dist_cleanup (
    record_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object_name text NOT NULL,
    node_group_id int NOT NULL,
    foreign_table oid  -- the shard's foreign table: sessions may still read through it
);

-- Rebalances started by citus_rebalance_start.
CREATE TABLE pg_catalog.pg_dist_background_job (
    job_id bigint PRIMARY KEY DEFAULT nextval('pg_dist_background_job_job_id_seq'),
    state citus_job_status NOT NULL DEFAULT 'scheduled',
    job_type name NOT NULL,
    description text NOT NULL,
    started_at timestamptz,
    finished_at timestamptz
);

-- Functions that give a shard its cost; 17_rebalance_plan.sql inserts the two strategies.
CREATE TABLE pg_catalog.pg_dist_rebalance_strategy (
    name name PRIMARY KEY,
    default_strategy boolean NOT NULL,
    shard_cost_function regproc NOT NULL,
    default_threshold real NOT NULL,
    minimum_threshold real NOT NULL,
    improvement_threshold real NOT NULL
);

RESET allow_system_table_mods;

-- ---------------------------------------------------------------- tables of this engine
-- The columns, constraints and indexes that the shards have now. After each DDL command the
-- catalogs are compared with this table, and the shards get commands for the differences. So no
-- command's text has to be parsed.
CREATE TABLE sharding.shard_object (
    relid oid NOT NULL,
    kind "char" NOT NULL,           -- c column, n not null, k constraint, i index;
                                    -- K and I: on the coordinator's copy of a reference table
    objid oid NOT NULL,             -- attribute number, or the object's own OID
    name text NOT NULL,
    definition text NOT NULL,       -- of an index: U or a blank, then the text after the table name
    suffixed boolean NOT NULL,      -- whether the name on a shard ends with the shard id
    PRIMARY KEY (relid, kind, objid)
);

-- The types that workers have, in the same form: a type changed by ALTER TYPE, ALTER DOMAIN or
-- ALTER SCHEMA is changed there too. A worker has the types of the tables that it has shards of.
CREATE TABLE sharding.type_part (
    typid oid NOT NULL,
    kind "char" NOT NULL,           -- t the type itself, e enum label, a attribute of a composite
                                    -- type, k constraint of a domain, n its NOT NULL
    objid oid NOT NULL,             -- the part's own OID, or the attribute's number
    name text NOT NULL,
    definition text NOT NULL,
    PRIMARY KEY (typid, kind, objid)
);

-- The schema and name from which the shards' present names were derived.
CREATE TABLE sharding.table_name (
    relid oid PRIMARY KEY,
    schemaname name NOT NULL,
    relname name NOT NULL
);

-- Foreign keys from or to a distributed table. The coordinator cannot declare them, because a table
-- with foreign partitions has no unique index to refer to. They are stored here and declared on
-- the shards.
CREATE TABLE sharding.foreign_key (
    conname name NOT NULL,
    conrelid oid NOT NULL,
    confrelid oid NOT NULL,
    columns name[] NOT NULL,
    refcolumns name[] NOT NULL,
    actions text NOT NULL,          -- the text after the column list: ON DELETE, DEFERRABLE, …
    onshards boolean NOT NULL,      -- false while the referencing table is local
    PRIMARY KEY (conrelid, conname)
);

-- ---------------------------------------------------------------- look-ups
-- Return a table's kind: 'h' distributed by hash, 't' reference table, 'l' local table listed in
-- the metadata, NULL not listed.
CREATE FUNCTION sharding.kind(relid oid) RETURNS "char"
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT (CASE WHEN partmethod = 'h' THEN 'h'
                 WHEN repmodel = 't' THEN 't'
                 ELSE 'l' END)::"char"
    FROM pg_dist_partition
    WHERE logicalrelid = relid
$$;

-- Return the active workers in the order in which shards are placed on them.
CREATE FUNCTION sharding.workers() RETURNS SETOF pg_catalog.pg_dist_node
LANGUAGE sql STABLE AS $$
    SELECT *
    FROM pg_catalog.pg_dist_node
    WHERE groupid <> 0
      AND isactive
    ORDER BY nodename COLLATE "C", nodeport
$$;

-- Return a table's placements on workers, with the shard's name there. "first" is true for the
-- shard with the lowest hash values, and NULL for a reference table.
CREATE FUNCTION sharding.worker_shards(rel oid)
RETURNS TABLE (shardid bigint, shard text, first boolean, nodeid int, groupid int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT s.shardid,
        format('%I.%I', t.schemaname, sharding.name_with_shard_id(t.relname, s.shardid)),
        s.shardminvalue = '-2147483648', d.nodeid, d.groupid
    FROM pg_dist_shard s
    JOIN sharding.table_name t ON t.relid = s.logicalrelid
    JOIN pg_dist_placement p ON p.shardid = s.shardid
    JOIN pg_dist_node d ON d.groupid = p.groupid
    WHERE s.logicalrelid = rel
      AND d.groupid <> 0
    ORDER BY s.shardid, d.nodeid
$$;

-- Return the attribute number of a distributed table's distribution column.
CREATE FUNCTION sharding.key_column(relid oid) RETURNS int2
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT partattrs[0]
    FROM pg_partitioned_table
    WHERE partrelid = relid
$$;

-- Return a table's name without its schema.
CREATE FUNCTION sharding.bare_name(rel oid) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT relname
    FROM pg_class
    WHERE oid = rel
$$;

-- Return a table's name with its schema.
CREATE FUNCTION sharding.qualified_name(rel regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
$$;

-- Return quoted names, separated by commas.
CREATE FUNCTION sharding.name_list(names name[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(quote_ident(u.name), ', ' ORDER BY u.position)
    FROM unnest(names) WITH ORDINALITY u(name, position)
$$;

-- Return a name with a shard id, such as "products_102008". As in Citus, a name that would exceed
-- 63 bytes is cut at a character and gets its own hash: "…_202566d9_102013".
CREATE FUNCTION sharding.name_with_shard_id(name text, shardid bigint) RETURNS name
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    tail text := '_' || shardid;
    room int := 64 - octet_length(tail) - 10;  -- 10: "_", eight hex digits, the terminating byte
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

-- Return the qualified name of a shard on a worker. It is in the table's own schema there.
CREATE FUNCTION sharding.shard_table(relid oid, shardid bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', t.schemaname, sharding.name_with_shard_id(t.relname, shardid))
    FROM sharding.table_name t
    WHERE t.relid = $1
$$;

-- Return the name of the coordinator's foreign table for a reference table's copy on a worker.
CREATE FUNCTION sharding.copy_name(shardid bigint, nodeid int) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT format('shards.%I', 'copy_' || shardid || '_on_' || nodeid)
$$;

-- Return a column as a node of a parse tree, as Citus stores it in pg_dist_partition.partkey.
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

-- Return the column name of such a node.
CREATE FUNCTION pg_catalog.column_to_column_name(table_name regclass, column_var_text text)
RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog AS $$
    SELECT attname
    FROM pg_attribute
    WHERE attrelid = table_name
      AND attnum = substring(column_var_text FROM ':varattno (\d+)')::int
$$;

-- ---------------------------------------------------------------- deleting metadata
-- Delete the colocation groups that have no table left.
CREATE FUNCTION sharding.drop_empty_groups() RETURNS void
LANGUAGE sql SET search_path = pg_catalog AS $$
    DELETE FROM pg_dist_colocation c
    WHERE NOT EXISTS (
        SELECT
        FROM pg_dist_partition p
        WHERE p.colocationid = c.colocationid)
$$;

-- Delete a table's rows from the metadata, and the foreign tables for its copies.
CREATE FUNCTION sharding.remove_metadata(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    copy_table text;
BEGIN
    FOR copy_table IN
        SELECT sharding.copy_name(s.shardid, s.nodeid)
        FROM sharding.worker_shards(rel) s
        WHERE sharding.kind(rel) = 't'
    LOOP
        EXECUTE 'DROP FOREIGN TABLE IF EXISTS ' || copy_table;
    END LOOP;
    DELETE FROM pg_dist_placement p
    USING pg_dist_shard s
    WHERE s.shardid = p.shardid
      AND s.logicalrelid = rel;
    DELETE FROM pg_dist_shard
    WHERE logicalrelid = rel;
    DELETE FROM pg_dist_partition
    WHERE logicalrelid = rel;
    DELETE FROM sharding.shard_object
    WHERE relid = rel;
    DELETE FROM sharding.table_name
    WHERE relid = rel;
    PERFORM sharding.drop_empty_groups();
END $$;

-- Delete a local table's rows from the metadata before it is distributed.
CREATE FUNCTION sharding.remove_local_metadata(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) = 'l' THEN
        PERFORM sharding.remove_metadata(rel);
    END IF;
END $$;

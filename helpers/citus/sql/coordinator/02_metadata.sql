-- The metadata: which tables are distributed, into which shards, on which nodes.
--
-- The first part has the tables that Citus has, under Citus's names, so that the queries of a
-- course work. The second part is what this engine must remember beside them: how the shards
-- look, and the foreign keys that only the shards can hold.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- numbers
SET allow_system_table_mods = on;  -- these live in pg_catalog, as with Citus

CREATE SEQUENCE pg_catalog.pg_dist_shardid_seq MINVALUE 102008;
CREATE SEQUENCE pg_catalog.pg_dist_placement_placementid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_colocationid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_node_nodeid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_groupid_seq;
CREATE SEQUENCE pg_catalog.pg_dist_background_job_job_id_seq;

-- ---------------------------------------------------------------- Citus's tables
-- The nodes. A group is a node with its replicas; here it is one node. Group 0: the coordinator.
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

-- The tables. partmethod 'h' is distributed by hash; 'n' is a reference table where repmodel is
-- 't', else a local table that the metadata know of.
CREATE TABLE pg_catalog.pg_dist_partition (
    logicalrelid regclass PRIMARY KEY,
    partmethod "char" NOT NULL,
    partkey text,
    colocationid int NOT NULL DEFAULT 0,
    repmodel "char" NOT NULL DEFAULT 'c',
    autoconverted boolean DEFAULT false
);

-- The shards, each with the range of hash values that it holds.
CREATE TABLE pg_catalog.pg_dist_shard (
    logicalrelid regclass NOT NULL,
    shardid bigint PRIMARY KEY,
    shardstorage "char" NOT NULL,
    shardminvalue text,
    shardmaxvalue text
);
CREATE INDEX pg_dist_shard_logicalrelid_index ON pg_catalog.pg_dist_shard (logicalrelid);

-- Where each shard stands.
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

-- Old placements that moves left behind, to be dropped later.
CREATE TABLE pg_catalog.pg_dist_cleanup (
    record_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object_name text NOT NULL,
    node_group_id int NOT NULL,
    foreign_table oid  -- the shard's foreign table: who still reads through it?
);

-- Rebalances that were started "in the background".
CREATE TABLE pg_catalog.pg_dist_background_job (
    job_id bigint PRIMARY KEY DEFAULT nextval('pg_dist_background_job_job_id_seq'),
    state citus_job_status NOT NULL DEFAULT 'scheduled',
    job_type name NOT NULL,
    description text NOT NULL,
    started_at timestamptz,
    finished_at timestamptz
);

-- Ways to say what a shard weighs; 21 has the two that there are.
CREATE TABLE pg_catalog.pg_dist_rebalance_strategy (
    name name PRIMARY KEY,
    default_strategy boolean NOT NULL,
    shard_cost_function regproc NOT NULL,
    default_threshold real NOT NULL,
    minimum_threshold real NOT NULL,
    improvement_threshold real NOT NULL
);

RESET allow_system_table_mods;

-- ---------------------------------------------------------------- what the shards look like
-- The shards' present shape, object by object. After any DDL the catalogs are compared with it,
-- and the difference is what the shards are told. So nothing has to be learned from the text of
-- a command.
CREATE TABLE sharding.shard_object (
    relid oid NOT NULL,
    kind "char" NOT NULL,           -- c column, n not null, k constraint, i index;
                                    -- K and I: stand on the copies of a reference table only
    objid oid NOT NULL,             -- attribute number, or the object's own OID
    name text NOT NULL,
    definition text NOT NULL,       -- of an index: U or a blank, then what follows the table's name
    suffixed boolean NOT NULL,      -- does the shard id follow the name?
    PRIMARY KEY (relid, kind, objid)
);

-- The name under which the shards were last named.
CREATE TABLE sharding.table_name (
    relid oid PRIMARY KEY,
    schemaname name NOT NULL,
    relname name NOT NULL
);

-- Foreign keys that touch a distributed table. The coordinator cannot declare them: a table whose
-- partitions are foreign has no unique index to refer to. So they are kept here, and stand on the
-- shards.
CREATE TABLE sharding.foreign_key (
    conname name NOT NULL,
    conrelid oid NOT NULL,
    confrelid oid NOT NULL,
    columns name[] NOT NULL,
    refcolumns name[] NOT NULL,
    actions text NOT NULL,          -- all that follows the column list: ON DELETE, DEFERRABLE, …
    onshards boolean NOT NULL,      -- false while the referencing table is still local
    PRIMARY KEY (conrelid, conname)
);

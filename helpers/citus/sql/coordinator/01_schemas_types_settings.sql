-- Schemas, extensions, types and settings of the teaching cluster.
--
-- These scripts are not Citus. They use plain PostgreSQL (declarative hash partitioning and
-- postgres_fdw) so that the SQL of a Citus course returns the same results and stores the same
-- rows in the same shards. Each file covers one subject; they are loaded in the order of their
-- numbers.
--   sharding        the internal functions and tables
--   shards          the coordinator's foreign tables, one for each shard; \d does not list them
--   sharding_aside  holds a table while its replacement is built; empty between transactions
--   pg_catalog      the functions and tables that users call, where Citus has them too

SET check_function_bodies = off;  -- functions may call functions of later files

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RAISE EXCEPTION 'this database has genuine Citus and does not need these scripts'
            USING ERRCODE = 'XX000';
    ELSIF to_regnamespace('sharding') IS NOT NULL THEN
        RAISE EXCEPTION 'the scripts are already loaded in database "%"', current_database()
            USING ERRCODE = 'XX000',
                  HINT = 'Create a new database to load them again.';
    END IF;
END $$;

CREATE SCHEMA sharding;
CREATE SCHEMA sharding_aside;
CREATE SCHEMA shards;
CREATE SCHEMA citus;  -- holds the two types below, which Citus has in this schema
CREATE EXTENSION postgres_fdw SCHEMA sharding;
CREATE EXTENSION dblink SCHEMA sharding;

-- ---------------------------------------------------------------- types
CREATE TYPE citus.distribution_type AS ENUM ('hash', 'range', 'append');
CREATE TYPE citus.shard_transfer_mode AS ENUM ('auto', 'force_logical', 'block_writes');
CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary', 'unavailable');
CREATE TYPE pg_catalog.citus_job_status AS ENUM
    ('scheduled', 'running', 'finished', 'cancelling', 'cancelled', 'failing', 'failed');

-- ---------------------------------------------------------------- settings
-- The settings are stored with the database, so every new session has them. Open sessions do not
-- see them, this one included; set_config applies them here.
DO $$
DECLARE
    setting record;
BEGIN
    FOR setting IN
        SELECT *
        FROM (VALUES
            ('citus.shard_count', '32'),
            ('citus.shard_replication_factor', '1'),
            ('citus.enable_repartition_joins', 'off'),
            ('citus.explain_all_tasks', 'off'),
            -- join colocated tables shard by shard, on the workers
            ('enable_partitionwise_join', 'on'),
            ('enable_partitionwise_aggregate', 'on'),
            -- network costs make plans look expensive; compiling them would only slow them down
            ('jit', 'off')
        ) v(name, value)
    LOOP
        EXECUTE format('ALTER DATABASE %I SET %s = %L',
            current_database(), setting.name, setting.value);
        PERFORM set_config(setting.name, setting.value, false);
    END LOOP;
END $$;

-- Return the name and version of this engine, which does not claim to be Citus.
CREATE FUNCTION pg_catalog.citus_version() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT 'Teaching part for sharding (not Citus): PostgreSQL '
        || current_setting('server_version')
        || ', hash partitions over postgres_fdw'
$$;

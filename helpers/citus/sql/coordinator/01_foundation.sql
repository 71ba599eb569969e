-- The ground: schemas, extensions, types and settings.
--
-- This is a teaching part, not Citus. It is plain PostgreSQL, declarative hash partitioning and
-- postgres_fdw, arranged so that the SQL of a Citus course gives the same answers and puts the
-- same rows into the same shards. Read the files in order; each one holds one idea.
--   sharding        what this part is made of
--   shards          the coordinator's side of every shard (foreign tables), out of the way of \d
--   sharding_aside  where a table waits while its successor is built; empty between transactions
--   pg_catalog      the functions and tables that a student calls, where Citus has them too

SET check_function_bodies = off;  -- functions of later files are named here

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RAISE EXCEPTION 'this database has genuine Citus; the teaching part is not needed'
            USING ERRCODE = 'XX000';
    ELSIF to_regnamespace('sharding') IS NOT NULL THEN
        RAISE EXCEPTION 'the teaching part is already loaded in database "%"', current_database()
            USING ERRCODE = 'XX000',
                  HINT = 'Make a new database to load it again.';
    END IF;
END $$;

CREATE SCHEMA sharding;
CREATE SCHEMA sharding_aside;
CREATE SCHEMA shards;
CREATE SCHEMA citus;  -- only for the names of two types below
CREATE EXTENSION postgres_fdw SCHEMA sharding;
CREATE EXTENSION dblink SCHEMA sharding;

-- ---------------------------------------------------------------- types
CREATE TYPE citus.distribution_type AS ENUM ('hash', 'range', 'append');
CREATE TYPE citus.shard_transfer_mode AS ENUM ('auto', 'force_logical', 'block_writes');
CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary', 'unavailable');
CREATE TYPE pg_catalog.citus_job_status AS ENUM
    ('scheduled', 'running', 'finished', 'cancelling', 'cancelled', 'failing', 'failed');

-- ---------------------------------------------------------------- settings
-- The settings are kept with the database, so that every new session has them. A session that is
-- already open, this one too, would not notice: hence the set_config.
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
            -- network costs make plans look heavy; compiling them would only slow them down
            ('jit', 'off')
        ) v(name, value)
    LOOP
        EXECUTE format('ALTER DATABASE %I SET %s = %L',
            current_database(), setting.name, setting.value);
        PERFORM set_config(setting.name, setting.value, false);
    END LOOP;
END $$;

-- The name and version of this engine. It never claims to be Citus.
CREATE FUNCTION pg_catalog.citus_version() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT 'Teaching part for sharding (not Citus): PostgreSQL '
        || current_setting('server_version')
        || ', hash partitions over postgres_fdw'
$$;

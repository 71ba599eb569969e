-- The event triggers: what runs before a DDL command, after it, and when something was dropped.
--
-- They call the functions of 12_ddl_on_shards.sql and 13_ddl_stand_ins.sql, and do nothing for the
-- DDL of these scripts.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- before a command
-- Refuse a command that PostgreSQL would refuse without saying what to do instead, or that would
-- change the coordinator's table but not the shards.
CREATE FUNCTION sharding.check_ddl() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    command text := sharding.statement_text('\m(only|using)\M');
    rel oid;
BEGIN
    -- with ONLY, PostgreSQL changes a partitioned table's defaults and owner as without
    IF command = '' OR command ~* '\malter\s+table\M.*\m((set|drop)\s+default|owner\s+to)\M' THEN
        RETURN;
    END IF;
    FOR rel IN
        SELECT relid
        FROM sharding.table_name
    LOOP
        PERFORM sharding.check_query(rel);
        IF command ~* ('\malter\s+table\s+(if\s+exists\s+)?' || sharding.name_pattern(rel)
            || '[^;]*\mtype\M[^;]*\musing\M')
        THEN
            RAISE EXCEPTION 'the teaching cluster does not support ALTER COLUMN … TYPE … USING on '
                'table "%"; genuine Citus does', sharding.bare_name(rel)
                USING ERRCODE = '0A000',
                      HINT = 'Add a column, set it with UPDATE, then drop the old column and '
                          'rename the new one.';
        END IF;
    END LOOP;
END $$;

-- Check the command. If it may declare or drop a key, create stand-ins.
CREATE FUNCTION sharding.on_ddl_start() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    about_keys text := '\m(references|unique|primary\s+key|exclude|drop\s+constraint)\M';
BEGIN
    IF sharding.is_internal_ddl() THEN
        RETURN;
    ELSIF current_query() ~* about_keys AND TG_TAG LIKE ANY (ARRAY['%TABLE', '%INDEX']) THEN
        PERFORM sharding.create_stand_ins();
    ELSE
        PERFORM sharding.check_ddl();
    END IF;
END $$;

CREATE EVENT TRIGGER sharding_ddl_start ON ddl_command_start
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE INDEX',
                 -- a query that is stored is planned later, and its text is not known then
                 'CREATE VIEW', 'CREATE MATERIALIZED VIEW', 'CREATE RULE', 'CREATE POLICY',
                 'ALTER POLICY', 'CREATE FUNCTION', 'CREATE PROCEDURE')
    EXECUTE FUNCTION sharding.on_ddl_start();

-- ---------------------------------------------------------------- after a command
-- Add local tables with a foreign key to a reference table to the metadata, as Citus does.
CREATE FUNCTION sharding.register_local_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    rel oid;
    id bigint;
BEGIN
    FOR rel IN
        SELECT DISTINCT k.conrelid
        FROM pg_constraint k
        JOIN pg_dist_partition p ON p.logicalrelid = k.confrelid
            AND p.repmodel = 't'
        WHERE k.contype = 'f'
          AND k.conparentid = 0
          AND sharding.kind(k.conrelid) IS NULL
          AND EXISTS (SELECT FROM pg_dist_node WHERE groupid = 0)
    LOOP
        id := nextval('pg_dist_shardid_seq');
        INSERT INTO pg_dist_partition
        VALUES (rel, 'n', NULL, 0, 's', true);
        INSERT INTO pg_dist_shard
        VALUES (rel, id, 't', NULL, NULL);
        INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
        VALUES (id, 1, 0, 0);
    END LOOP;
END $$;

-- Replace the stand-ins, then change the shards.
CREATE FUNCTION sharding.on_ddl_end() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    was_internal boolean;
BEGIN
    IF sharding.is_internal_ddl() THEN
        RETURN;
    END IF;
    PERFORM sharding.apply_stand_ins();
    IF TG_TAG = 'CREATE TRIGGER' AND EXISTS (
        SELECT
        FROM pg_event_trigger_ddl_commands() created
        JOIN pg_trigger t ON t.oid = created.objid
        WHERE created.classid = 'pg_trigger'::regclass
          AND sharding.kind(t.tgrelid) = 'h')
    THEN
        RAISE EXCEPTION 'triggers are not supported on distributed tables'
            USING ERRCODE = 'XX000';
    END IF;
    was_internal := sharding.set_internal_ddl(true);
    PERFORM sharding.sync_types();
    PERFORM sharding.sync_shards();
    PERFORM sharding.register_local_tables();
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

CREATE EVENT TRIGGER sharding_ddl_end ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE INDEX', 'ALTER INDEX', 'DROP INDEX',
                 'CREATE TRIGGER', 'ALTER SCHEMA', 'ALTER TYPE', 'ALTER DOMAIN', 'ALTER EXTENSION',
                 -- with CASCADE, these can drop columns, constraints and indexes
                 'DROP TYPE', 'DROP DOMAIN', 'DROP EXTENSION', 'DROP SCHEMA', 'DROP FUNCTION',
                 'DROP COLLATION', 'DROP OWNED')
    EXECUTE FUNCTION sharding.on_ddl_end();

-- ---------------------------------------------------------------- after a DROP
-- Refuse DROP without CASCADE if a stored foreign key refers to the table, as PostgreSQL does for a
-- declared one.
CREATE FUNCTION sharding.check_drop(dropped_tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    blocked record;
BEGIN
    IF current_query() ~* '\mcascade\M' THEN
        RETURN;
    END IF;
    WITH dropped AS (
        SELECT objid,
            CASE WHEN schema_name = 'public'
                 THEN quote_ident(object_name)
                 ELSE object_identity END AS name
        FROM pg_event_trigger_dropped_objects()
        WHERE object_type = 'table'
          AND objsubid = 0
    )
    SELECT max(dropped.name) AS name,
        string_agg(
            format('constraint %s on table %s depends on table %s',
                k.conname, k.conrelid::regclass, dropped.name),
            E'\n' ORDER BY k.conrelid) AS detail
    INTO blocked
    FROM dropped
    JOIN sharding.foreign_key k ON k.confrelid = dropped.objid
    WHERE NOT k.conrelid = ANY (dropped_tables);
    IF blocked.detail IS NOT NULL THEN
        RAISE EXCEPTION 'cannot drop table % because other objects depend on it', blocked.name
            USING ERRCODE = '2BP01',
                  DETAIL = regexp_replace(blocked.detail, 'on table public\.', 'on table ', 'g'),
                  HINT = 'Use DROP ... CASCADE to drop the dependent objects too.';
    END IF;
END $$;

-- Drop the dropped types, or their extension, on the workers. Columns of these types were dropped
-- here, and so are dropped there.
CREATE FUNCTION sharding.drop_types() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    commands text;
BEGIN
    WITH dropped AS (
        SELECT objid, objsubid, object_type, object_name
        FROM pg_event_trigger_dropped_objects()
    ), known AS (
        DELETE FROM sharding.type_part
        WHERE typid IN (SELECT objid FROM dropped)
        RETURNING *
    )
    SELECT string_agg(
        coalesce(
            (SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', object_name)
             FROM dropped
             WHERE object_type = 'extension'),
            format('DROP TYPE IF EXISTS %I.%I CASCADE', definition, name)), '; ')
    INTO commands
    FROM known
    WHERE kind = 't';
    PERFORM sharding.run_on_node(nodeid, commands)
    FROM sharding.workers()
    WHERE commands IS NOT NULL;
END $$;

-- Drop the shards of a dropped table, and a dropped type on the workers.
CREATE FUNCTION sharding.on_drop() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    dropped_tables oid[];
    rel oid;
    was_internal boolean;
BEGIN
    IF sharding.is_internal_ddl() THEN
        RETURN;
    END IF;
    was_internal := sharding.set_internal_ddl(true);
    dropped_tables := ARRAY(
        SELECT objid
        FROM pg_event_trigger_dropped_objects()
        WHERE object_type = 'table'
          AND objsubid = 0);
    PERFORM sharding.check_drop(dropped_tables);
    FOREACH rel IN ARRAY dropped_tables LOOP
        DELETE FROM sharding.foreign_key
        WHERE rel IN (conrelid, confrelid);
        IF sharding.kind(rel) IS NOT NULL THEN
            PERFORM sharding.drop_shards(rel);
        END IF;
    END LOOP;
    PERFORM sharding.drop_types();
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

CREATE EVENT TRIGGER sharding_drop ON sql_drop
    EXECUTE FUNCTION sharding.on_drop();

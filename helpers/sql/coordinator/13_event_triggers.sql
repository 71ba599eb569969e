-- The event triggers: before a command, after it, and when something was dropped.

SET check_function_bodies = off;  -- functions of later files are named here

-- A local table with a foreign key to a reference table becomes known to the metadata, as with Citus.
CREATE FUNCTION sharding.know_local_tables() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t oid; id bigint;
BEGIN
    FOR t IN SELECT DISTINCT conrelid FROM pg_constraint k JOIN pg_dist_partition p ON p.logicalrelid = k.confrelid AND p.repmodel = 't'
             WHERE k.contype = 'f' AND k.conparentid = 0 AND sharding.kind(k.conrelid) IS NULL AND EXISTS (SELECT FROM pg_dist_node WHERE groupid = 0) LOOP
        id := nextval('pg_dist_shardid_seq');
        INSERT INTO pg_dist_partition VALUES (t, 'n', NULL, 0, 's', true);
        INSERT INTO pg_dist_shard VALUES (t, id, 't', NULL, NULL);
        INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid) VALUES (id, 1, 0, 0);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- before
CREATE FUNCTION sharding.on_ddl_start() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.is_busy() THEN RETURN; END IF;
    IF current_query() ~* '\m(references|unique|primary\s+key|exclude|drop\s+constraint)\M' THEN PERFORM sharding.put_stand_ins(); END IF;
END $$;
CREATE EVENT TRIGGER sharding_ddl_start ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE INDEX')
    EXECUTE FUNCTION sharding.on_ddl_start();

-- ---------------------------------------------------------------- after
CREATE FUNCTION sharding.on_ddl_end() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE was text;
BEGIN
    IF sharding.is_busy() THEN RETURN; END IF;
    PERFORM sharding.take_stand_ins();
    IF TG_TAG = 'CREATE TRIGGER' AND EXISTS (SELECT FROM pg_event_trigger_ddl_commands() e JOIN pg_trigger t ON t.oid = e.objid AND e.classid = 'pg_trigger'::regclass
                                             WHERE sharding.kind(t.tgrelid) = 'h') THEN
        RAISE EXCEPTION 'triggers are not supported on distributed tables' USING ERRCODE = 'XX000';
    END IF;
    was := sharding.busy(true);
    PERFORM sharding.sync_shards();
    PERFORM sharding.know_local_tables();
    PERFORM sharding.busy(was::boolean);
END $$;
CREATE EVENT TRIGGER sharding_ddl_end ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE INDEX', 'ALTER INDEX', 'DROP INDEX', 'CREATE TRIGGER', 'ALTER SCHEMA')
    EXECUTE FUNCTION sharding.on_ddl_end();

-- ---------------------------------------------------------------- dropped
-- The shards go with the table. A foreign key on record stops a DROP without CASCADE, as PostgreSQL's own would.
CREATE FUNCTION sharding.on_drop() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE gone oid[]; t oid; blocked record; fk sharding.foreign_key; was text;
BEGIN
    IF sharding.is_busy() THEN RETURN; END IF;
    gone := ARRAY(SELECT objid FROM pg_event_trigger_dropped_objects() WHERE object_type = 'table' AND objsubid = 0);
    was := sharding.busy(true);
    SELECT max(x.object_identity) AS identity, string_agg(format('constraint %s on table %s depends on table %s', k.conname, k.conrelid::regclass,
               CASE WHEN x.schema_name = 'public' THEN quote_ident(x.object_name) ELSE x.object_identity END), E'\n' ORDER BY k.conrelid) AS detail,
           max(CASE WHEN x.schema_name = 'public' THEN quote_ident(x.object_name) ELSE x.object_identity END) AS name
    INTO blocked FROM pg_event_trigger_dropped_objects() x JOIN sharding.foreign_key k ON k.confrelid = x.objid
    WHERE x.object_type = 'table' AND x.objsubid = 0 AND NOT k.conrelid = ANY (gone) AND current_query() !~* '\mcascade\M';
    IF blocked.detail IS NOT NULL THEN
        RAISE EXCEPTION 'cannot drop table % because other objects depend on it', blocked.name USING ERRCODE = '2BP01',
            DETAIL = regexp_replace(blocked.detail, 'on table public\.', 'on table ', 'g'), HINT = 'Use DROP ... CASCADE to drop the dependent objects too.';
    END IF;
    FOREACH t IN ARRAY gone LOOP
        DELETE FROM sharding.foreign_key WHERE t IN (conrelid, confrelid);
        IF sharding.kind(t) IS NOT NULL THEN PERFORM sharding.drop_shards(t); END IF;
    END LOOP;
    PERFORM sharding.busy(was::boolean);
END $$;
CREATE EVENT TRIGGER sharding_drop ON sql_drop EXECUTE FUNCTION sharding.on_drop();

-- TRUNCATE reaches the shards by itself (postgres_fdw does it); only the foreign keys must be looked at.
CREATE FUNCTION sharding.check_truncate() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE other name;
BEGIN
    SELECT c.relname INTO other FROM sharding.foreign_key k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.confrelid = TG_RELID AND k.conrelid <> TG_RELID AND strpos(lower(current_query()), lower(c.relname)) = 0 ORDER BY k.conrelid LIMIT 1;
    IF other IS NOT NULL AND current_query() !~* '\mcascade\M' THEN
        RAISE EXCEPTION 'cannot truncate a table referenced in a foreign key constraint' USING ERRCODE = '0A000',
            DETAIL = format('Table "%s" references "%s".', other, TG_TABLE_NAME),
            HINT = format('Truncate table "%s" at the same time, or use TRUNCATE ... CASCADE.', other);
    END IF;
    RETURN NULL;
END $$;

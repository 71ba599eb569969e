-- What a worker needs: a view through which the coordinator runs commands in its own transaction,
-- two triggers for shards, and a connection test.
--
-- Shards are plain tables. A worker has no metadata about sharding; the coordinator has all of it.
-- Load this file into the worker's database before adding the worker.

CREATE SCHEMA sharding;
CREATE EXTENSION dblink SCHEMA sharding;

-- Commands arrive as rows. postgres_fdw sends the INSERT in the remote part of the coordinator's
-- transaction, so a CREATE TABLE that arrives this way commits or rolls back with the coordinator's
-- statement. Nothing is stored.
CREATE VIEW sharding.command AS
SELECT ''::text AS command, false AS has_result, ''::text AS result
WHERE false;

-- Execute the command of a row. The value that a query returns is returned with the row.
CREATE FUNCTION sharding.run_command() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.has_result THEN
        EXECUTE NEW.command INTO NEW.result;
    ELSE
        EXECUTE NEW.command;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER run INSTEAD OF INSERT ON sharding.command
    FOR EACH ROW EXECUTE FUNCTION sharding.run_command();

-- Refuse a NULL key, as Citus does. Hash partitioning sends NULL keys to the first shard, so only
-- that shard has this trigger.
CREATE FUNCTION sharding.refuse_null_key() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'cannot perform an INSERT with NULL in the partition column'
        USING ERRCODE = '22004';
END $$;

-- Refuse a changed key, which would leave its row in the wrong shard. As in Citus, setting a key to
-- its present value is allowed.
CREATE FUNCTION sharding.refuse_key_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'modifying the partition value of rows is not allowed'
        USING ERRCODE = '0A000';
END $$;

-- Return whether this node can connect to another one.
CREATE FUNCTION sharding.can_reach(host text, port int) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM sharding.dblink_connect('sharding_health',
        format('host=%L port=%s dbname=%L user=%L connect_timeout=3',
            host, port, current_database(), current_user));
    PERFORM sharding.dblink_disconnect('sharding_health');
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END $$;

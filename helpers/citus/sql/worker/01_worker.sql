-- What a worker needs: a way to run commands inside the coordinator's own transaction, two guard
-- triggers, and a connection test.
--
-- Shards are plain tables. A worker knows nothing about sharding: all the knowledge is with the
-- coordinator. Load this file into the worker's database before the worker is added.

CREATE SCHEMA sharding;
CREATE EXTENSION dblink SCHEMA sharding;

-- Commands arrive as rows: postgres_fdw sends an INSERT inside the remote half of the
-- coordinator's transaction, so a CREATE TABLE that comes this way commits or rolls back with the
-- statement that wanted it. Nothing is stored.
CREATE VIEW sharding.command AS
SELECT ''::text AS command, false AS ask, ''::text AS result
WHERE false;

-- Execute the command of a row. If it is a question, its answer goes back with the row.
CREATE FUNCTION sharding.run_command() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.ask THEN
        EXECUTE NEW.command INTO NEW.result;
    ELSE
        EXECUTE NEW.command;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER run INSTEAD OF INSERT ON sharding.command
    FOR EACH ROW EXECUTE FUNCTION sharding.run_command();

-- Hash partitioning sends NULL keys to the first shard; Citus takes none. So this guard stands on
-- the first shard only.
CREATE FUNCTION sharding.refuse_null_key() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'cannot perform an INSERT with NULL in the partition column'
        USING ERRCODE = '22004';
END $$;

-- A changed key would leave its row in the wrong shard. (To set a key to itself is allowed, as
-- with Citus.)
CREATE FUNCTION sharding.refuse_key_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'modifying the partition value of rows is not allowed'
        USING ERRCODE = '0A000';
END $$;

-- Can this node connect to that one?
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

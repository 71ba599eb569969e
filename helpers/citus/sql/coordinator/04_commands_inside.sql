-- Talking to the workers inside the transaction.
--
-- postgres_fdw sends only SELECT, INSERT, UPDATE, DELETE and TRUNCATE. So every worker has a view
-- whose INSERT trigger executes what is inserted: a CREATE TABLE that travels as a row. It runs in
-- the remote half of this transaction, and commits or rolls back with it. The workers commit one
-- after the other when the local transaction commits: this is not two-phase commit.

SET check_function_bodies = off;  -- functions of later files are named here

-- Make the server, the user mapping and the command table of a worker. No password stands here:
-- the coordinator's server process reads it from its PGPASSFILE.
CREATE FUNCTION sharding.connect_node(node_id int, host text, port int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    server name := 'worker_' || node_id;
BEGIN
    -- fdw_tuple_cost is far above its default on purpose: it tells the planner that rows are dear
    -- to carry, so joins and groups go to the worker.
    EXECUTE format(
        'CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (
             host %L, port %L, dbname %L, connect_timeout ''5'',
             fetch_size ''20000'', batch_size ''500'',
             async_capable ''true'', parallel_commit ''true'', parallel_abort ''true'',
             fdw_startup_cost ''100'', fdw_tuple_cost ''100'')',
        server, host, port, current_database());
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (user %L)',
        server, current_user);
    EXECUTE format(
        'CREATE FOREIGN TABLE sharding.%I (command text, ask boolean, result text) SERVER %I
             OPTIONS (schema_name ''sharding'', table_name ''command'', async_capable ''false'')',
        'node_' || node_id, server);
END $$;

-- Forget a worker, with every foreign table that pointed to it.
CREATE FUNCTION sharding.disconnect_node(node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('DROP SERVER %I CASCADE', 'worker_' || node_id);
END $$;

-- Run a command on a worker.
CREATE FUNCTION sharding.node_run(nodeid int, command text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF command <> '' THEN
        EXECUTE format('INSERT INTO sharding.%I (command, ask) VALUES ($1, false)',
            'node_' || nodeid)
            USING command;
    END IF;
END $$;

-- Ask a worker for one value.
CREATE FUNCTION sharding.node_ask(nodeid int, query text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('INSERT INTO sharding.%I (command, ask) VALUES ($1, true) RETURNING result',
        'node_' || nodeid)
        INTO answer
        USING query;
    RETURN answer;
END $$;

-- What other roles than the creator of the database may do.
--
-- A role may distribute its tables, use the tables that it has been granted rights on, and look up
-- shards. The functions that such calls reach run as the creator. The other functions, such as
-- those for nodes, moves and commands on workers, are reserved to the creator.

GRANT USAGE ON SCHEMA sharding TO PUBLIC;

DO $$
DECLARE
    routine record;
    run_as_creator text[] := ARRAY[
        -- triggers
        'on_ddl_start', 'on_ddl_end', 'on_drop', 'check_truncate', 'write_copies',
        -- the caller owns the table
        'check_table', 'create_distributed_table', 'alter_distributed_table', 'update_colocation',
        'create_reference_table', 'undistribute_table',
        -- only read
        'kind_name', 'shard_size', 'citus_relation_size', 'citus_table_size',
        'citus_total_relation_size', 'citus_shard_sizes', 'shard_name', 'worker_hash',
        'get_shard_id_for_distribution_column', 'citus_get_active_worker_nodes'];
    run_as_caller text[] := ARRAY[
        'no_key', 'check_write', 'check_query', 'statement_text', 'name_pattern',
        'create_distributed_table_concurrently', 'update_distributed_table_colocation',
        'truncate_local_data_after_distributing_table', 'column_name_to_column',
        'column_to_column_name', 'citus_version', 'citus_is_coordinator',
        'citus_coordinator_nodeid', 'citus_nodename_for_nodeid', 'citus_nodeport_for_nodeid'];
BEGIN
    FOR routine IN
        SELECT oid::regprocedure AS signature, proname, pronamespace = 'sharding'::regnamespace
            -- these resolve a table's name on the caller's search path, and call one of "sharding"
            OR proname NOT IN ('create_distributed_table', 'alter_distributed_table')
            AS can_run_as_creator
        FROM pg_proc
        WHERE oid >= 16384  -- those of PostgreSQL have lower OIDs
          AND pronamespace IN ('sharding'::regnamespace, 'pg_catalog'::regnamespace)
    LOOP
        IF routine.proname = ANY (run_as_creator) AND routine.can_run_as_creator THEN
            EXECUTE format('ALTER ROUTINE %s SECURITY DEFINER SET search_path = pg_catalog',
                routine.signature);
        END IF;
        EXECUTE format(
            CASE WHEN routine.proname = ANY (run_as_creator || run_as_caller)
                 THEN 'GRANT EXECUTE ON ROUTINE %s TO PUBLIC'
                 ELSE 'REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC' END, routine.signature);
    END LOOP;
END $$;

RESET check_function_bodies;

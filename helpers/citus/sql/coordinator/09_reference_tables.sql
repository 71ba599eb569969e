-- Reference tables: one shard, with a copy on every node.
--
-- The table is partitioned with one partition that takes all rows: the coordinator's own copy. So
-- reads and joins are local. Statement triggers apply every write to the workers' copies too,
-- through one foreign table for each. The partition has the shard's name, so that error messages
-- are the same as on a worker. 03_placement.sql has the functions that create copies.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- writes
-- Apply a statement's changes to every other copy, in the same transaction. Rows are matched by the
-- primary key; without one, the copies are filled again.
CREATE FUNCTION sharding.write_copies() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    target record;
    columns text := sharding.copied_columns(TG_RELID);
    new_values text := (
        SELECT string_agg(format('n.%I', attname), ', ' ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = TG_RELID
          AND attnum > 0
          AND NOT attisdropped
          AND attgenerated = '');
    same_key text := (
        SELECT string_agg(format('o.%I = f.%1$I', attname), ' AND ' ORDER BY attnum)
        FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = TG_RELID
          AND indisprimary);
BEGIN
    FOR target IN
        SELECT sharding.copy_name(s.shardid, s.nodeid) AS copy, s.nodeid, s.shard
        FROM sharding.worker_shards(TG_RELID) s
        JOIN pg_dist_node d ON d.nodeid = s.nodeid
        ORDER BY d.nodename, d.nodeport
    LOOP
        IF TG_OP = 'TRUNCATE' THEN
            PERFORM sharding.run_on_node(target.nodeid, 'TRUNCATE ' || target.shard
                || CASE WHEN current_query() ~* '\mcascade\M' THEN ' CASCADE' ELSE '' END);
        ELSIF TG_OP = 'INSERT' THEN
            EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM new_rows', target.copy, columns);
        ELSIF same_key IS NULL THEN
            EXECUTE format('DELETE FROM %s', target.copy);
            EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s',
                target.copy, columns, TG_RELID::regclass);
        ELSIF TG_OP = 'DELETE' THEN
            EXECUTE format('DELETE FROM %s f USING old_rows o WHERE %s', target.copy, same_key);
        ELSE
            -- The key itself may have changed. The two transition tables list the rows in the same
            -- order, so an old row and its new one have the same number.
            EXECUTE format(
                'UPDATE %s f
                 SET (%s) = ROW(%s)
                 FROM (SELECT *, row_number() OVER () AS sharding_row FROM old_rows) o
                 JOIN (SELECT *, row_number() OVER () AS sharding_row FROM new_rows) n
                     ON n.sharding_row = o.sharding_row
                 WHERE %s',
                target.copy, columns, new_values, same_key);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Create the triggers that call write_copies. Each event has its own, because each has other
-- transition tables.
CREATE FUNCTION sharding.add_copy_triggers(name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    event record;
BEGIN
    FOR event IN
        SELECT *
        FROM (VALUES
            ('insert', 'REFERENCING NEW TABLE AS new_rows'),
            ('update', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
            ('delete', 'REFERENCING OLD TABLE AS old_rows'),
            ('truncate', '')
        ) v(name, transition_tables)
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s
                            FOR EACH STATEMENT EXECUTE FUNCTION sharding.write_copies()',
            'copies_' || event.name, event.name, name, event.transition_tables);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- the rebuild
-- Return the column to partition by. Since one partition takes all rows, any column that can be
-- ordered will do; a column of the primary key (else of a unique key) allows to declare that key.
CREATE FUNCTION sharding.reference_column(rel oid) RETURNS name
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    chosen name;
BEGIN
    SELECT a.attname
    INTO chosen
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_index x ON x.indrelid = a.attrelid
        AND x.indisunique
        AND a.attnum = ANY (x.indkey)
    WHERE a.attrelid = rel
      AND a.attnum > 0
      AND NOT a.attisdropped
      AND a.attgenerated = ''
      AND (x.indisunique
           OR t.typname = 'varchar'
           OR EXISTS (
               SELECT
               FROM pg_opclass
               WHERE opcdefault
                 AND opcmethod = 403  -- B-tree
                 AND opcintype = a.atttypid))
    ORDER BY x.indisprimary DESC NULLS LAST, x.indisunique DESC NULLS LAST, a.attnum
    LIMIT 1;
    IF chosen IS NULL THEN
        RAISE EXCEPTION
            'the teaching cluster needs a reference table to have a column that can be ordered'
            USING ERRCODE = '0A000';
    END IF;
    RETURN chosen;
END $$;

-- Rename the local copy's indexes to their names on the other nodes, so that error messages are the
-- same.
CREATE FUNCTION sharding.name_leaf_indexes(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint := (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = rel);
    leaf_index record;
BEGIN
    FOR leaf_index IN
        SELECT leaf.oid::regclass AS name,
            sharding.name_with_shard_id(parent.relname, id) AS name_on_workers
        FROM pg_index x
        JOIN pg_class parent ON parent.oid = x.indexrelid
        JOIN pg_inherits h ON h.inhparent = x.indexrelid
        JOIN pg_class leaf ON leaf.oid = h.inhrelid
        WHERE x.indrelid = rel
          AND leaf.relname <> sharding.name_with_shard_id(parent.relname, id)
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', leaf_index.name, leaf_index.name_on_workers);
    END LOOP;
END $$;

-- Declare a unique index of the coordinator's copy on the whole table, so that ON CONFLICT finds it.
-- PostgreSQL refuses a unique index without the partition column there, although one partition takes
-- all rows; so an index is created and then marked unique.
CREATE FUNCTION sharding.declare_unique(rel oid, key_name name, leaf_index regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    index_name text := (
        SELECT format('%I.%I', schemaname, key_name)
        FROM sharding.table_name
        WHERE relid = rel);
    columns text := (
        SELECT substr(pg_get_indexdef(leaf_index), 1 + length(
            format('CREATE UNIQUE INDEX %I ON %s ', sharding.bare_name(leaf_index),
                sharding.qualified_name(indrelid))))
        FROM pg_index
        WHERE indexrelid = leaf_index
          AND indisunique
          AND indimmediate);
BEGIN
    IF columns IS NOT NULL THEN
        EXECUTE format('CREATE INDEX %I ON ONLY %s %s', key_name, rel::regclass, columns);
        UPDATE pg_index
        SET indisunique = true
        WHERE indexrelid = index_name::regclass;
        EXECUTE format('ALTER INDEX %s ATTACH PARTITION %s', index_name, leaf_index);
    END IF;
END $$;

-- Create the new table and the coordinator's copy, still without rows.
CREATE FUNCTION sharding.build_reference(old oid, name text, saved jsonb, colocation int)
RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint := nextval('pg_dist_shardid_seq');
    leaf text := format('shards.%I', sharding.name_with_shard_id(saved->>'name', id));
    new oid;
    object sharding.shard_object;
BEGIN
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)
                        PARTITION BY LIST (%I)',
        name, old::regclass, sharding.reference_column(old));
    EXECUTE format('CREATE TABLE %s PARTITION OF %s DEFAULT', leaf, name);
    new := name::regclass;
    INSERT INTO sharding.table_name
    VALUES (new, saved->>'schema', saved->>'name');
    INSERT INTO pg_dist_partition
    VALUES (new, 'n', NULL, colocation, 't', false);
    INSERT INTO pg_dist_shard
    VALUES (new, id, 't', NULL, NULL);
    INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
    SELECT id, 1, 0, 0
    FROM pg_dist_node
    WHERE groupid = 0;
    FOR object IN
        SELECT *
        FROM sharding.expected_objects(old)
        WHERE kind IN ('k', 'i')
          AND suffixed
        ORDER BY kind DESC, objid
    LOOP
        BEGIN
            EXECUTE sharding.key_command(object, object.name::name, name, false);
        EXCEPTION WHEN feature_not_supported OR undefined_object THEN
            -- a key without the partition column
            EXECUTE sharding.object_command(object, leaf, id);
            PERFORM sharding.declare_unique(new, object.name::name,
                format('shards.%I', sharding.name_on_shard(object, id))::regclass);
            INSERT INTO sharding.shard_object
            VALUES (new, upper(object.kind::text)::"char", object.objid, object.name,
                object.definition, true);
        END;
    END LOOP;
    INSERT INTO sharding.shard_object
    SELECT *
    FROM sharding.expected_objects(new);
    PERFORM sharding.name_leaf_indexes(new);
    RETURN new;
END $$;

-- Turn a plain table into a reference table and return the new table's OID.
CREATE FUNCTION sharding.make_reference(old oid, colocation int) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    saved jsonb;
    name text;
    new oid;
    worker record;
    was_internal boolean := sharding.set_internal_ddl(true);
BEGIN
    PERFORM sharding.remove_local_metadata(old);
    PERFORM sharding.collect_foreign_keys(old);
    IF EXISTS (
        SELECT
        FROM sharding.foreign_key
        WHERE conrelid = old
          AND sharding.kind(confrelid) = 'h')
    THEN
        PERFORM sharding.refuse_key_to_distributed();
    END IF;
    PERFORM sharding.check_triggers(old);

    saved := sharding.set_aside(old);
    name := format('%I.%I', saved->>'schema', saved->>'name');
    new := sharding.build_reference(old, name, saved, colocation);
    PERFORM sharding.copy_rows(old, new);
    PERFORM sharding.replace_table(saved, old, new);
    PERFORM sharding.restore_foreign_keys(new);
    FOR worker IN
        SELECT nodeid
        FROM sharding.workers()
    LOOP
        PERFORM sharding.add_copy(new, worker.nodeid);
    END LOOP;
    PERFORM sharding.add_copy_triggers(name);
    PERFORM sharding.add_statement_checks(new);
    PERFORM sharding.set_internal_ddl(was_internal);
    RETURN new;
END $$;

-- Check the call, then rebuild the table.
CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    colocation int;
BEGIN
    PERFORM sharding.check_table(table_name, false);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', table_name);
    colocation := sharding.choose_colocation_group(1, 0, 0);
    PERFORM sharding.ensure_reference_copies();
    PERFORM sharding.make_reference(table_name, colocation);
END $$;

-- Create the missing copies. The transfer mode makes no difference here.
CREATE FUNCTION pg_catalog.replicate_reference_tables(
    shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto'
) RETURNS void
LANGUAGE sql AS $$
    SELECT sharding.ensure_reference_copies()
$$;

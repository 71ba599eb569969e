-- Reference tables: one shard, with a copy on every node.
--
-- The table is partitioned with one partition that takes everything: the coordinator's own copy.
-- So reads and joins are local. Statement triggers carry every write to the workers' copies,
-- through one foreign table for each. The partition has the shard's name, so that error messages
-- read as they would on a worker.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- copies
-- Make the coordinator's foreign table for a copy: the reference table's columns, by name.
CREATE FUNCTION sharding.attach_copy(rel oid, shard_id bigint, node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    named sharding.table_name;
    copy_name text := sharding.copy_name(shard_id, node_id);
    columns text;
BEGIN
    SELECT *
    INTO named
    FROM sharding.table_name
    WHERE relid = rel;
    SELECT string_agg(
        format('%I %s', attname, format_type(atttypid, atttypmod)
            || CASE WHEN attgenerated <> ''
                    THEN format(' GENERATED ALWAYS AS (%s) STORED', pg_get_expr(adbin, adrelid))
                    ELSE '' END),
        ', ' ORDER BY attnum)
    INTO columns
    FROM pg_attribute
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = rel
      AND attnum > 0
      AND NOT attisdropped;
    EXECUTE format('DROP FOREIGN TABLE IF EXISTS %s', copy_name);
    EXECUTE format('CREATE FOREIGN TABLE %s (%s) SERVER %I
                        OPTIONS (schema_name %L, table_name %L)',
        copy_name, columns, 'worker_' || node_id,
        named.schemaname, sharding.with_id(named.relname, shard_id));
END $$;

-- Make the copy on one worker, with its rows.
CREATE FUNCTION sharding.add_copy(rel oid, node_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint := (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = rel);
BEGIN
    PERFORM sharding.node_run(node_id,
        coalesce(sharding.needed_types(rel), '') || sharding.create_shard(rel, id, false));
    -- no write may slip in between the copy and its first use
    EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE', rel::regclass);
    PERFORM sharding.attach_copy(rel, id, node_id);
    EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s',
        sharding.copy_name(id, node_id), sharding.copied_columns(rel), rel::regclass);
    INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
    SELECT id, 1, 0, groupid
    FROM pg_dist_node
    WHERE nodeid = node_id;
END $$;

-- The copies that are missing: a node that was added has none at first.
CREATE FUNCTION sharding.missing_copies() RETURNS TABLE (rel oid, shardid bigint, nodeid int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT p.logicalrelid::oid, s.shardid, w.nodeid
    FROM pg_dist_partition p
    JOIN pg_dist_shard s ON s.logicalrelid = p.logicalrelid
    CROSS JOIN sharding.workers() w
    WHERE p.repmodel = 't'
      AND NOT EXISTS (
          SELECT
          FROM pg_dist_placement there
          WHERE there.shardid = s.shardid
            AND there.groupid = w.groupid)
$$;

-- Give every worker the copies that it lacks. Citus, too, does this when a table is made or moved,
-- not when a node is added.
CREATE FUNCTION sharding.ensure_reference_copies() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT *
        FROM sharding.missing_copies()
        ORDER BY shardid, nodeid
    LOOP
        PERFORM sharding.add_copy(missing.rel, missing.nodeid);
    END LOOP;
END $$;

-- For students: the same. There is only one mode here.
CREATE FUNCTION pg_catalog.replicate_reference_tables(
    shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto'
) RETURNS void
LANGUAGE sql AS $$
    SELECT sharding.ensure_reference_copies()
$$;

-- ---------------------------------------------------------------- writes
-- Repeat a statement's changes on every other copy, in the same transaction. The primary key tells
-- which row is meant; without one the copies are filled again.
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
            PERFORM sharding.node_run(target.nodeid, 'TRUNCATE ' || target.shard
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
            -- The key itself may have changed. But the two transition tables list the same rows
            -- in the same order: so an old row and its new one have the same number.
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

-- The triggers that call it. Each event has its own, since each sees other transition tables.
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
        ) v(name, seen)
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s
                            FOR EACH STATEMENT EXECUTE FUNCTION sharding.write_copies()',
            'copies_' || event.name, event.name, name, event.seen);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- the rebuild
-- The column to partition by. One partition takes everything, so any column that can be ordered
-- does; one of the primary (else of a unique) key lets that key be declared.
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
            'the teaching part needs a reference table to have a column that can be ordered'
            USING ERRCODE = '0A000';
    END IF;
    RETURN chosen;
END $$;

-- Give the local copy's indexes the names that they have on every other node, so that errors read
-- the same.
CREATE FUNCTION sharding.name_leaf_indexes(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint := (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = rel);
    leaf_index record;
BEGIN
    FOR leaf_index IN
        SELECT leaf.oid::regclass AS name, sharding.with_id(parent.relname, id) AS wanted
        FROM pg_index x
        JOIN pg_class parent ON parent.oid = x.indexrelid
        JOIN pg_inherits h ON h.inhparent = x.indexrelid
        JOIN pg_class leaf ON leaf.oid = h.inhrelid
        WHERE x.indrelid = rel
          AND leaf.relname <> sharding.with_id(parent.relname, id)
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', leaf_index.name, leaf_index.wanted);
    END LOOP;
END $$;

-- Make the new table over the coordinator's copy, still empty.
CREATE FUNCTION sharding.build_reference(old oid, name text, kept jsonb, colocation int)
RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    id bigint := nextval('pg_dist_shardid_seq');
    leaf text := format('shards.%I', sharding.with_id(kept->>'name', id));
    new oid;
    object sharding.shard_object;
BEGIN
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)
                        PARTITION BY LIST (%I)',
        name, old::regclass, sharding.reference_column(old));
    EXECUTE format('CREATE TABLE %s PARTITION OF %s DEFAULT', leaf, name);
    new := name::regclass;
    INSERT INTO sharding.table_name
    VALUES (new, kept->>'schema', kept->>'name');
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
        FROM sharding.wanted(old)
        WHERE kind IN ('k', 'i')
          AND suffixed
        ORDER BY kind DESC, objid
    LOOP
        BEGIN
            EXECUTE sharding.add_key(object, object.name::name, name, false);
        EXCEPTION WHEN feature_not_supported OR undefined_object THEN
            -- a further unique key, without the partition column: it stands on the copies only
            EXECUTE sharding.add_object(object, leaf, id);
            INSERT INTO sharding.shard_object
            VALUES (new, upper(object.kind::text)::"char", object.objid, object.name,
                object.definition, true);
        END;
    END LOOP;
    INSERT INTO sharding.shard_object
    SELECT *
    FROM sharding.wanted(new);
    PERFORM sharding.name_leaf_indexes(new);
    RETURN new;
END $$;

-- Turn a plain table into a reference table. Returns the new table.
CREATE FUNCTION sharding.make_reference(old oid, colocation int) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    kept jsonb;
    name text;
    new oid;
    worker record;
    was_busy boolean := sharding.busy(true);
BEGIN
    PERFORM sharding.forget_local(old);
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

    kept := sharding.set_aside(old);
    name := format('%I.%I', kept->>'schema', kept->>'name');
    new := sharding.build_reference(old, name, kept, colocation);
    PERFORM sharding.copy_rows(old, new);
    PERFORM sharding.to_successor(kept, old, new);
    PERFORM sharding.restore_foreign_keys(new);
    FOR worker IN
        SELECT nodeid
        FROM sharding.workers()
    LOOP
        PERFORM sharding.add_copy(new, worker.nodeid);
    END LOOP;
    PERFORM sharding.add_copy_triggers(name);
    PERFORM sharding.busy(was_busy);
    RETURN new;
END $$;

-- For students: the checks, then the rebuild.
CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    colocation int;
BEGIN
    PERFORM sharding.check_table(table_name, false);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', table_name);
    colocation := sharding.colocation_group(1, 0, 0);
    PERFORM sharding.ensure_reference_copies();
    PERFORM sharding.make_reference(table_name, colocation);
END $$;

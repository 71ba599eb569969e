-- Reference tables: one shard, a copy on every node. The name stands over the coordinator's copy (its only
-- partition), so reads and joins are local; statement triggers carry every write to the other copies.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- copies
-- Make the copy on one worker, with its rows, and the coordinator's foreign table for it.
CREATE FUNCTION sharding.add_copy(rel oid, node_id int) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE id bigint := (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = rel); t sharding.table_name;
BEGIN
    SELECT * INTO t FROM sharding.table_name WHERE relid = rel;
    PERFORM sharding.node_run(node_id, coalesce(sharding.needed_types(rel), '') || sharding.create_shard(rel, id, false));
    -- no row writes may slip between the copy and its first use
    EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE', rel::regclass);
    PERFORM sharding.copy_table(rel, id, node_id);
    EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s', sharding.copy_name(id, node_id), sharding.copied_columns(rel), rel::regclass);
    INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid) SELECT id, 1, 0, groupid FROM pg_dist_node WHERE nodeid = node_id;
END $$;

-- The foreign table for a copy: the reference table's columns, by name.
CREATE FUNCTION sharding.copy_table(rel oid, id bigint, node_id int) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t sharding.table_name;
BEGIN
    SELECT * INTO t FROM sharding.table_name WHERE relid = rel;
    EXECUTE format('DROP FOREIGN TABLE IF EXISTS %s', sharding.copy_name(id, node_id));
    EXECUTE format('CREATE FOREIGN TABLE %s (%s) SERVER %I OPTIONS (schema_name %L, table_name %L)', sharding.copy_name(id, node_id),
        (SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod) || CASE WHEN attgenerated <> '' THEN
                    format(' GENERATED ALWAYS AS (%s) STORED', pg_get_expr(adbin, adrelid)) ELSE '' END), ', ' ORDER BY attnum)
         FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped),
        'worker_' || node_id, t.schemaname, sharding.with_id(t.relname, id));
END $$;

-- Give every worker the copies that it lacks (Citus, too, does this when a table is made or moved, not when a node is added).
CREATE FUNCTION sharding.ensure_reference_copies() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE m record;
BEGIN
    FOR m IN SELECT p.logicalrelid, w.nodeid FROM pg_dist_partition p JOIN pg_dist_shard s USING (logicalrelid), sharding.workers() w
             WHERE p.repmodel = 't' AND NOT EXISTS (SELECT FROM pg_dist_placement x WHERE x.shardid = s.shardid AND x.groupid = w.groupid)
             ORDER BY s.shardid, w.nodeid LOOP
        PERFORM sharding.add_copy(m.logicalrelid, m.nodeid);
    END LOOP;
END $$;

CREATE FUNCTION pg_catalog.replicate_reference_tables(shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto') RETURNS void
LANGUAGE sql AS $$ SELECT sharding.ensure_reference_copies() $$;

-- ---------------------------------------------------------------- writes
-- Repeat a statement's changes on every other copy, in the same transaction.
CREATE FUNCTION sharding.write_copies() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    c record; cols text := sharding.copied_columns(TG_RELID);
    -- the primary key names a row; without one the copies are filled again
    key name[] := ARRAY(SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) WHERE indrelid = TG_RELID AND indisprimary ORDER BY attnum);
    same_key text := (SELECT string_agg(format('o.%I = f.%1$I', k), ' AND ') FROM unnest(key) k);
BEGIN
    FOR c IN SELECT sharding.copy_name(s.shardid, d.nodeid) AS copy, d.nodeid, s.shardid FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid)
             WHERE s.logicalrelid = TG_RELID AND groupid <> 0 ORDER BY d.nodename, d.nodeport LOOP
        IF TG_OP = 'TRUNCATE' THEN
            PERFORM sharding.node_run(c.nodeid, 'TRUNCATE ' || sharding.shard(TG_RELID, c.shardid) || CASE WHEN current_query() ~* '\mcascade\M' THEN ' CASCADE' ELSE '' END);
        ELSIF TG_OP = 'INSERT' THEN
            EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM new_rows', c.copy, cols);
        ELSIF key = '{}' THEN
            EXECUTE format('DELETE FROM %s', c.copy);
            EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s', c.copy, cols, TG_RELID::regclass);
        ELSIF TG_OP = 'DELETE' THEN
            EXECUTE format('DELETE FROM %s f USING old_rows o WHERE %s', c.copy, same_key);
        ELSE                                            -- the two transition tables list the same rows in the same order
            EXECUTE format('UPDATE %s f SET (%s) = ROW(%s) FROM (SELECT *, row_number() OVER () AS sharding_row FROM old_rows) o
                JOIN (SELECT *, row_number() OVER () AS sharding_row FROM new_rows) n ON n.sharding_row = o.sharding_row WHERE %s', c.copy, cols,
                (SELECT string_agg(format('n.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), same_key);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- ---------------------------------------------------------------- the rebuild
CREATE FUNCTION sharding.make_reference(old oid, colocation int) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    kept jsonb; name text; leaf text; new oid; id bigint; o sharding.shard_object; part_col name; w record; i record;
    was_busy text := sharding.busy(true);
BEGIN
    PERFORM sharding.forget_local(old);
    PERFORM sharding.collect_foreign_keys(old);
    IF EXISTS (SELECT FROM sharding.foreign_key WHERE conrelid = old AND sharding.kind(confrelid) = 'h') THEN
        RAISE EXCEPTION 'cannot create foreign key constraint since foreign keys from reference tables and local tables to distributed tables are not supported'
            USING ERRCODE = '0A000', DETAIL = 'Reference tables and local tables can only have foreign keys to reference tables and local tables';
    END IF;
    PERFORM sharding.check_triggers(old);
    -- One partition takes everything, so any column does as the partition key; a column of the primary (else of
    -- a unique) key lets that key be declared.
    SELECT attname INTO part_col FROM pg_attribute a LEFT JOIN pg_index x ON x.indrelid = a.attrelid AND a.attnum = ANY (x.indkey) AND x.indisunique
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = old AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
      AND (x.indisunique OR EXISTS (SELECT FROM pg_opclass WHERE opcdefault AND opcmethod = 403 AND opcintype = a.atttypid) OR t.typname = 'varchar')
    ORDER BY x.indisprimary DESC NULLS LAST, x.indisunique DESC NULLS LAST, a.attnum LIMIT 1;
    IF part_col IS NULL THEN RAISE EXCEPTION 'the teaching part needs a reference table to have a column that can be ordered' USING ERRCODE = '0A000'; END IF;

    kept := sharding.set_aside(old);
    name := format('%I.%I', kept->>'schema', kept->>'name');
    id := nextval('pg_dist_shardid_seq');
    leaf := format('shards.%I', sharding.with_id(kept->>'name', id));
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES) PARTITION BY LIST (%I)', name, old::regclass, part_col);
    EXECUTE format('CREATE TABLE %s PARTITION OF %s DEFAULT', leaf, name);
    new := name::regclass;
    INSERT INTO sharding.table_name VALUES (new, kept->>'schema', kept->>'name');
    INSERT INTO pg_dist_partition VALUES (new, 'n', NULL, colocation, 't', false);
    INSERT INTO pg_dist_shard VALUES (new, id, 't', NULL, NULL);
    INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid) SELECT id, 1, 0, 0 FROM pg_dist_node WHERE groupid = 0;
    FOR o IN SELECT * FROM sharding.wanted(old) WHERE kind IN ('k', 'i') ORDER BY kind DESC, objid LOOP
        IF o.kind = 'k' AND NOT o.suffixed THEN CONTINUE; END IF;
        BEGIN
            IF o.kind = 'i' THEN EXECUTE format('CREATE %sINDEX %I ON %s %s', CASE WHEN left(o.definition, 1) = 'U' THEN 'UNIQUE ' END, o.name, name, substr(o.definition, 2));
            ELSE EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, o.name, o.definition); END IF;
        EXCEPTION WHEN feature_not_supported OR undefined_object THEN
            -- a second unique key without the partition column: it stands on the copies only
            EXECUTE sharding.add_object(o, leaf, id);
            INSERT INTO sharding.shard_object VALUES (new, CASE o.kind WHEN 'k' THEN 'K' ELSE 'I' END::"char", o.objid, o.name, o.definition, true);
        END;
    END LOOP;
    INSERT INTO sharding.shard_object SELECT * FROM sharding.wanted(new);
    PERFORM sharding.name_leaf_indexes(new);
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s', name, sharding.copied_columns(old), old::regclass);
    PERFORM sharding.to_successor(kept, old, new);
    PERFORM sharding.declare_foreign_keys(new);
    FOR w IN SELECT nodeid FROM sharding.workers() LOOP PERFORM sharding.add_copy(new, w.nodeid); END LOOP;
    EXECUTE format('CREATE TRIGGER copies_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION sharding.write_copies()', name);
    EXECUTE format('CREATE TRIGGER copies_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION sharding.write_copies()', name);
    EXECUTE format('CREATE TRIGGER copies_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION sharding.write_copies()', name);
    EXECUTE format('CREATE TRIGGER copies_truncate AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION sharding.write_copies()', name);
    PERFORM sharding.busy(was_busy::boolean);
    RETURN new;
END $$;

-- Give the local copy's indexes the names that they have on every other node, so that errors read the same.
CREATE FUNCTION sharding.name_leaf_indexes(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE i record; id bigint := (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = rel);
BEGIN
    FOR i IN SELECT leaf.oid::regclass AS leaf, leaf.relname, sharding.with_id(parent.relname, id) AS wanted FROM pg_index x JOIN pg_class parent ON parent.oid = x.indexrelid
             JOIN pg_inherits h ON h.inhparent = x.indexrelid JOIN pg_class leaf ON leaf.oid = h.inhrelid
             WHERE x.indrelid = rel AND leaf.relname <> sharding.with_id(parent.relname, id) LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', i.leaf, i.wanted);
    END LOOP;
END $$;

CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE g int;
BEGIN
    PERFORM sharding.check_table(table_name, false);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', table_name);
    g := sharding.colocation_group(1, 0, 0);
    PERFORM sharding.ensure_reference_copies();
    PERFORM sharding.make_reference(table_name, g);
END $$;

-- Back to a plain table, and from one distribution to another.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- back
-- Remove every trace of a table's shards: on the workers, then in the metadata. CASCADE reaches only
-- foreign keys of other shards, which are on record here and taken from it too.
CREATE FUNCTION sharding.drop_shards(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE n record;
BEGIN
    FOR n IN SELECT d.nodeid, string_agg(format('DROP TABLE IF EXISTS %s CASCADE', sharding.shard(rel, s.shardid)), '; ' ORDER BY s.shardid) AS commands
             FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid)
             WHERE s.logicalrelid = rel AND groupid <> 0 AND EXISTS (SELECT FROM sharding.table_name WHERE relid = rel) GROUP BY 1 LOOP
        PERFORM sharding.node_run(n.nodeid, n.commands);
    END LOOP;
    -- and what earlier moves of its shards left behind
    FOR n IN DELETE FROM pg_dist_cleanup c USING pg_dist_shard s, pg_dist_node d WHERE s.logicalrelid = rel AND c.object_name = sharding.shard(rel, s.shardid) AND d.groupid = c.node_group_id
             RETURNING d.nodeid, c.object_name LOOP
        PERFORM sharding.node_run(n.nodeid, format('DROP TABLE IF EXISTS %s CASCADE', n.object_name));
    END LOOP;
    PERFORM sharding.forget(rel);
END $$;

CREATE FUNCTION sharding.forget(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE c record;
BEGIN
    FOR c IN SELECT sharding.copy_name(s.shardid, d.nodeid) AS copy FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid)
             WHERE s.logicalrelid = rel AND s.shardminvalue IS NULL AND groupid <> 0 LOOP
        EXECUTE 'DROP FOREIGN TABLE IF EXISTS ' || c.copy;
    END LOOP;
    DELETE FROM pg_dist_placement p USING pg_dist_shard s WHERE s.shardid = p.shardid AND s.logicalrelid = rel;
    DELETE FROM pg_dist_shard WHERE logicalrelid = rel;
    DELETE FROM pg_dist_partition WHERE logicalrelid = rel;
    DELETE FROM sharding.shard_object WHERE relid = rel;
    DELETE FROM sharding.table_name WHERE relid = rel;
    PERFORM sharding.drop_empty_groups();
END $$;

-- Turn a distributed or reference table into a plain one with all its rows. Foreign keys stay on record.
CREATE FUNCTION sharding.to_plain(old oid) RETURNS oid LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    kept jsonb; name text; new oid; o record; fk sharding.foreign_key; key name;
    was_busy text := sharding.busy(true);
BEGIN
    -- our own default and triggers do not go along
    IF sharding.kind(old) = 'h' THEN
        SELECT attname INTO key FROM pg_attribute JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = old AND attnum = sharding.key_column(old) AND pg_get_expr(adbin, adrelid) LIKE '%sharding.no_key()%';
        IF key IS NOT NULL THEN EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', old::regclass, key); END IF;
    END IF;
    PERFORM sharding.collect_foreign_keys(old);
    FOR fk IN SELECT * FROM sharding.foreign_key WHERE old IN (conrelid, confrelid) AND onshards LOOP PERFORM sharding.foreign_key_on_shards(fk, false); END LOOP;
    kept := sharding.set_aside(old);
    name := format('%I.%I', kept->>'schema', kept->>'name');
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)', name, old::regclass);
    new := name::regclass;
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s', name, sharding.copied_columns(new), old::regclass);
    FOR o IN SELECT * FROM sharding.shard_object WHERE relid = old AND (lower(kind::text) = 'i' OR lower(kind::text) = 'k' AND left(definition, 5) <> 'CHECK') ORDER BY kind DESC, objid LOOP
        IF lower(o.kind::text) = 'i' THEN EXECUTE format('CREATE %sINDEX %I ON %s %s', CASE WHEN left(o.definition, 1) = 'U' THEN 'UNIQUE ' END, o.name, name, substr(o.definition, 2));
        ELSE EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, o.name, o.definition); END IF;
    END LOOP;
    PERFORM sharding.drop_shards(old);
    PERFORM sharding.to_successor(kept, old, new);
    PERFORM sharding.busy(was_busy::boolean);
    RETURN new;
END $$;

-- A stale picture of the workers would lose rows: postgres_fdw keeps a remote transaction's first snapshot.
CREATE FUNCTION sharding.need_fresh_snapshot(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('sharding.writes_blocked', true) = pg_current_xact_id()::text THEN RETURN; END IF;
    IF EXISTS (SELECT FROM sharding.postgres_fdw_get_connections() WHERE used_in_xact) THEN
        RAISE EXCEPTION '% cannot run in a transaction that has already talked to the workers', what USING ERRCODE = '25001',
            HINT = 'Run it as a statement, or a transaction, of its own.';
    END IF;
    -- from here on this transaction keeps every writer away, so that several calls in one statement are safe
    PERFORM set_config('sharding.writes_blocked', pg_current_xact_id()::text, true);
END $$;

-- Keep writers (not readers) off every table that has shards. Waits for one table at a time while holding none,
-- then wants all the others at once or lets go: so it cannot deadlock with a writer that goes the other way round.
CREATE FUNCTION sharding.lock_all() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t regclass; waited_for regclass;
BEGIN
    FOR attempt IN 1 .. 1000 LOOP
        BEGIN
            FOR t IN SELECT logicalrelid FROM pg_dist_partition ORDER BY logicalrelid IS DISTINCT FROM waited_for, logicalrelid LOOP
                EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE %s', t, CASE WHEN t IS DISTINCT FROM waited_for THEN 'NOWAIT' END);
            END LOOP;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN waited_for := t;
        END;
    END LOOP;
    RAISE EXCEPTION 'could not keep writers away from table %', waited_for USING ERRCODE = '55P03';
END $$;

CREATE FUNCTION pg_catalog.undistribute_table(table_name regclass, cascade_via_foreign_keys boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $body$
DECLARE c pg_class; t record; new oid; family oid[]; made oid[] := '{}'; side text;
BEGIN
    SELECT * INTO c FROM pg_class WHERE oid = table_name;
    IF coalesce(sharding.kind(table_name), 'l') = 'l' THEN
        RAISE EXCEPTION 'cannot undistribute table because the table is not distributed' USING ERRCODE = 'XX000';
    END IF;
    PERFORM sharding.need_fresh_snapshot('undistribute_table');
    PERFORM sharding.lock_all();
    -- everything that is tied to the table by foreign keys, directly or not
    WITH RECURSIVE f AS (SELECT table_name::oid AS o UNION SELECT CASE WHEN k.conrelid = f.o THEN k.confrelid ELSE k.conrelid END
                         FROM f JOIN (SELECT conrelid, confrelid FROM sharding.foreign_key UNION ALL SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conparentid = 0) k
                         ON f.o IN (k.conrelid, k.confrelid))
    SELECT array_agg(o ORDER BY o) INTO family FROM f WHERE sharding.kind(o) IN ('h', 't');
    IF NOT cascade_via_foreign_keys THEN
        side := CASE WHEN EXISTS (SELECT FROM sharding.foreign_key WHERE confrelid = table_name AND conrelid <> table_name)
                       OR EXISTS (SELECT FROM pg_constraint WHERE confrelid = table_name AND contype = 'f' AND conrelid <> table_name AND conparentid = 0) THEN 'is referenced by a foreign key'
                     WHEN EXISTS (SELECT FROM sharding.foreign_key WHERE conrelid = table_name)
                       OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = table_name AND contype = 'f' AND conparentid = 0) THEN 'has a foreign key' END;
        IF side IS NOT NULL THEN
            RAISE EXCEPTION 'cannot complete operation because table % %', c.relname, side USING ERRCODE = 'XX000', HINT =
                format('Use cascade option to undistribute all the relations involved in a foreign key relationship with %s by executing SELECT undistribute_table($$%1$s$$, cascade_via_foreign_keys=>true)', table_name);
        END IF;
        family := ARRAY[table_name::oid];
    END IF;
    FOREACH new IN ARRAY family LOOP made := made || sharding.to_plain(new); END LOOP;
    FOREACH new IN ARRAY made LOOP PERFORM sharding.declare_foreign_keys(new); END LOOP;
END $body$;

-- ---------------------------------------------------------------- another distribution
CREATE FUNCTION sharding.redistribute(rel oid, key name, shard_count int, colocation int) RETURNS oid LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT sharding.distribute(sharding.to_plain(rel), key, shard_count, colocation)
$$;

CREATE FUNCTION sharding.alter_distributed_table(rel regclass, key name, n int, other regclass, cut_loose boolean, cascade_to boolean)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    p pg_dist_partition; g pg_dist_colocation; a pg_attribute; old_key name; target int; peers oid[]; peer oid; peer_key name; name name; og pg_dist_colocation;
    keys name[] := '{}'; i int;
BEGIN
    SELECT * INTO p FROM pg_dist_partition WHERE logicalrelid = rel;
    SELECT relname INTO name FROM pg_class WHERE oid = rel;
    IF p.partmethod IS DISTINCT FROM 'h' THEN RAISE EXCEPTION 'cannot alter table because the table is not distributed' USING ERRCODE = 'XX000'; END IF;
    SELECT * INTO g FROM pg_dist_colocation WHERE colocationid = p.colocationid;
    old_key := column_to_column_name(rel, p.partkey);
    IF key IS NULL AND n IS NULL AND other IS NULL AND NOT cut_loose THEN
        RAISE EXCEPTION 'you have to specify at least one of the distribution_column, shard_count or colocate_with parameters' USING ERRCODE = 'XX000';
    ELSIF n = 0 THEN
        RAISE EXCEPTION 'shard_count cannot be 0' USING ERRCODE = 'XX000', HINT = 'if you no longer want this to be a distributed table you can try undistribute_table() function';
    ELSIF n NOT BETWEEN 1 AND 4096 THEN
        RAISE EXCEPTION '% is outside the valid range for parameter "shard_count" (1 .. 64000)', n USING ERRCODE = 'XX000', HINT = 'The teaching part makes at most 4096 shards.';
    END IF;
    SELECT * INTO a FROM pg_attribute WHERE attrelid = rel AND attname = coalesce(key, old_key) AND NOT attisdropped AND attnum > 0;
    IF a.attnum IS NULL THEN RAISE EXCEPTION 'column "%" of relation "%" does not exist', key, name USING ERRCODE = '42703'; END IF;
    SELECT array_agg(logicalrelid::oid ORDER BY logicalrelid::oid) INTO peers FROM pg_dist_partition WHERE colocationid = p.colocationid AND logicalrelid <> rel;
    IF other IS NOT NULL THEN
        SELECT c.* INTO og FROM pg_dist_partition q JOIN pg_dist_colocation c USING (colocationid) WHERE q.logicalrelid = other;
        IF og.colocationid IS NULL OR og.distributioncolumntype = 0 THEN
            RAISE EXCEPTION 'cannot colocate with % because it is not a distributed table', other::text USING ERRCODE = 'XX000';
        ELSIF n <> og.shardcount THEN
            RAISE EXCEPTION 'shard_count cannot be different than the shard count of the table in colocate_with' USING ERRCODE = 'XX000', HINT = 'if no shard_count is specified shard count will be same with colocate_with table''s';
        END IF;
        target := sharding.check_colocation(rel, a.atttypid, a.attcollation, other);
        n := og.shardcount;
    END IF;
    IF coalesce(n, g.shardcount) = g.shardcount AND a.attname = old_key AND NOT cut_loose AND (other IS NULL OR target = p.colocationid) THEN
        RAISE EXCEPTION 'this call doesn''t change any properties of the table' USING ERRCODE = 'XX000', HINT = 'check citus_tables view to see current properties of the table';
    END IF;
    IF n <> g.shardcount AND other IS NULL AND peers IS NOT NULL AND cascade_to IS NULL THEN
        RAISE EXCEPTION 'cascade_to_colocated parameter is necessary' USING ERRCODE = 'XX000', DETAIL = 'this table is colocated with some other tables',
            HINT = 'cascade_to_colocated := false will break the current colocation, cascade_to_colocated := true will change the shard count of colocated tables too.';
    ELSIF cascade_to AND key IS NOT NULL THEN
        RAISE EXCEPTION 'distribution_column changes cannot be cascaded to colocated tables' USING ERRCODE = 'XX000';
    END IF;
    PERFORM sharding.need_fresh_snapshot('alter_distributed_table');
    PERFORM sharding.lock_all();
    IF NOT coalesce(cascade_to, false) AND EXISTS (SELECT FROM sharding.foreign_key k WHERE rel IN (k.conrelid, k.confrelid) AND sharding.kind(k.conrelid) = 'h' AND sharding.kind(k.confrelid) = 'h' AND k.conrelid <> k.confrelid) THEN
        RAISE EXCEPTION 'cannot complete operation because table % has a foreign key to, or from, a colocated table', name USING ERRCODE = '0A000',
            HINT = 'Use cascade_to_colocated => true, or drop the foreign key first.';
    END IF;
    PERFORM sharding.check_unique(rel, a.attnum);
    IF target IS NULL THEN
        target := sharding.colocation_group(coalesce(n, g.shardcount), a.atttypid, a.attcollation, cut_loose OR coalesce(cascade_to, false));
    END IF;
    -- with cascade, all tables of the group go plain first, so that foreign keys between them find their peers
    IF coalesce(cascade_to, false) THEN peers := rel::oid || peers; ELSE peers := ARRAY[rel::oid]; END IF;
    FOR i IN 1 .. cardinality(peers) LOOP
        keys[i] := CASE WHEN peers[i] = rel THEN a.attname ELSE (SELECT column_to_column_name(logicalrelid, partkey) FROM pg_dist_partition WHERE logicalrelid = peers[i]) END;
    END LOOP;
    FOR i IN 1 .. cardinality(peers) LOOP peers[i] := sharding.to_plain(peers[i]); END LOOP;
    -- the new group may have been empty for a moment, and so dropped
    INSERT INTO pg_dist_colocation VALUES (target, coalesce(n, g.shardcount), 1, a.atttypid, a.attcollation) ON CONFLICT DO NOTHING;
    -- a referenced table before those that refer to it
    FOR i IN SELECT o FROM unnest(peers) WITH ORDINALITY u(t, o) ORDER BY EXISTS (SELECT FROM sharding.foreign_key WHERE conrelid = t AND confrelid = ANY (peers)), o LOOP
        PERFORM sharding.distribute(peers[i], keys[i], coalesce(n, g.shardcount), target);
    END LOOP;
END $$;

CREATE FUNCTION pg_catalog.alter_distributed_table(table_name regclass, distribution_column text DEFAULT NULL, shard_count int DEFAULT NULL,
    colocate_with text DEFAULT NULL, cascade_to_colocated boolean DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sharding.alter_distributed_table(table_name, distribution_column, shard_count,
        CASE WHEN colocate_with NOT IN ('none', 'default') THEN colocate_with::regclass END, coalesce(colocate_with = 'none', false), cascade_to_colocated);
END $$;

-- ---------------------------------------------------------------- another group, same shards
CREATE FUNCTION sharding.update_colocation(rel regclass, other regclass) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE p pg_dist_partition; g pg_dist_colocation; og pg_dist_colocation; t regclass; target int;
BEGIN
    FOREACH t IN ARRAY CASE WHEN other IS NULL THEN ARRAY[rel] ELSE ARRAY[rel, other] END LOOP
        IF sharding.kind(t) IS DISTINCT FROM 'h' THEN
            RAISE EXCEPTION 'relation % should be a hash or single shard distributed table', (SELECT relname FROM pg_class WHERE oid = t) USING ERRCODE = '0A000';
        END IF;
    END LOOP;
    SELECT * INTO p FROM pg_dist_partition WHERE logicalrelid = rel;
    SELECT * INTO g FROM pg_dist_colocation WHERE colocationid = p.colocationid;
    IF other IS NULL THEN
        target := sharding.colocation_group(g.shardcount, g.distributioncolumntype, g.distributioncolumncollation, true);
    ELSE
        SELECT c.* INTO og FROM pg_dist_partition q JOIN pg_dist_colocation c USING (colocationid) WHERE q.logicalrelid = other;
        target := sharding.check_colocation(rel, g.distributioncolumntype, g.distributioncolumncollation, other);
        IF og.shardcount <> g.shardcount THEN
            RAISE EXCEPTION 'cannot colocate tables % and %', (SELECT relname FROM pg_class WHERE oid = other), (SELECT relname FROM pg_class WHERE oid = rel)
                USING ERRCODE = 'XX000', DETAIL = format('Shard counts don''t match for %s and %s.', (SELECT relname FROM pg_class WHERE oid = other), (SELECT relname FROM pg_class WHERE oid = rel));
        END IF;
        IF EXISTS (SELECT FROM pg_dist_shard a JOIN pg_dist_placement pa USING (shardid) JOIN pg_dist_shard b ON b.logicalrelid = other AND b.shardminvalue = a.shardminvalue
                   JOIN pg_dist_placement pb ON pb.shardid = b.shardid WHERE a.logicalrelid = rel AND pa.groupid <> pb.groupid) THEN
            RAISE EXCEPTION 'cannot colocate tables % and %', (SELECT relname FROM pg_class WHERE oid = other), (SELECT relname FROM pg_class WHERE oid = rel)
                USING ERRCODE = 'XX000', DETAIL = 'Their shards stand on different nodes.';
        END IF;
    END IF;
    UPDATE pg_dist_partition SET colocationid = target WHERE logicalrelid = rel;
    PERFORM sharding.drop_empty_groups();
END $$;

CREATE FUNCTION pg_catalog.update_distributed_table_colocation(table_name regclass, colocate_with text) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM sharding.update_colocation(table_name, CASE WHEN colocate_with <> 'none' THEN colocate_with::regclass END);
END $$;

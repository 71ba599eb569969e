-- DDL on tables with shards: event triggers compare the catalogs with the record of the shards' shape and
-- send the difference to the shards, in the same transaction.

SET check_function_bodies = off;  -- functions of later files are named here

-- Our own DDL must not be taken for the student's. Returns what was set before.
CREATE FUNCTION sharding.busy(on_now boolean) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE before text := coalesce(nullif(current_setting('sharding.busy', true), ''), 'off');
BEGIN
    PERFORM set_config('sharding.busy', CASE WHEN on_now THEN 'on' ELSE 'off' END, true);
    RETURN before;
END $$;
CREATE FUNCTION sharding.is_busy() RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT coalesce(current_setting('sharding.busy', true), '') = 'on' $$;

-- A table that is only known to the metadata is forgotten there (it becomes something else, or goes).
CREATE FUNCTION sharding.forget_local(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) = 'l' THEN PERFORM sharding.forget(rel); END IF;
END $$;

-- ---------------------------------------------------------------- the difference, sent to the shards
CREATE FUNCTION sharding.recorded(rel oid) RETURNS SETOF sharding.shard_object LANGUAGE sql STABLE AS $$
    SELECT * FROM sharding.shard_object WHERE relid = rel AND kind IN ('c', 'n', 'k', 'i')
$$;
CREATE FUNCTION sharding.sync_shards() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t record; d record; n record; changed boolean; was sharding.shard_object; is_now sharding.shard_object;
BEGIN
    FOR t IN SELECT p.logicalrelid::oid AS rel, sharding.kind(p.logicalrelid) AS kind, w.schemaname, w.relname, c.relname AS new_name, ns.nspname AS new_schema
             FROM pg_dist_partition p JOIN sharding.table_name w ON w.relid = p.logicalrelid
             JOIN pg_class c ON c.oid = p.logicalrelid JOIN pg_namespace ns ON ns.oid = c.relnamespace LOOP
        changed := false;
        -- the table's own name
        IF (t.schemaname, t.relname) <> (t.new_schema, t.new_name) THEN PERFORM sharding.rename_shards(t.rel, t.new_schema, t.new_name); END IF;
        -- its objects: gone, new, or different under the same identity
        FOR d IN SELECT o AS was, w AS is_now, coalesce(o.kind, w.kind) AS kind FROM sharding.recorded(t.rel) o FULL JOIN sharding.wanted(t.rel) w ON w.kind = o.kind AND w.objid = o.objid
                 WHERE (o.name, o.definition) IS DISTINCT FROM (w.name, w.definition)
                 -- constraints and indexes go before their columns and come after them
                 ORDER BY (w.objid IS NOT NULL), CASE WHEN w.objid IS NULL THEN position(o.kind::text IN 'ikcn') ELSE position(w.kind::text IN 'cnki') END, coalesce(w.objid, o.objid) LOOP
            changed := true; was := d.was; is_now := d.is_now;
            FOR n IN SELECT x.nodeid, s.shardid, sharding.shard(t.rel, s.shardid) AS shard FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node x USING (groupid)
                     WHERE s.logicalrelid = t.rel AND groupid <> 0 ORDER BY s.shardid, x.nodeid LOOP
                PERFORM sharding.node_run(n.nodeid, sharding.change_object(t.rel, was, is_now, n.shard, n.shardid));
            END LOOP;
            DELETE FROM sharding.shard_object WHERE relid = t.rel AND kind = d.kind AND objid = coalesce(was.objid, is_now.objid);
            IF is_now.objid IS NOT NULL THEN
                -- a CHECK that comes later carries the shard id, as with Citus
                INSERT INTO sharding.shard_object SELECT t.rel, is_now.kind, is_now.objid, is_now.name, is_now.definition, coalesce(was.suffixed, is_now.kind IN ('k', 'i'));
            END IF;
        END LOOP;
        IF changed AND t.kind = 't' THEN                 -- the foreign tables for the copies follow
            PERFORM sharding.name_leaf_indexes(t.rel);
            PERFORM sharding.copy_table(t.rel, s.shardid, x.nodeid) FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node x USING (groupid)
            WHERE s.logicalrelid = t.rel AND groupid <> 0;
        END IF;
    END LOOP;
END $$;

-- The command for one changed object on one shard.
CREATE FUNCTION sharding.change_object(rel oid, was sharding.shard_object, is_now sharding.shard_object, shard text, shardid bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE default_now text; o sharding.shard_object := is_now;
BEGIN
    IF was.objid IS NULL THEN
        o.suffixed := o.kind IN ('k', 'i');
        IF o.kind = 'c' THEN                             -- rows that are there get the default; later ones bring their own value
            SELECT pg_get_expr(adbin, adrelid) INTO default_now FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
            WHERE adrelid = rel AND adnum = o.objid AND attgenerated = '';
            IF default_now LIKE 'nextval(%' THEN
                RAISE EXCEPTION 'cannot execute ADD COLUMN commands involving serial pseudotypes when metadata is synchronized to workers' USING ERRCODE = '0A000';
            END IF;
            RETURN sharding.add_object(o, shard, shardid) 
                || CASE WHEN default_now IS NULL THEN '' ELSE format(' DEFAULT %s; ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', default_now, shard, o.name) END;
        END IF;
        RETURN sharding.add_object(o, shard, shardid);
    ELSIF is_now.objid IS NULL THEN
        RETURN CASE was.kind
            WHEN 'c' THEN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', shard, was.name)
            -- a NOT NULL may have gone with its column
            WHEN 'n' THEN CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attnum = was.objid AND NOT attisdropped)
                               THEN format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', shard, (SELECT attname FROM pg_attribute WHERE attrelid = rel AND attnum = was.objid)) ELSE '' END
            WHEN 'k' THEN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', shard, CASE WHEN was.suffixed THEN sharding.with_id(was.name, shardid) ELSE was.name END)
            ELSE format('DROP INDEX IF EXISTS %I.%I', (SELECT schemaname FROM sharding.table_name WHERE relid = rel), sharding.with_id(was.name, shardid)) END;
    ELSIF is_now.kind = 'n' THEN RETURN '';
    ELSIF is_now.kind = 'c' THEN
        RETURN concat_ws('; ', CASE WHEN was.name <> is_now.name THEN format('ALTER TABLE %s RENAME COLUMN %I TO %I', shard, was.name, is_now.name) END,
                               CASE WHEN was.definition <> is_now.definition THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE %s', shard, is_now.name, is_now.definition) END);
    ELSIF is_now.kind = 'k' AND was.definition = is_now.definition || ' NOT VALID' THEN
        RETURN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', shard, CASE WHEN was.suffixed THEN sharding.with_id(was.name, shardid) ELSE was.name END);
    ELSIF was.definition = is_now.definition THEN
        IF is_now.kind = 'k' AND sharding.kind(rel) = 'h' THEN
            RAISE EXCEPTION 'renaming constraints belonging to distributed tables is currently unsupported' USING ERRCODE = '0A000';
        END IF;
        RETURN CASE is_now.kind
            WHEN 'k' THEN format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', shard, CASE WHEN was.suffixed THEN sharding.with_id(was.name, shardid) ELSE was.name END,
                                 CASE WHEN was.suffixed THEN sharding.with_id(is_now.name, shardid) ELSE is_now.name END)
            ELSE format('ALTER INDEX %I.%I RENAME TO %I', (SELECT schemaname FROM sharding.table_name WHERE relid = rel), sharding.with_id(was.name, shardid), sharding.with_id(is_now.name, shardid)) END;
    END IF;
    -- A definition that changed only because a column or a function in it has another name changed on the shard already.
    RETURN '';
END $$;

-- The shards follow the table's name and schema.
CREATE FUNCTION sharding.rename_shards(rel oid, new_schema name, new_name name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t sharding.table_name; n record; was text := sharding.busy(true);
BEGIN
    SELECT * INTO t FROM sharding.table_name WHERE relid = rel;
    FOR n IN SELECT s.shardid, s.shardminvalue, x.nodeid, groupid, sharding.with_id(t.relname, s.shardid) AS old_shard, sharding.with_id(new_name, s.shardid) AS new_shard
             FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node x USING (groupid) WHERE s.logicalrelid = rel ORDER BY 1 LOOP
        IF n.groupid <> 0 THEN
            PERFORM sharding.node_run(n.nodeid, concat_ws('; ',
                CASE WHEN n.old_shard <> n.new_shard THEN format('ALTER TABLE %I.%I RENAME TO %I', t.schemaname, n.old_shard, n.new_shard) END,
                CASE WHEN t.schemaname <> new_schema THEN format('CREATE SCHEMA IF NOT EXISTS %I; ALTER TABLE %I.%I SET SCHEMA %1$I', new_schema, t.schemaname, n.new_shard) END));
        END IF;
        IF n.shardminvalue IS NOT NULL OR n.groupid = 0 THEN
            IF n.old_shard <> n.new_shard THEN EXECUTE format('ALTER TABLE shards.%I RENAME TO %I', n.old_shard, n.new_shard); END IF;
            IF n.groupid <> 0 THEN EXECUTE format('ALTER FOREIGN TABLE shards.%I OPTIONS (SET schema_name %L, SET table_name %L)', n.new_shard, new_schema, n.new_shard); END IF;
        ELSE
            EXECUTE format('ALTER FOREIGN TABLE %s OPTIONS (SET schema_name %L, SET table_name %L)', sharding.copy_name(n.shardid, n.nodeid), new_schema, n.new_shard);
        END IF;
    END LOOP;
    UPDATE sharding.table_name SET schemaname = new_schema, relname = new_name WHERE relid = rel;
    PERFORM sharding.busy(was::boolean);
END $$;

-- Building: a plain table gives way to a table of the same name that stands over shards, in one transaction.
--   distributed: partitioned by hash of the key with our operator class; one foreign table for each shard
--   reference:   partitioned with one local partition (the coordinator's copy), foreign tables for the others' copies

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- carrying things over
-- Views over a table, outermost last. They are taken down and put up again around a rebuild, since the
-- table gets another OID (Citus keeps the OID; declarative partitioning cannot).
CREATE FUNCTION sharding.views_over(rel oid) RETURNS TABLE (view oid, name text, definition text, depth int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE v AS (
        SELECT $1 AS oid, 0 AS depth
        UNION
        SELECT r.ev_class, v.depth + 1 FROM v JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> v.oid)
    SELECT v.oid, v.oid::regclass::text, pg_get_viewdef(v.oid), max(v.depth) FROM v JOIN pg_class c ON c.oid = v.oid
    WHERE v.depth > 0 AND c.relkind = 'v' GROUP BY v.oid ORDER BY 4, 1
$$;

-- Owned sequences survive their table: they are let go before it and taken up by its successor.
CREATE FUNCTION sharding.owned_sequences(rel oid) RETURNS TABLE (seq regclass, column_name name, identity boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT d.objid::regclass, a.attname, d.deptype = 'i' FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = rel AND d.deptype IN ('a', 'i')
$$;

-- The columns that a copy of the rows names (generated columns compute themselves).
CREATE FUNCTION sharding.copied_columns(rel oid) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
$$;

-- Set a table aside under its own name, without the views over it and its sequences, so that its name and its
-- indexes' names are free. Returns what to_successor needs.
CREATE FUNCTION sharding.set_aside(rel oid) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE t record; v record; s record; kept jsonb;
BEGIN
    SELECT n.nspname, c.relname, obj_description(c.oid, 'pg_class') AS comment INTO t
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel;
    kept := jsonb_build_object('schema', t.nspname, 'name', t.relname, 'comment', t.comment,
        'views', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', x.name, 'definition', x.definition) ORDER BY x.depth, x.view), '[]') FROM sharding.views_over(rel) x),
        'sequences', (SELECT coalesce(jsonb_agg(jsonb_build_object('seq', x.seq::oid, 'column', x.column_name, 'identity', x.identity)), '[]') FROM sharding.owned_sequences(rel) x));
    FOR v IN SELECT name FROM sharding.views_over(rel) ORDER BY depth DESC, view DESC LOOP EXECUTE 'DROP VIEW ' || v.name; END LOOP;
    FOR s IN SELECT seq FROM sharding.owned_sequences(rel) WHERE NOT identity LOOP EXECUTE format('ALTER SEQUENCE %s OWNED BY NONE', s.seq); END LOOP;
    EXECUTE format('ALTER TABLE %s SET SCHEMA sharding_aside', rel::regclass);
    RETURN kept;
END $$;

-- Give the successor what was kept, and drop the one set aside.
CREATE FUNCTION sharding.to_successor(kept jsonb, old oid, new oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE s record; v record; last record;
BEGIN
    FOR s IN SELECT (x->>'seq')::oid::regclass AS seq, x->>'column' AS col, (x->>'identity')::boolean AS identity FROM jsonb_array_elements(kept->'sequences') x LOOP
        IF s.identity THEN                              -- LIKE … INCLUDING IDENTITY made a new one: it goes on where the old one was
            EXECUTE format('SELECT last_value, is_called FROM %s', s.seq) INTO last;
            PERFORM setval(pg_get_serial_sequence(new::regclass::text, s.col), last.last_value, last.is_called);
        ELSE
            EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I', s.seq, new::regclass, s.col);
        END IF;
    END LOOP;
    IF kept->>'comment' IS NOT NULL THEN EXECUTE format('COMMENT ON TABLE %s IS %L', new::regclass, kept->>'comment'); END IF;
    BEGIN
        EXECUTE format('DROP TABLE %s', old::regclass);
    EXCEPTION WHEN dependent_objects_still_exist THEN
        RAISE EXCEPTION 'cannot rebuild table "%" because other objects depend on it', kept->>'name' USING ERRCODE = '2BP01',
            DETAIL = (SELECT string_agg(pg_describe_object(classid, objid, objsubid), E'\n') FROM pg_depend
                      WHERE refclassid = 'pg_class'::regclass AND refobjid = old AND deptype = 'n'),
            HINT = 'Drop them, and make them again afterwards. (Views are carried over, these are not.)';
    END;
    FOR v IN SELECT x->>'name' AS name, x->>'definition' AS definition FROM jsonb_array_elements(kept->'views') x LOOP
        EXECUTE format('CREATE VIEW %s AS %s', v.name, v.definition);
    END LOOP;
    -- what refers to the table by OID
    UPDATE sharding.foreign_key SET conrelid = new WHERE conrelid = old;
    UPDATE sharding.foreign_key SET confrelid = new WHERE confrelid = old;
END $$;

-- ---------------------------------------------------------------- what a table may not have
CREATE FUNCTION sharding.check_table(rel oid, distributing boolean) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE c pg_class;
BEGIN
    SELECT * INTO c FROM pg_class WHERE oid = rel;
    IF c.relnamespace = 'pg_catalog'::regnamespace THEN
        IF distributing THEN PERFORM nextval('pg_dist_colocationid_seq'); END IF;    -- Citus notices after it made the group
        RAISE EXCEPTION 'cannot create a citus table from a catalog table' USING ERRCODE = '0A000';
    ELSIF c.relpersistence = 't' THEN
        RAISE EXCEPTION 'cannot distribute a temporary table' USING ERRCODE = '0A000';
    ELSIF sharding.kind(rel) IN ('h', 't') THEN
        RAISE EXCEPTION 'table "%" is already distributed', c.relname USING ERRCODE = '42P16';
    ELSIF c.relkind NOT IN ('r', 'f', 'p') THEN
        RAISE EXCEPTION '% is not a regular, foreign or partitioned table', c.relname USING ERRCODE = '42809';
    ELSIF c.relkind <> 'r' THEN
        RAISE EXCEPTION 'the teaching part distributes plain tables only; "%" is %', c.relname,
            CASE c.relkind WHEN 'p' THEN 'partitioned' ELSE 'a foreign table' END USING ERRCODE = '0A000';
    ELSIF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = rel OR inhparent = rel) THEN
        RAISE EXCEPTION 'the teaching part does not distribute tables that inherit: "%"', c.relname USING ERRCODE = '0A000';
    ELSIF c.relrowsecurity THEN
        RAISE EXCEPTION 'the teaching part does not carry row security policies over: "%"', c.relname USING ERRCODE = '0A000';
    ELSIF NOT EXISTS (SELECT FROM sharding.workers() WHERE shouldhaveshards) THEN
        RAISE EXCEPTION 'couldn''t find any worker nodes' USING ERRCODE = 'XX000', HINT = 'Add more worker nodes';
    END IF;
END $$;

CREATE FUNCTION sharding.check_triggers(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = rel AND NOT tgisinternal) THEN
        RAISE EXCEPTION 'cannot distribute relation "%" because it has triggers', (SELECT relname FROM pg_class WHERE oid = rel)
            USING ERRCODE = 'XX000', HINT = format('Consider dropping all the triggers on "%s" and retry.', (SELECT relname FROM pg_class WHERE oid = rel));
    END IF;
END $$;

-- Unique, exclusion and primary keys must include the key (for an exclusion: compared by equality).
CREATE FUNCTION sharding.check_unique(rel oid, key int2) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype = 'x'
               WHERE i.indrelid = rel AND (i.indisunique OR i.indisexclusion)
               AND NOT EXISTS (SELECT FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY u(attnum, o)
                   WHERE u.attnum = key AND (k.oid IS NULL OR EXISTS (SELECT FROM pg_amop WHERE amopopr = k.conexclop[o] AND amopmethod = 403 AND amopstrategy = 3)))) THEN
        RAISE EXCEPTION 'cannot create constraint on "%"', (SELECT relname FROM pg_class WHERE oid = rel) USING ERRCODE = '0A000',
            DETAIL = 'Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY constraints that do not include the partition column (with an equality operator if EXCLUDE).';
    END IF;
END $$;

-- A foreign key of a distributed (or soon distributed) table: to a reference table, or colocated and on both keys.
CREATE FUNCTION sharding.check_foreign_key(fk sharding.foreign_key, key name, colocation int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    p pg_dist_partition; ref_key name;
    unfit text := 'cannot create foreign key constraint';
BEGIN
    SELECT * INTO p FROM pg_dist_partition WHERE logicalrelid = fk.confrelid;
    IF p.repmodel = 't' THEN RETURN; END IF;
    IF p.logicalrelid IS NULL AND fk.confrelid <> fk.conrelid THEN
        RAISE EXCEPTION 'referenced table "%" must be a distributed table or a reference table', (SELECT relname FROM pg_class WHERE oid = fk.confrelid) USING ERRCODE = '42P16',
            DETAIL = 'To enforce foreign keys, the referencing and referenced rows need to be stored on the same node.',
            HINT = format('You could use SELECT create_reference_table(''%s'') to replicate the referenced table to all nodes or consider dropping the foreign key', (SELECT relname FROM pg_class WHERE oid = fk.confrelid));
    END IF;
    IF fk.confrelid = fk.conrelid THEN ref_key := key;
    ELSIF p.partmethod = 'h' AND p.colocationid = colocation THEN ref_key := column_to_column_name(p.logicalrelid, p.partkey);
    ELSE
        RAISE EXCEPTION 'cannot create foreign key constraint since relations are not colocated or not referencing a reference table' USING ERRCODE = '0A000',
            DETAIL = 'A distributed table can only have foreign keys if it is referencing another colocated hash distributed table or a reference table';
    END IF;
    IF array_position(fk.columns, key) IS NULL OR array_position(fk.columns, key) IS DISTINCT FROM array_position(fk.refcolumns, ref_key) THEN
        RAISE EXCEPTION '%', unfit USING ERRCODE = '0A000',
            DETAIL = 'Foreign keys are supported in two cases, either in between two colocated tables including partition column in the same ordinal in the both tables or from distributed to reference tables';
    ELSIF fk.actions ~ 'ON DELETE SET' THEN
        RAISE EXCEPTION '%', unfit USING ERRCODE = '0A000', DETAIL = 'SET NULL or SET DEFAULT is not supported in ON DELETE operation when distribution key is included in the foreign key constraint';
    ELSIF fk.actions ~ 'ON UPDATE (SET|CASCADE)' THEN
        RAISE EXCEPTION '%', unfit USING ERRCODE = '0A000', DETAIL = 'SET NULL, SET DEFAULT or CASCADE is not supported in ON UPDATE operation when distribution key included in the foreign key constraint';
    END IF;
END $$;

-- ---------------------------------------------------------------- foreign keys around a rebuild
-- Move a table's declared foreign keys (its own and those that refer to it) into sharding.foreign_key, for the
-- rebuild; those that PostgreSQL can hold are declared again by declare_foreign_keys.
CREATE FUNCTION sharding.collect_foreign_keys(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE k pg_constraint;
BEGIN
    FOR k IN SELECT * FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND rel IN (conrelid, confrelid) LOOP
        INSERT INTO sharding.foreign_key SELECT (sharding.read_foreign_key(k)).*;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname);
    END LOOP;
END $$;

-- Declare every recorded foreign key of a table that needs no shards: from a local or reference table to one such.
CREATE FUNCTION sharding.declare_foreign_keys(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE k sharding.foreign_key;
BEGIN
    FOR k IN SELECT * FROM sharding.foreign_key WHERE rel IN (conrelid, confrelid) AND NOT onshards
             AND sharding.kind(conrelid) IS DISTINCT FROM 'h' AND sharding.kind(confrelid) IS DISTINCT FROM 'h' LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)%s', k.conrelid::regclass, k.conname,
            sharding.idents(k.columns), k.confrelid::regclass, sharding.idents(k.refcolumns), k.actions);
        DELETE FROM sharding.foreign_key WHERE conrelid = k.conrelid AND conname = k.conname;
    END LOOP;
END $$;

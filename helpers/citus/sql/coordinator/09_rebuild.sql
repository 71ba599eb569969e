-- Rebuilding: a table gives way to another of the same name, in one transaction.
--
-- PostgreSQL cannot turn a plain table into a partitioned one in place. So the old table is set
-- aside, a new one takes its name, the rows are copied, and what belonged to the old one goes to
-- its successor. The new table has another OID (with Citus it keeps its own); this file carries
-- over what hangs on the old one.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- our own DDL
-- Is this part itself at work? Then the DDL that runs is not the student's, and the event triggers
-- of 18 leave it alone.
CREATE FUNCTION sharding.is_busy() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('sharding.busy', true), '') = 'on'
$$;

-- Say so, or no longer. Returns what was said before. The setting ends with the transaction.
CREATE FUNCTION sharding.busy(on_now boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    before boolean := sharding.is_busy();
BEGIN
    PERFORM set_config('sharding.busy', CASE WHEN on_now THEN 'on' ELSE 'off' END, true);
    RETURN before;
END $$;

-- ---------------------------------------------------------------- what hangs on a table
-- The views over a table, and those over them; the outermost last.
CREATE FUNCTION sharding.views_over(rel oid)
RETURNS TABLE (view oid, name text, definition text, depth int)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE above AS (
        SELECT $1 AS oid, 0 AS depth
        UNION
        SELECT rule.ev_class, above.depth + 1
        FROM above
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass
            AND d.refobjid = above.oid
            AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite rule ON rule.oid = d.objid
            AND rule.ev_class <> above.oid
    )
    SELECT above.oid, above.oid::regclass::text, pg_get_viewdef(above.oid), max(above.depth)
    FROM above
    JOIN pg_class c ON c.oid = above.oid
    WHERE above.depth > 0
      AND c.relkind = 'v'
    GROUP BY above.oid
    ORDER BY 4, 1
$$;

-- The sequences that a table's columns own: serial and identity.
CREATE FUNCTION sharding.owned_sequences(rel oid)
RETURNS TABLE (seq regclass, column_name name, identity boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT d.objid::regclass, a.attname, d.deptype = 'i'
    FROM pg_depend d
    JOIN pg_class c ON c.oid = d.objid
        AND c.relkind = 'S'
    JOIN pg_attribute a ON a.attrelid = d.refobjid
        AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass
      AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = rel
      AND d.deptype IN ('a', 'i')
$$;

-- ---------------------------------------------------------------- giving way
-- Set a table aside under its own name, so that its name and its indexes' names are free. Views
-- over it are taken down; serial sequences are let go, so that they survive it. Returns what
-- to_successor needs.
CREATE FUNCTION sharding.set_aside(rel oid) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    kept jsonb;
    view_over record;
    owned record;
BEGIN
    SELECT jsonb_build_object(
        'schema', n.nspname,
        'name', c.relname,
        'comment', obj_description(c.oid, 'pg_class'),
        'views', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_object('name', v.name, 'definition', v.definition)
                ORDER BY v.depth, v.view), '[]')
            FROM sharding.views_over(rel) v),
        'sequences', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_object(
                    'seq', s.seq::oid, 'column', s.column_name, 'identity', s.identity)), '[]')
            FROM sharding.owned_sequences(rel) s))
    INTO kept
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel;

    FOR view_over IN
        SELECT name
        FROM sharding.views_over(rel)
        ORDER BY depth DESC, view DESC
    LOOP
        EXECUTE 'DROP VIEW ' || view_over.name;
    END LOOP;
    FOR owned IN
        SELECT seq
        FROM sharding.owned_sequences(rel)
        WHERE NOT identity
    LOOP
        EXECUTE format('ALTER SEQUENCE %s OWNED BY NONE', owned.seq);
    END LOOP;
    EXECUTE format('ALTER TABLE %s SET SCHEMA sharding_aside', rel::regclass);
    RETURN kept;
END $$;

-- Copy all rows from the one set aside.
CREATE FUNCTION sharding.copy_rows(old oid, new oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s',
        new::regclass, sharding.copied_columns(old), old::regclass);
END $$;

-- Give the successor what was kept, and drop the one set aside.
CREATE FUNCTION sharding.to_successor(kept jsonb, old oid, new oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    owned record;
    view_over record;
    last record;
BEGIN
    FOR owned IN
        SELECT (s->>'seq')::oid::regclass AS seq,
            s->>'column' AS column_name,
            (s->>'identity')::boolean AS identity
        FROM jsonb_array_elements(kept->'sequences') s
    LOOP
        IF owned.identity THEN
            -- LIKE … INCLUDING IDENTITY made a new sequence: it goes on where the old one was
            EXECUTE format('SELECT last_value, is_called FROM %s', owned.seq) INTO last;
            PERFORM setval(
                pg_get_serial_sequence(new::regclass::text, owned.column_name),
                last.last_value, last.is_called);
        ELSE
            EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I',
                owned.seq, new::regclass, owned.column_name);
        END IF;
    END LOOP;
    IF kept->>'comment' IS NOT NULL THEN
        EXECUTE format('COMMENT ON TABLE %s IS %L', new::regclass, kept->>'comment');
    END IF;

    BEGIN
        EXECUTE format('DROP TABLE %s', old::regclass);
    EXCEPTION WHEN dependent_objects_still_exist THEN
        RAISE EXCEPTION 'cannot rebuild table "%" because other objects depend on it',
            kept->>'name'
            USING ERRCODE = '2BP01',
                  DETAIL = (
                      SELECT string_agg(pg_describe_object(classid, objid, objsubid), E'\n')
                      FROM pg_depend
                      WHERE refclassid = 'pg_class'::regclass
                        AND refobjid = old
                        AND deptype = 'n'),
                  HINT = 'Drop them, and make them again afterwards. '
                      '(Views are carried over, these are not.)';
    END;

    FOR view_over IN
        SELECT v->>'name' AS name, v->>'definition' AS definition
        FROM jsonb_array_elements(kept->'views') v
    LOOP
        EXECUTE format('CREATE VIEW %s AS %s', view_over.name, view_over.definition);
    END LOOP;
    UPDATE sharding.foreign_key
    SET conrelid = new
    WHERE conrelid = old;
    UPDATE sharding.foreign_key
    SET confrelid = new
    WHERE confrelid = old;
END $$;

-- ---------------------------------------------------------------- forgetting
-- A colocation group without tables is no group.
CREATE FUNCTION sharding.drop_empty_groups() RETURNS void
LANGUAGE sql SET search_path = pg_catalog AS $$
    DELETE FROM pg_dist_colocation c
    WHERE NOT EXISTS (
        SELECT
        FROM pg_dist_partition p
        WHERE p.colocationid = c.colocationid)
$$;

-- Take a table out of the metadata.
CREATE FUNCTION sharding.forget(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    copy_table text;
BEGIN
    FOR copy_table IN
        SELECT sharding.copy_name(s.shardid, s.nodeid)
        FROM sharding.worker_shards(rel) s
        WHERE sharding.kind(rel) = 't'
    LOOP
        EXECUTE 'DROP FOREIGN TABLE IF EXISTS ' || copy_table;
    END LOOP;
    DELETE FROM pg_dist_placement p
    USING pg_dist_shard s
    WHERE s.shardid = p.shardid
      AND s.logicalrelid = rel;
    DELETE FROM pg_dist_shard
    WHERE logicalrelid = rel;
    DELETE FROM pg_dist_partition
    WHERE logicalrelid = rel;
    DELETE FROM sharding.shard_object
    WHERE relid = rel;
    DELETE FROM sharding.table_name
    WHERE relid = rel;
    PERFORM sharding.drop_empty_groups();
END $$;

-- A local table that the metadata only know of is forgotten before it becomes something else.
CREATE FUNCTION sharding.forget_local(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF sharding.kind(rel) = 'l' THEN
        PERFORM sharding.forget(rel);
    END IF;
END $$;

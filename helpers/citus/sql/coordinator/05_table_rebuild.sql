-- Rebuilding a table: check it, then replace it by another table of the same name.
--
-- PostgreSQL cannot turn a plain table into a partitioned one in place. So, in one transaction, the
-- old table moves to another schema, a new table gets its name, the rows are copied, and views,
-- sequences, comment and foreign keys move to the new table. Unlike in Citus, the new table has
-- another OID.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- checks
-- Refuse a call by a role that does not own the table. The functions that change tables run as the
-- creator of the database (20_roles.sql), so current_user is not the caller there.
CREATE FUNCTION sharding.require_owner(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    caller name := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF NOT pg_has_role(caller, (SELECT relowner FROM pg_class WHERE oid = rel), 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table %', sharding.bare_name(rel)
            USING ERRCODE = '42501';
    END IF;
END $$;

-- A node can check only its own rows. Hence two rules of every sharded database: a unique key must
-- contain the distribution column, since equal values are then in one shard, and a foreign key must
-- refer to rows on the same node. The messages are Citus's.
--
-- Check the table itself, before anything is locked or numbered.
CREATE FUNCTION sharding.check_table(rel oid, distributing boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    class pg_class;
BEGIN
    PERFORM sharding.require_owner(rel);
    SELECT *
    INTO class
    FROM pg_class
    WHERE oid = rel;
    IF class.relnamespace = 'pg_catalog'::regnamespace THEN
        -- as in Citus, the failed call uses up a colocation id
        IF distributing THEN
            PERFORM nextval('pg_dist_colocationid_seq');
        END IF;
        RAISE EXCEPTION 'cannot create a citus table from a catalog table'
            USING ERRCODE = '0A000';
    ELSIF class.relpersistence = 't' THEN
        RAISE EXCEPTION 'cannot distribute a temporary table'
            USING ERRCODE = '0A000';
    ELSIF sharding.kind(rel) IN ('h', 't') THEN
        RAISE EXCEPTION 'table "%" is already distributed', class.relname
            USING ERRCODE = '42P16';
    ELSIF class.relkind NOT IN ('r', 'f', 'p') THEN
        RAISE EXCEPTION '% is not a regular, foreign or partitioned table', class.relname
            USING ERRCODE = '42809';
    ELSIF class.relkind <> 'r' THEN
        RAISE EXCEPTION 'the teaching cluster distributes plain tables only; "%" is %',
            class.relname,
            CASE class.relkind WHEN 'p' THEN 'partitioned' ELSE 'a foreign table' END
            USING ERRCODE = '0A000';
    ELSIF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = rel OR inhparent = rel) THEN
        RAISE EXCEPTION 'the teaching cluster does not distribute tables that inherit: "%"',
            class.relname
            USING ERRCODE = '0A000';
    ELSIF NOT EXISTS (SELECT FROM sharding.workers() WHERE shouldhaveshards) THEN
        RAISE EXCEPTION 'couldn''t find any worker nodes'
            USING ERRCODE = 'XX000',
                  HINT = 'Add more worker nodes';
    END IF;
END $$;

-- Refuse a table with triggers: they would run on the coordinator, and the rows are on the workers.
CREATE FUNCTION sharding.check_triggers(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = rel AND NOT tgisinternal) THEN
        RAISE EXCEPTION 'cannot distribute relation "%" because it has triggers',
            sharding.bare_name(rel)
            USING ERRCODE = 'XX000',
                  HINT = format('Consider dropping all the triggers on "%s" and retry.',
                      sharding.bare_name(rel));
    END IF;
END $$;

-- Check that unique, exclusion and primary keys contain the distribution column, and that an
-- exclusion constraint compares it by equality (method 403 is btree, strategy 3 is "=").
CREATE FUNCTION sharding.check_unique(rel oid, key int2) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (
        SELECT
        FROM pg_index i
        LEFT JOIN pg_constraint exclusion ON exclusion.conindid = i.indexrelid
            AND exclusion.contype = 'x'
        WHERE i.indrelid = rel
          AND (i.indisunique OR i.indisexclusion)
          AND NOT EXISTS (
              SELECT
              FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY u(attnum, position)
              WHERE u.attnum = key
                AND (exclusion.oid IS NULL
                     OR EXISTS (
                         SELECT
                         FROM pg_amop
                         WHERE amopopr = exclusion.conexclop[u.position]
                           AND amopmethod = 403
                           AND amopstrategy = 3))))
    THEN
        RAISE EXCEPTION 'cannot create constraint on "%"', sharding.bare_name(rel)
            USING ERRCODE = '0A000',
                  DETAIL = 'Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY '
                      'constraints that do not include the partition column '
                      '(with an equality operator if EXCLUDE).';
    END IF;
END $$;

-- Check a foreign key of a table that is, or will be, distributed by "key" in a colocation group.
-- It must refer to a reference table, or connect the distribution columns of two colocated tables.
CREATE FUNCTION sharding.check_foreign_key(fk sharding.foreign_key, key name, colocation int)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    referenced pg_dist_partition;
    referenced_key name;
    refusal text := 'cannot create foreign key constraint';
BEGIN
    SELECT *
    INTO referenced
    FROM pg_dist_partition
    WHERE logicalrelid = fk.confrelid;
    IF referenced.repmodel = 't' THEN
        RETURN;
    END IF;

    IF fk.confrelid = fk.conrelid THEN
        referenced_key := key;
    ELSIF referenced.logicalrelid IS NULL THEN
        RAISE EXCEPTION
            'referenced table "%" must be a distributed table or a reference table',
            sharding.bare_name(fk.confrelid)
            USING ERRCODE = '42P16',
                  DETAIL = 'To enforce foreign keys, the referencing and referenced rows need '
                      'to be stored on the same node.',
                  HINT = format('You could use SELECT create_reference_table(''%s'') to '
                      'replicate the referenced table to all nodes or consider dropping the '
                      'foreign key', sharding.bare_name(fk.confrelid));
    ELSIF referenced.partmethod = 'h' AND referenced.colocationid = colocation THEN
        referenced_key := column_to_column_name(referenced.logicalrelid, referenced.partkey);
    ELSE
        RAISE EXCEPTION 'cannot create foreign key constraint since relations are not colocated '
            'or not referencing a reference table'
            USING ERRCODE = '0A000',
                  DETAIL = 'A distributed table can only have foreign keys if it is referencing '
                      'another colocated hash distributed table or a reference table';
    END IF;

    IF array_position(fk.columns, key) IS NULL
       OR array_position(fk.columns, key)
          IS DISTINCT FROM array_position(fk.refcolumns, referenced_key)
    THEN
        RAISE EXCEPTION '%', refusal
            USING ERRCODE = '0A000',
                  DETAIL = 'Foreign keys are supported in two cases, either in between two '
                      'colocated tables including partition column in the same ordinal in the '
                      'both tables or from distributed to reference tables';
    ELSIF fk.actions ~ 'ON DELETE SET' THEN
        RAISE EXCEPTION '%', refusal
            USING ERRCODE = '0A000',
                  DETAIL = 'SET NULL or SET DEFAULT is not supported in ON DELETE operation '
                      'when distribution key is included in the foreign key constraint';
    ELSIF fk.actions ~ 'ON UPDATE (SET|CASCADE)' THEN
        RAISE EXCEPTION '%', refusal
            USING ERRCODE = '0A000',
                  DETAIL = 'SET NULL, SET DEFAULT or CASCADE is not supported in ON UPDATE '
                      'operation when distribution key included in the foreign key constraint';
    END IF;
END $$;

-- Refuse a foreign key from a reference or local table to a distributed one: its rows are on other
-- nodes than the shards.
CREATE FUNCTION sharding.refuse_key_to_distributed() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'cannot create foreign key constraint since foreign keys from reference '
        'tables and local tables to distributed tables are not supported'
        USING ERRCODE = '0A000',
              DETAIL = 'Reference tables and local tables can only have foreign keys to '
                  'reference tables and local tables';
END $$;

-- ---------------------------------------------------------------- DDL of these scripts
-- Return whether these scripts run the present DDL. The event triggers of 14_event_triggers.sql
-- then do nothing.
CREATE FUNCTION sharding.is_internal_ddl() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('sharding.internal_ddl', true), '') = 'on'
$$;

-- Set or clear this state until the end of the transaction, and return the previous state.
CREATE FUNCTION sharding.set_internal_ddl(on_now boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    before boolean := sharding.is_internal_ddl();
BEGIN
    PERFORM set_config('sharding.internal_ddl', CASE WHEN on_now THEN 'on' ELSE 'off' END, true);
    RETURN before;
END $$;

-- ---------------------------------------------------------------- what depends on the table
-- Move the foreign keys from and to a table from the catalogs to sharding.foreign_key.
CREATE FUNCTION sharding.collect_foreign_keys(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    declared pg_constraint;
BEGIN
    FOR declared IN
        SELECT *
        FROM pg_constraint
        WHERE contype = 'f'
          AND conparentid = 0
          AND rel IN (conrelid, confrelid)
    LOOP
        INSERT INTO sharding.foreign_key
        SELECT (sharding.read_foreign_key(declared)).*;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I',
            declared.conrelid::regclass, declared.conname);
    END LOOP;
END $$;

-- Declare those foreign keys of a table again that PostgreSQL can hold: between local and reference
-- tables.
CREATE FUNCTION sharding.restore_foreign_keys(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    fk sharding.foreign_key;
BEGIN
    FOR fk IN
        SELECT *
        FROM sharding.foreign_key
        WHERE rel IN (conrelid, confrelid)
          AND NOT onshards
          AND sharding.kind(conrelid) IS DISTINCT FROM 'h'
          AND sharding.kind(confrelid) IS DISTINCT FROM 'h'
    LOOP
        EXECUTE sharding.foreign_key_command(
            fk, fk.conname, fk.conrelid::regclass::text, fk.confrelid::regclass::text);
        DELETE FROM sharding.foreign_key
        WHERE conrelid = fk.conrelid
          AND conname = fk.conname;
    END LOOP;
END $$;

-- Return the views over a table, and the views over those; the outermost last. ONLY is removed from
-- their definitions: it makes no difference in Citus, but would in a partitioned table.
CREATE FUNCTION sharding.views_over(rel oid)
RETURNS TABLE (view oid, name text, options text, definition text, depth int)
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
    SELECT above.oid, above.oid::regclass::text,
        coalesce('WITH (' || array_to_string(max(c.reloptions), ', ') || ')', ''),
        regexp_replace(pg_get_viewdef(above.oid),
            '\mONLY (' || sharding.name_pattern(rel) || ')', '\1', 'g'),
        max(above.depth)
    FROM above
    JOIN pg_class c ON c.oid = above.oid
    WHERE above.depth > 0
      AND c.relkind = 'v'
    GROUP BY above.oid
    ORDER BY 5, 1
$$;

-- Return the sequences that a table's columns own (serial and identity).
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

-- Return the commands that give a table or view of this name the owner, the grants and the row
-- security of "rel".
CREATE FUNCTION sharding.access_commands(rel oid, name text) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('ALTER TABLE %s OWNER TO %I', name, pg_get_userbyid(relowner))
    FROM pg_class
    WHERE oid = rel
    UNION ALL
    SELECT format('GRANT %s%s ON %s TO %s%s', privilege_type, column_list, name,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM (
        SELECT relacl AS acl, '' AS column_list
        FROM pg_class
        WHERE oid = rel
        UNION ALL
        SELECT attacl, format(' (%I)', attname)
        FROM pg_attribute
        WHERE attrelid = rel
          AND NOT attisdropped
    ) granted, aclexplode(acl)
    UNION ALL
    SELECT format('ALTER TABLE %s %s ROW LEVEL SECURITY', name, word)
    FROM pg_class, LATERAL (VALUES ('ENABLE', relrowsecurity), ('FORCE', relforcerowsecurity))
        v(word, wanted)
    WHERE oid = rel
      AND wanted
    UNION ALL
    SELECT format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', polname, name,
            CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                        WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
            (SELECT string_agg(
                 CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ')
             FROM unnest(polroles) role))
        || coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', '')
        || coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', '')
    FROM pg_policy
    WHERE polrelid = rel
$$;

-- Give the partitions of a table its owner, who could not alter the table otherwise.
CREATE FUNCTION sharding.own_partitions(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('ALTER TABLE %s OWNER TO %I', part.oid::regclass,
            pg_get_userbyid(whole.relowner))
        FROM pg_inherits
        JOIN pg_class part ON part.oid = inhrelid
        JOIN pg_class whole ON whole.oid = inhparent
        WHERE whole.oid = rel
          AND part.relowner <> whole.relowner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;

-- ---------------------------------------------------------------- the replacement
-- Move a table to the schema sharding_aside, so that its name and its indexes' names are free.
-- Views over it are dropped, and serial sequences are detached so that dropping the table keeps
-- them. Return what replace_table needs to restore them.
CREATE FUNCTION sharding.set_aside(rel oid) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    saved jsonb;
    view_over record;
    owned record;
BEGIN
    IF EXISTS (SELECT FROM pg_rewrite WHERE ev_class = rel)
       OR EXISTS (
           SELECT
           FROM pg_trigger
           JOIN pg_proc f ON f.oid = tgfoid
           WHERE tgrelid = rel
             AND NOT tgisinternal
             AND pronamespace <> 'sharding'::regnamespace)
    THEN
        RAISE EXCEPTION 'the teaching cluster cannot rebuild table "%" because it has rules or '
            'triggers', sharding.bare_name(rel)
            USING ERRCODE = '0A000',
                  HINT = 'Drop them first, and create them again afterwards.';
    END IF;
    SELECT jsonb_build_object(
        'schema', n.nspname,
        'name', c.relname,
        'comment', obj_description(c.oid, 'pg_class'),
        'access', ARRAY(
            SELECT *
            FROM sharding.access_commands(rel, format('%I.%I', n.nspname, c.relname))),
        'views', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_object(
                    'definition',
                    format('CREATE VIEW %s %s AS %s', v.name, v.options, v.definition),
                    'access', ARRAY(SELECT * FROM sharding.access_commands(v.view, v.name)))
                ORDER BY v.depth, v.view), '[]')
            FROM sharding.views_over(rel) v),
        'sequences', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_object(
                    'seq', s.seq::oid, 'column', s.column_name, 'identity', s.identity)), '[]')
            FROM sharding.owned_sequences(rel) s))
    INTO saved
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
    RETURN saved;
END $$;

-- Copy all rows from the old table to the new one.
CREATE FUNCTION sharding.copy_rows(old oid, new oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s',
        new::regclass, sharding.copied_columns(old), old::regclass);
END $$;

-- Give the new table what set_aside saved, and drop the old one.
CREATE FUNCTION sharding.replace_table(saved jsonb, old oid, new oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    owned record;
    command text;
    last record;
BEGIN
    FOR owned IN
        SELECT (s->>'seq')::oid::regclass AS seq,
            s->>'column' AS column_name,
            (s->>'identity')::boolean AS identity
        FROM jsonb_array_elements(saved->'sequences') s
    LOOP
        IF owned.identity THEN
            -- LIKE … INCLUDING IDENTITY created a new sequence: continue from the old one's value
            EXECUTE format('SELECT last_value, is_called FROM %s', owned.seq) INTO last;
            PERFORM setval(
                pg_get_serial_sequence(new::regclass::text, owned.column_name),
                last.last_value, last.is_called);
        ELSE
            EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I',
                owned.seq, new::regclass, owned.column_name);
        END IF;
    END LOOP;
    IF saved->>'comment' IS NOT NULL THEN
        EXECUTE format('COMMENT ON TABLE %s IS %L', new::regclass, saved->>'comment');
    END IF;

    BEGIN
        EXECUTE format('DROP TABLE %s', old::regclass);
    EXCEPTION WHEN dependent_objects_still_exist THEN
        RAISE EXCEPTION 'cannot rebuild table "%" because other objects depend on it',
            saved->>'name'
            USING ERRCODE = '2BP01',
                  DETAIL = (
                      SELECT string_agg(pg_describe_object(classid, objid, objsubid), E'\n')
                      FROM pg_depend
                      WHERE refobjid IN (
                              old,
                              (SELECT reltype FROM pg_class WHERE oid = old),
                              (SELECT typarray
                               FROM pg_class
                               JOIN pg_type t ON t.oid = reltype
                               WHERE pg_class.oid = old))
                        AND deptype = 'n'),
                  HINT = 'Drop them, and create them again afterwards. '
                      '(Only views are restored.)';
    END;

    FOR command IN
        SELECT jsonb_array_elements_text(saved->'access')
        UNION ALL
        SELECT jsonb_array_elements_text(v->'definition' || (v->'access'))
        FROM jsonb_array_elements(saved->'views') v
    LOOP
        EXECUTE command;
    END LOOP;
    PERFORM sharding.own_partitions(new);
    UPDATE sharding.foreign_key
    SET conrelid = new
    WHERE conrelid = old;
    UPDATE sharding.foreign_key
    SET confrelid = new
    WHERE confrelid = old;
END $$;

-- Keys that PostgreSQL does not allow on a table with foreign partitions, and how to declare them.
--
-- PostgreSQL refuses a foreign key from or to a distributed table, and a unique key on one. So for
-- the time of such a command, an empty plain table (the stand-in) has the table's name. After the
-- command, the keys declared on the stand-in are read from the catalogs and given to the real table
-- and its shards. The command's text is used only to decide whether stand-ins are needed, and for
-- which tables.

SET check_function_bodies = off;  -- functions may call functions of later files

-- The stand-ins of the present command; empty between commands.
CREATE TABLE sharding.stand_in (
    real_oid oid,
    stand_in oid,
    schemaname name,
    relname name
);

-- ---------------------------------------------------------------- before the command
-- Return the schema that holds a table while its stand-in has its name.
CREATE FUNCTION sharding.aside_schema(relid oid) RETURNS name
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT 'sharding_aside_' || relid
$$;

-- Create stand-ins for the distributed tables in the command's text, and for the tables that their
-- foreign keys refer to.
CREATE FUNCTION sharding.create_stand_ins() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    named record;
    object sharding.shard_object;
    fk sharding.foreign_key;
    name text;
    command text;
    was_internal boolean := sharding.set_internal_ddl(true);
BEGIN
    FOR named IN
        WITH mentioned AS (
            SELECT relid
            FROM sharding.table_name
            WHERE strpos(lower(current_query()), lower(relname)) > 0
        )
        SELECT t.*
        FROM sharding.table_name t
        WHERE sharding.kind(t.relid) = 'h'
          AND t.relid IN (
              SELECT relid
              FROM mentioned
              UNION
              SELECT confrelid
              FROM sharding.foreign_key
              WHERE conrelid IN (SELECT relid FROM mentioned))
    LOOP
        name := format('%I.%I', named.schemaname, named.relname);
        -- one schema for each, since two tables may have the same name, or indexes of the same name
        EXECUTE format('CREATE SCHEMA %I', sharding.aside_schema(named.relid));
        EXECUTE format('ALTER TABLE %s SET SCHEMA %I',
            named.relid::regclass, sharding.aside_schema(named.relid));
        EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING GENERATED)',
            name, named.relid::regclass);
        FOR object IN
            SELECT *
            FROM sharding.shard_object
            WHERE relid = named.relid
              AND kind IN ('k', 'i')
            ORDER BY kind DESC, objid
        LOOP
            EXECUTE sharding.key_command(object, object.name::name, name, false);
        END LOOP;
        FOR command IN
            SELECT *
            FROM sharding.access_commands(named.relid, name)
        LOOP
            EXECUTE command;
        END LOOP;
        INSERT INTO sharding.stand_in
        VALUES (named.relid, name::regclass, named.schemaname, named.relname);
    END LOOP;

    -- Declare the stored foreign keys too: so the command can drop them, and PostgreSQL refuses a
    -- second one of the same name.
    FOR fk IN
        SELECT k.conname, mine.stand_in, coalesce(theirs.stand_in, k.confrelid),
            k.columns, k.refcolumns, k.actions, k.onshards
        FROM sharding.foreign_key k
        JOIN sharding.stand_in mine ON mine.real_oid = k.conrelid
        LEFT JOIN sharding.stand_in theirs ON theirs.real_oid = k.confrelid
        WHERE theirs.stand_in IS NOT NULL
           OR sharding.kind(k.confrelid) IS DISTINCT FROM 'h'
    LOOP
        EXECUTE sharding.foreign_key_command(
            fk, fk.conname, fk.conrelid::regclass::text, fk.confrelid::regclass::text);
    END LOOP;
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

-- ---------------------------------------------------------------- after the command
-- Return the foreign keys from and to the stand-ins, with the real tables in their place, and drop
-- them, so that the stand-ins can be dropped.
CREATE FUNCTION sharding.collect_stand_in_keys() RETURNS sharding.foreign_key[]
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    declared pg_constraint;
    fk sharding.foreign_key;
    taken sharding.foreign_key[] := '{}';
BEGIN
    FOR declared IN
        SELECT *
        FROM pg_constraint k
        WHERE contype = 'f'
          AND conparentid = 0
          AND EXISTS (
              SELECT
              FROM sharding.stand_in s
              WHERE s.stand_in IN (k.conrelid, k.confrelid))
    LOOP
        fk := sharding.read_foreign_key(declared);
        fk.conrelid := coalesce(
            (SELECT real_oid FROM sharding.stand_in WHERE stand_in = declared.conrelid),
            declared.conrelid);
        fk.confrelid := coalesce(
            (SELECT real_oid FROM sharding.stand_in WHERE stand_in = declared.confrelid),
            declared.confrelid);
        taken := taken || fk;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I',
            declared.conrelid::regclass, declared.conname);
    END LOOP;
    RETURN taken;
END $$;

-- Return a table's columns with their types.
CREATE FUNCTION sharding.column_list(rel oid) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = rel
      AND attnum > 0
      AND NOT attisdropped
$$;

-- Refuse what a distributed table may not have.
CREATE FUNCTION sharding.check_stand_in(s sharding.stand_in) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    key int2;
BEGIN
    IF sharding.column_list(s.stand_in) <> sharding.column_list(s.real_oid) THEN
        RAISE EXCEPTION
            'the teaching cluster cannot change columns and keys of "%" in one command', s.relname
            USING ERRCODE = '0A000',
                  HINT = 'Use two commands.';
    END IF;
    -- the distribution column has another number if a column of the real table was dropped
    SELECT ours.attnum
    INTO key
    FROM pg_attribute theirs
    JOIN pg_attribute ours ON ours.attrelid = s.stand_in
        AND ours.attname = theirs.attname
    WHERE theirs.attrelid = s.real_oid
      AND theirs.attnum = sharding.key_column(s.real_oid);
    IF EXISTS (
        SELECT
        FROM pg_index i
        WHERE i.indrelid = s.stand_in
          AND i.indisunique
          AND NOT key = ANY (i.indkey[0:i.indnkeyatts - 1])
          AND NOT EXISTS (
              SELECT
              FROM pg_constraint
              WHERE conindid = i.indexrelid
                AND contype IN ('p', 'u', 'x')))
    THEN
        RAISE EXCEPTION
            'creating unique indexes on non-partition columns is currently unsupported'
            USING ERRCODE = '0A000';
    END IF;
    PERFORM sharding.check_unique(s.stand_in, key);
END $$;

-- Return the commands that change the real table's keys to the stand-in's, compared by name. A
-- primary key makes its columns NOT NULL first, because ADD with ONLY requires it.
CREATE FUNCTION sharding.stand_in_changes(s sharding.stand_in) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE
        WHEN new_object.name IS NULL AND old_object.kind = 'k'
        THEN format('ALTER TABLE %I.%I DROP CONSTRAINT %I',
            s.schemaname, s.relname, old_object.name)
        WHEN new_object.name IS NULL
        THEN format('DROP INDEX %I.%I', s.schemaname, old_object.name)
        ELSE coalesce(
                (SELECT string_agg(
                     format('ALTER TABLE %I.%I ALTER COLUMN %I SET NOT NULL; ',
                         s.schemaname, s.relname, attname), '')
                 FROM pg_constraint k
                 JOIN pg_attribute ON attrelid = k.conrelid AND attnum = ANY (k.conkey)
                 WHERE k.oid = new_object.objid
                   AND k.contype = 'p'
                   AND new_object.kind = 'k'),
                '')
            || sharding.key_command(new_object.object, new_object.name::name,
                format('%I.%I', s.schemaname, s.relname), true) END
    FROM (
        SELECT kind, name
        FROM sharding.shard_object
        WHERE relid = s.real_oid
          AND kind IN ('k', 'i')
    ) old_object
    FULL JOIN (
        SELECT o AS object, o.kind, o.objid, o.name
        FROM sharding.expected_objects(s.stand_in) o
        WHERE o.kind IN ('k', 'i')
    ) new_object ON new_object.name = old_object.name AND new_object.kind = old_object.kind
    WHERE old_object.name IS NULL
       OR new_object.name IS NULL
    ORDER BY old_object.name IS NULL
$$;

-- Store the declared foreign keys and add them to the shards; remove those that the command
-- dropped. The rows of sharding.stand_in must still be there.
CREATE FUNCTION sharding.apply_foreign_keys(declared sharding.foreign_key[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    fk sharding.foreign_key;
    referencing pg_dist_partition;
BEGIN
    FOR fk IN
        SELECT k.*
        FROM sharding.foreign_key k
        JOIN sharding.stand_in s ON s.real_oid = k.conrelid
        WHERE NOT EXISTS (
            SELECT
            FROM unnest(declared) d
            WHERE d.conrelid = k.conrelid
              AND d.conname = k.conname)
    LOOP
        IF fk.onshards THEN
            PERFORM sharding.foreign_key_on_shards(fk, false);
        END IF;
        DELETE FROM sharding.foreign_key
        WHERE conrelid = fk.conrelid
          AND conname = fk.conname;
    END LOOP;

    FOREACH fk IN ARRAY declared LOOP
        CONTINUE WHEN EXISTS (
            SELECT
            FROM sharding.foreign_key k
            WHERE k.conrelid = fk.conrelid
              AND k.conname = fk.conname);
        SELECT *
        INTO referencing
        FROM pg_dist_partition
        WHERE logicalrelid = fk.conrelid;
        IF referencing.repmodel = 't' THEN
            PERFORM sharding.refuse_key_to_distributed();
        ELSIF referencing.partmethod = 'h' THEN
            PERFORM sharding.check_foreign_key(
                fk,
                column_to_column_name(referencing.logicalrelid, referencing.partkey)::name,
                referencing.colocationid);
        END IF;
        INSERT INTO sharding.foreign_key
        SELECT fk.*;
        IF referencing.partmethod = 'h' THEN
            PERFORM sharding.foreign_key_on_shards(fk, true);
        END IF;
    END LOOP;
END $$;

-- Read the keys that the command declared, restore the real tables, and add the keys to them and
-- their shards.
CREATE FUNCTION sharding.apply_stand_ins() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    s sharding.stand_in;
    declared sharding.foreign_key[];
    commands text[] := '{}';
    command text;
    was_internal boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM sharding.stand_in) THEN
        RETURN;
    END IF;
    was_internal := sharding.set_internal_ddl(true);
    declared := sharding.collect_stand_in_keys();
    FOR s IN
        SELECT *
        FROM sharding.stand_in
    LOOP
        PERFORM sharding.check_stand_in(s);
        commands := commands || ARRAY(SELECT sharding.stand_in_changes(s));
    END LOOP;
    FOR s IN
        SELECT *
        FROM sharding.stand_in
    LOOP
        EXECUTE format('DROP TABLE %s', s.stand_in::regclass);
        EXECUTE format('ALTER TABLE %s SET SCHEMA %I', s.real_oid::regclass, s.schemaname);
        EXECUTE format('DROP SCHEMA %I', sharding.aside_schema(s.real_oid));
    END LOOP;
    FOREACH command IN ARRAY commands LOOP
        EXECUTE command;
    END LOOP;
    PERFORM sharding.mark_keys_valid(real_oid)
    FROM sharding.stand_in;
    PERFORM sharding.apply_foreign_keys(declared);
    DELETE FROM sharding.stand_in;
    PERFORM sharding.set_internal_ddl(was_internal);
END $$;

-- Keys that PostgreSQL would refuse: a foreign key to or from a distributed table, or a unique key on one,
-- cannot be declared over foreign tables. For the length of such a command a plain, empty stand-in takes the
-- table's name; what the command declared on the stand-in is read from the catalogs afterwards.
-- (Only whether to do this at all is seen from the command's text.)

SET check_function_bodies = off;  -- functions of later files are named here

CREATE TABLE sharding.stand_in (real_oid oid, stand_in oid, schemaname name, relname name);

-- Before the command: put plain tables in the place of those that the text mentions, and of those that their
-- foreign keys refer to.
CREATE FUNCTION sharding.put_stand_ins() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE t record; o record; was text := sharding.busy(true);
BEGIN
    FOR t IN WITH mentioned AS (SELECT relid FROM sharding.table_name WHERE strpos(lower(current_query()), lower(relname)) > 0)
             SELECT w.* FROM sharding.table_name w WHERE sharding.kind(relid) = 'h'
             AND relid IN (SELECT relid FROM mentioned UNION SELECT confrelid FROM sharding.foreign_key WHERE conrelid IN (SELECT relid FROM mentioned)) LOOP
        EXECUTE format('ALTER TABLE %s SET SCHEMA sharding_aside', t.relid::regclass);
        EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING GENERATED)', t.schemaname, t.relname, t.relid::regclass);
        FOR o IN SELECT * FROM sharding.shard_object WHERE relid = t.relid AND kind IN ('k', 'i') ORDER BY kind DESC, objid LOOP
            EXECUTE CASE o.kind WHEN 'k' THEN format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', t.schemaname, t.relname, o.name, o.definition)
                ELSE format('CREATE %sINDEX %I ON %I.%I %s', CASE WHEN left(o.definition, 1) = 'U' THEN 'UNIQUE ' END, o.name, t.schemaname, t.relname, substr(o.definition, 2)) END;
        END LOOP;
        INSERT INTO sharding.stand_in VALUES (t.relid, format('%I.%I', t.schemaname, t.relname)::regclass, t.schemaname, t.relname);
    END LOOP;
    -- foreign keys on record are declared too, so that they can be dropped, and a second one of the name is refused
    FOR o IN SELECT k.*, s.stand_in, coalesce(r.stand_in, k.confrelid) AS target FROM sharding.foreign_key k JOIN sharding.stand_in s ON s.real_oid = k.conrelid
             LEFT JOIN sharding.stand_in r ON r.real_oid = k.confrelid WHERE r.stand_in IS NOT NULL OR sharding.kind(k.confrelid) IS DISTINCT FROM 'h' LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)%s', o.stand_in::regclass, o.conname, sharding.idents(o.columns), o.target::regclass, sharding.idents(o.refcolumns), o.actions);
    END LOOP;
    PERFORM sharding.busy(was::boolean);
END $$;

-- The commands that make the real table's keys what the stand-in's have become: compared by name.
CREATE FUNCTION sharding.stand_in_changes(s sharding.stand_in) RETURNS SETOF text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE
        WHEN w.name IS NULL AND r.kind = 'k' THEN format('ALTER TABLE %I.%I DROP CONSTRAINT %I', s.schemaname, s.relname, r.name)
        WHEN w.name IS NULL THEN format('DROP INDEX %I.%I', s.schemaname, r.name)
        WHEN w.kind = 'i' THEN format('CREATE %sINDEX %I ON %s%I.%I %s', CASE WHEN left(w.definition, 1) = 'U' THEN 'UNIQUE ' END, w.name,
            CASE WHEN left(w.definition, 1) = 'U' THEN 'ONLY ' END, s.schemaname, s.relname, substr(w.definition, 2))
        ELSE coalesce((SELECT string_agg(format('ALTER TABLE %I.%I ALTER COLUMN %I SET NOT NULL; ', s.schemaname, s.relname, attname), '')
                       FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey) WHERE pg_constraint.oid = w.objid AND contype = 'p'), '')
            || format('ALTER TABLE %s%I.%I ADD CONSTRAINT %I %s', CASE WHEN w.suffixed THEN 'ONLY ' END, s.schemaname, s.relname, w.name, w.definition) END
    FROM (SELECT * FROM sharding.shard_object WHERE relid = s.real_oid AND kind IN ('k', 'i')) r
    FULL JOIN (SELECT * FROM sharding.wanted(s.stand_in) WHERE kind IN ('k', 'i')) w ON w.name = r.name AND w.kind = r.kind
    WHERE r.name IS NULL OR w.name IS NULL ORDER BY r.name IS NULL
$$;

-- After the command: read what was declared, put the real tables back, and bring the keys to them and their shards.
CREATE FUNCTION sharding.take_stand_ins() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    s sharding.stand_in; c pg_constraint; fk sharding.foreign_key; p pg_dist_partition; key int2; command text;
    seen sharding.foreign_key[] := '{}'; commands text[] := '{}'; was text;
BEGIN
    IF NOT EXISTS (SELECT FROM sharding.stand_in) THEN RETURN; END IF;
    was := sharding.busy(true);
    FOR c IN SELECT * FROM pg_constraint k WHERE contype = 'f' AND conparentid = 0 AND EXISTS (SELECT FROM sharding.stand_in WHERE stand_in IN (k.conrelid, k.confrelid)) LOOP
        fk := sharding.read_foreign_key(c);
        fk.conrelid := coalesce((SELECT real_oid FROM sharding.stand_in WHERE stand_in = c.conrelid), c.conrelid);
        fk.confrelid := coalesce((SELECT real_oid FROM sharding.stand_in WHERE stand_in = c.confrelid), c.confrelid);
        seen := seen || fk;
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname);
    END LOOP;
    FOR s IN SELECT * FROM sharding.stand_in LOOP
        IF (SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum) FROM pg_attribute WHERE attrelid = s.stand_in AND attnum > 0 AND NOT attisdropped)
           <> (SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum) FROM pg_attribute WHERE attrelid = s.real_oid AND attnum > 0 AND NOT attisdropped) THEN
            RAISE EXCEPTION 'the teaching part cannot change columns and keys of "%" in one command', s.relname USING ERRCODE = '0A000', HINT = 'Use two commands.';
        END IF;
        SELECT b.attnum INTO key FROM pg_attribute a JOIN pg_attribute b ON b.attrelid = s.stand_in AND b.attname = a.attname WHERE a.attrelid = s.real_oid AND a.attnum = sharding.key_column(s.real_oid);
        IF EXISTS (SELECT FROM pg_index i WHERE indrelid = s.stand_in AND indisunique AND NOT key = ANY (indkey[0:indnkeyatts - 1])
                   AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('p', 'u', 'x'))) THEN
            RAISE EXCEPTION 'creating unique indexes on non-partition columns is currently unsupported' USING ERRCODE = '0A000';
        END IF;
        PERFORM sharding.check_unique(s.stand_in, key);
        commands := commands || ARRAY(SELECT sharding.stand_in_changes(s));
    END LOOP;
    FOR s IN SELECT * FROM sharding.stand_in LOOP
        EXECUTE format('DROP TABLE %s', s.stand_in::regclass);
        EXECUTE format('ALTER TABLE %s SET SCHEMA %I', s.real_oid::regclass, s.schemaname);
    END LOOP;
    FOREACH command IN ARRAY commands LOOP EXECUTE command; END LOOP;

    -- foreign keys on record that were there before and are not now
    FOR fk IN SELECT k.* FROM sharding.foreign_key k JOIN sharding.stand_in x ON x.real_oid = k.conrelid
              WHERE NOT EXISTS (SELECT FROM unnest(seen) u WHERE u.conrelid = k.conrelid AND u.conname = k.conname) LOOP
        IF fk.onshards THEN PERFORM sharding.foreign_key_on_shards(fk, false); END IF;
        DELETE FROM sharding.foreign_key WHERE conrelid = fk.conrelid AND conname = fk.conname;
    END LOOP;
    DELETE FROM sharding.stand_in;
    FOREACH fk IN ARRAY seen LOOP
        CONTINUE WHEN EXISTS (SELECT FROM sharding.foreign_key x WHERE x.conrelid = fk.conrelid AND x.conname = fk.conname);
        SELECT * INTO p FROM pg_dist_partition WHERE logicalrelid = fk.conrelid;
        IF p.repmodel = 't' THEN
            RAISE EXCEPTION 'cannot create foreign key constraint since foreign keys from reference tables and local tables to distributed tables are not supported'
                USING ERRCODE = '0A000', DETAIL = 'Reference tables and local tables can only have foreign keys to reference tables and local tables';
        ELSIF p.partmethod = 'h' THEN PERFORM sharding.check_foreign_key(fk, column_to_column_name(p.logicalrelid, p.partkey)::name, p.colocationid);
        END IF;
        INSERT INTO sharding.foreign_key SELECT fk.*;
        IF p.partmethod = 'h' THEN PERFORM sharding.foreign_key_on_shards(fk, true); END IF;
    END LOOP;
    PERFORM sharding.busy(was::boolean);
END $$;

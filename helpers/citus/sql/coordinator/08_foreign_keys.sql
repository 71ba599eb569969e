-- Foreign keys of distributed tables. They hold because matching rows stand on the same node.
--
-- A shard can refer to the colocated shard of the same range, or to the copy of a reference table
-- on its own node; nothing else can be checked without asking another node. The coordinator's
-- table cannot carry such a key, so it is read from the catalogs while the table is still plain,
-- kept in sharding.foreign_key, and put on the shards.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- reading
-- What a foreign key does, as SQL: "", "ON UPDATE CASCADE", …
CREATE FUNCTION sharding.referential_action(event text, code "char") RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT coalesce(' ' || event || ' ' ||
        CASE code WHEN 'r' THEN 'RESTRICT'
                  WHEN 'c' THEN 'CASCADE'
                  WHEN 'n' THEN 'SET NULL'
                  WHEN 'd' THEN 'SET DEFAULT' END, '')
$$;

-- The names of some columns, in the given order.
CREATE FUNCTION sharding.column_names(rel oid, numbers int2[]) RETURNS name[]
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT array_agg(attname ORDER BY u.position)
    FROM unnest(numbers) WITH ORDINALITY u(number, position)
    JOIN pg_attribute ON attrelid = rel AND attnum = u.number
$$;

-- A declared foreign key as a row of sharding.foreign_key.
CREATE FUNCTION sharding.read_foreign_key(con pg_constraint) RETURNS sharding.foreign_key
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT ROW(con.conname, con.conrelid, con.confrelid,
        sharding.column_names(con.conrelid, con.conkey),
        sharding.column_names(con.confrelid, con.confkey),
        CASE con.confmatchtype WHEN 'f' THEN ' MATCH FULL' ELSE '' END
        || sharding.referential_action('ON UPDATE', con.confupdtype)
        || sharding.referential_action('ON DELETE', con.confdeltype)
        || CASE WHEN con.condeferrable THEN ' DEFERRABLE' ELSE '' END
        || CASE WHEN con.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END,
        false)::sharding.foreign_key
$$;

-- ---------------------------------------------------------------- writing
-- The command that declares a recorded foreign key from one table to another.
CREATE FUNCTION sharding.declare_foreign_key(
    fk sharding.foreign_key, key_name name, table_name text, referenced text
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)%s',
        table_name, key_name, sharding.idents(fk.columns),
        referenced, sharding.idents(fk.refcolumns), fk.actions)
$$;

-- The command that puts a foreign key on one shard.
CREATE FUNCTION sharding.add_foreign_key(fk sharding.foreign_key, shardid bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT sharding.declare_foreign_key(fk, sharding.with_id(fk.conname, $2),
        sharding.shard(fk.conrelid, $2), sharding.shard(fk.confrelid, referenced.shardid))
    FROM pg_dist_shard mine
    JOIN pg_dist_shard referenced ON referenced.logicalrelid = fk.confrelid
        -- the one shard of a reference table has no range
        AND referenced.shardminvalue IS NOT DISTINCT FROM
            CASE WHEN sharding.kind(fk.confrelid) = 'h' THEN mine.shardminvalue END
    WHERE mine.shardid = $2
$$;

-- Put a foreign key on all shards of its table, or take it away; one message to each worker.
CREATE FUNCTION sharding.foreign_key_on_shards(fk sharding.foreign_key, adding boolean)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    node record;
BEGIN
    FOR node IN
        SELECT s.nodeid,
            string_agg(
                CASE WHEN adding
                     THEN sharding.add_foreign_key(fk, s.shardid)
                     ELSE format('ALTER TABLE %s DROP CONSTRAINT %I',
                         s.shard, sharding.with_id(fk.conname, s.shardid)) END,
                '; ' ORDER BY s.shardid) AS commands
        FROM sharding.worker_shards(fk.conrelid) s
        GROUP BY s.nodeid
    LOOP
        PERFORM sharding.node_run(node.nodeid, node.commands);
    END LOOP;
    UPDATE sharding.foreign_key
    SET onshards = adding
    WHERE conrelid = fk.conrelid
      AND conname = fk.conname;
END $$;

-- ---------------------------------------------------------------- around a rebuild
-- Move a table's declared foreign keys, its own and those that refer to it, into the record.
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

-- Declare again those recorded foreign keys of a table that PostgreSQL can hold: between tables
-- that are local or reference tables.
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
        EXECUTE sharding.declare_foreign_key(
            fk, fk.conname, fk.conrelid::regclass::text, fk.confrelid::regclass::text);
        DELETE FROM sharding.foreign_key
        WHERE conrelid = fk.conrelid
          AND conname = fk.conname;
    END LOOP;
END $$;

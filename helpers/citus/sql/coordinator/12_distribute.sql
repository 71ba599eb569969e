-- create_distributed_table: from a plain table to shards.
--
-- The new table is partitioned by hash of the key, with the operator class of 06; its partitions
-- are foreign tables, one for each shard. All of it happens in the caller's transaction: if
-- anything fails, on any node, nothing has happened.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- the rebuild
-- The key's default when it has none: so an INSERT that leaves the key out is noticed, as in Citus.
CREATE FUNCTION sharding.no_key() RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION 'cannot perform an INSERT without a partition column value'
        USING ERRCODE = '22004';
END $$;

-- Make the new table over its shards, still empty.
CREATE FUNCTION sharding.build_distributed(
    old oid, name text, kept jsonb, key name, key_type regtype, shard_count int, colocation int
) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    new oid;
    object sharding.shard_object;
BEGIN
    -- CHECK and NOT NULL come with LIKE
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)
                        PARTITION BY HASH (%I %s)',
        name, old::regclass, key, sharding.shard_opclass(key_type, shard_count));
    new := name::regclass;
    INSERT INTO sharding.table_name
    VALUES (new, kept->>'schema', kept->>'name');
    INSERT INTO pg_dist_partition
    VALUES (new, 'h', column_name_to_column(new, key), colocation, 's', false);
    PERFORM sharding.place_shards(new, shard_count, colocation);
    PERFORM sharding.attach_shards(new);
    -- Keys come after the partitions: foreign ones cannot join a table that has unique keys.
    FOR object IN
        SELECT *
        FROM sharding.wanted(old)
        WHERE kind IN ('k', 'i')
          AND suffixed
        ORDER BY kind DESC, objid
    LOOP
        EXECUTE sharding.add_key(object, object.name::name, name, true);
    END LOOP;
    INSERT INTO sharding.shard_object
    SELECT *
    FROM sharding.wanted(new);
    PERFORM sharding.create_shards(new);
    RETURN new;
END $$;

-- Turn a plain table into a distributed one. Returns the new table.
CREATE FUNCTION sharding.distribute(old oid, key name, shard_count int, colocation int)
RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    kept jsonb;
    name text;
    new oid;
    key_type regtype := (SELECT atttypid FROM pg_attribute WHERE attrelid = old AND attname = key);
    key_is_null boolean;
    fk sharding.foreign_key;
    was_busy boolean := sharding.busy(true);
BEGIN
    PERFORM sharding.forget_local(old);
    PERFORM sharding.collect_foreign_keys(old);
    FOR fk IN
        SELECT *
        FROM sharding.foreign_key
        WHERE conrelid = old
    LOOP
        PERFORM sharding.check_foreign_key(fk, key, colocation);
    END LOOP;
    PERFORM sharding.check_triggers(old);

    kept := sharding.set_aside(old);
    name := format('%I.%I', kept->>'schema', kept->>'name');
    new := sharding.build_distributed(old, name, kept, key, key_type, shard_count, colocation);

    -- the rows, then the foreign keys between them
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I IS NULL)', old::regclass, key)
        INTO key_is_null;
    IF key_is_null THEN
        RAISE EXCEPTION 'the partition column of table % cannot be NULL', name
            USING ERRCODE = '22004';
    END IF;
    PERFORM sharding.copy_rows(old, new);
    PERFORM sharding.to_successor(kept, old, new);
    FOR fk IN
        SELECT *
        FROM sharding.foreign_key
        WHERE conrelid = new
           OR (confrelid = new AND sharding.kind(conrelid) = 'h')
    LOOP
        PERFORM sharding.foreign_key_on_shards(fk, true);
    END LOOP;

    IF NOT EXISTS (
        SELECT
        FROM pg_attribute
        WHERE attrelid = new
          AND attname = key
          AND (atthasdef OR attidentity <> ''))
    THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT sharding.no_key()::%s',
            name, key, format_type(key_type, NULL));
    END IF;
    EXECUTE format('CREATE TRIGGER check_truncate BEFORE TRUNCATE ON %s
                        FOR EACH STATEMENT EXECUTE FUNCTION sharding.check_truncate()', name);
    PERFORM sharding.busy(was_busy);
    RETURN new;
END $$;

-- TRUNCATE reaches the shards by itself (postgres_fdw sends it); only tables that refer to this
-- one must be named with it, as with PostgreSQL's own foreign keys.
CREATE FUNCTION sharding.check_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    referencing name;
BEGIN
    SELECT c.relname
    INTO referencing
    FROM sharding.foreign_key k
    JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.confrelid = TG_RELID
      AND k.conrelid <> TG_RELID
      AND strpos(lower(current_query()), lower(c.relname)) = 0
    ORDER BY k.conrelid
    LIMIT 1;
    IF referencing IS NOT NULL AND current_query() !~* '\mcascade\M' THEN
        RAISE EXCEPTION 'cannot truncate a table referenced in a foreign key constraint'
            USING ERRCODE = '0A000',
                  DETAIL = format('Table "%s" references "%s".', referencing, TG_TABLE_NAME),
                  HINT = format('Truncate table "%s" at the same time, '
                      'or use TRUNCATE ... CASCADE.', referencing);
    END IF;
    RETURN NULL;
END $$;

-- ---------------------------------------------------------------- what a student calls
-- The checks, in Citus's order. Where a call fails after its colocation group was numbered, the
-- number is used up, as with Citus.
CREATE FUNCTION sharding.create_distributed_table(
    rel oid, key name, method citus.distribution_type, other regclass, new_group boolean,
    shard_count int
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    name name := sharding.bare_name(rel);
    shards_wanted int;
    key_column pg_attribute;
    colocation int;
    fk sharding.foreign_key;
BEGIN
    IF key IS NULL THEN
        RAISE EXCEPTION
            'the teaching part has no single-shard tables: name a distribution column'
            USING ERRCODE = '0A000';
    ELSIF method <> 'hash' THEN
        RAISE EXCEPTION 'the teaching part distributes by hash only, not by %', method
            USING ERRCODE = '0A000';
    END IF;
    shards_wanted := coalesce(shard_count, current_setting('citus.shard_count', true)::int, 32);
    IF shards_wanted NOT BETWEEN 1 AND 64000 THEN
        RAISE EXCEPTION
            '% is outside the valid range for parameter "shard_count" (1 .. 64000)', shards_wanted
            USING ERRCODE = 'XX000';
    ELSIF shards_wanted > 4096 THEN
        RAISE EXCEPTION 'the teaching part makes at most 4096 shards, not %', shards_wanted
            USING ERRCODE = '0A000';
    END IF;

    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', rel::regclass);
    SELECT *
    INTO key_column
    FROM pg_attribute
    WHERE attrelid = rel
      AND attname = key
      AND NOT attisdropped;
    IF key_column.attnum IS NULL THEN
        RAISE EXCEPTION 'column "%" of relation "%" does not exist', key, name
            USING ERRCODE = '42703';
    ELSIF key_column.attnum < 0 THEN
        RAISE EXCEPTION 'cannot reference system column "%" in relation "%"', key, name
            USING ERRCODE = '0A000';
    END IF;

    IF other IS NULL THEN
        colocation := sharding.colocation_group(
            shards_wanted, key_column.atttypid, key_column.attcollation, new_group);
    ELSE
        colocation := sharding.check_colocation(
            rel, key_column.atttypid, key_column.attcollation, other);
        shards_wanted := (
            SELECT shardcount
            FROM pg_dist_colocation
            WHERE colocationid = colocation);
    END IF;

    IF sharding.hash_opclass(key_column.atttypid) IS NULL THEN
        RAISE EXCEPTION
            'data type % has no default operator class for specified partition method',
            format_type(key_column.atttypid, NULL)
            USING ERRCODE = '42704',
                  DETAIL = 'Partition column types must have a default operator class defined.';
    ELSIF key_column.attgenerated <> '' THEN
        RAISE EXCEPTION 'cannot distribute relation: %', name
            USING ERRCODE = '0A000',
                  DETAIL = 'Distribution column must not use GENERATED ALWAYS AS (...) STORED.';
    END IF;
    FOR fk IN
        SELECT (sharding.read_foreign_key(c)).*
        FROM pg_constraint c
        WHERE c.conrelid = rel
          AND c.contype = 'f'
          AND c.conparentid = 0
        UNION ALL
        SELECT *
        FROM sharding.foreign_key
        WHERE conrelid = rel
    LOOP
        PERFORM sharding.check_foreign_key(fk, key, colocation);
    END LOOP;
    PERFORM sharding.check_unique(rel, key_column.attnum);

    PERFORM sharding.clean_up();
    PERFORM sharding.ensure_reference_copies();
    PERFORM sharding.distribute(rel, key, shards_wanted, colocation);
END $$;

-- colocate_with is looked up on the caller's search path, so this outer function sets none.
CREATE FUNCTION pg_catalog.create_distributed_table(
    table_name regclass, distribution_column text,
    distribution_type citus.distribution_type DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    other regclass;
BEGIN
    IF table_name IS NULL THEN
        RETURN;
    END IF;
    IF shard_count IS NOT NULL AND colocate_with NOT IN ('default', 'none') THEN
        IF shard_count NOT BETWEEN 1 AND 64000 THEN
            RAISE EXCEPTION
                '% is outside the valid range for parameter "shard_count" (1 .. 64000)', shard_count
                USING ERRCODE = 'XX000';
        END IF;
        RAISE EXCEPTION 'Cannot use colocate_with with a table and shard_count at the same time'
            USING ERRCODE = 'XX000';
    END IF;
    -- a shard count out of range is told before anything about the table
    IF shard_count IS NULL OR shard_count BETWEEN 1 AND 64000 THEN
        PERFORM sharding.check_table(table_name, true);
        IF colocate_with NOT IN ('default', 'none') THEN
            other := colocate_with::regclass;
        END IF;
    END IF;
    PERFORM sharding.create_distributed_table(
        table_name, distribution_column, distribution_type, other,
        colocate_with = 'none', shard_count);
END $$;

-- The same: here every call keeps the table locked for its whole time.
CREATE FUNCTION pg_catalog.create_distributed_table_concurrently(
    table_name regclass, distribution_column text,
    distribution_type citus.distribution_type DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_catalog.create_distributed_table(
        table_name, distribution_column, distribution_type, colocate_with, shard_count)
$$;

-- Nothing to do: the local rows are gone as soon as they are distributed.
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(function_name regclass)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
END $$;

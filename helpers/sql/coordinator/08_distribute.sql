-- create_distributed_table: from a plain table to shards.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- colocation
-- The group that a table of this key type and shard count joins: the oldest that fits, or a new one.
CREATE FUNCTION sharding.colocation_group(shard_count int, key_type oid, key_collation oid, always_new boolean DEFAULT false) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE id int;
BEGIN
    IF NOT always_new THEN
        SELECT min(colocationid) INTO id FROM pg_dist_colocation
        WHERE shardcount = shard_count AND distributioncolumntype = key_type AND distributioncolumncollation = key_collation;
    END IF;
    IF id IS NULL THEN
        INSERT INTO pg_dist_colocation VALUES (nextval('pg_dist_colocationid_seq'), shard_count, CASE WHEN key_type = 0 THEN -1 ELSE 1 END, key_type, key_collation)
        RETURNING colocationid INTO id;
    END IF;
    RETURN id;
END $$;

-- A group without tables is no group.
CREATE FUNCTION sharding.drop_empty_groups() RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
    DELETE FROM pg_dist_colocation c WHERE NOT EXISTS (SELECT FROM pg_dist_partition p WHERE p.colocationid = c.colocationid)
$$;

-- May a table with this key join the other's group?
CREATE FUNCTION sharding.check_colocation(rel oid, key_type oid, key_collation oid, other regclass) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE g pg_dist_colocation; mine name; theirs name;
BEGIN
    SELECT c.* INTO g FROM pg_dist_partition p JOIN pg_dist_colocation c USING (colocationid) WHERE logicalrelid = other;
    SELECT relname INTO mine FROM pg_class WHERE oid = rel; SELECT relname INTO theirs FROM pg_class WHERE oid = other;
    IF g.colocationid IS NULL THEN
        RAISE EXCEPTION 'relation % is not distributed', theirs USING ERRCODE = 'XX000';
    ELSIF g.distributioncolumntype <> key_type THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', theirs, mine USING ERRCODE = 'XX000', DETAIL = format('Distribution column types don''t match for %s and %s.', theirs, mine);
    ELSIF g.distributioncolumncollation <> key_collation THEN
        RAISE EXCEPTION 'cannot colocate tables % and %', theirs, mine USING ERRCODE = 'XX000', DETAIL = format('Distribution column collations don''t match for %s and %s.', theirs, mine);
    END IF;
    RETURN g.colocationid;
END $$;

-- ---------------------------------------------------------------- shards and placements
-- Write the shards of a table and their placements: where its group's other tables stand, else dealt out in turn.
CREATE FUNCTION sharding.place_shards(rel oid, shard_count int, colocation int) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    increment bigint := 4294967296 / shard_count;
    peer oid := (SELECT logicalrelid FROM pg_dist_partition WHERE colocationid = colocation AND logicalrelid <> rel AND partmethod = 'h' ORDER BY logicalrelid LIMIT 1);
    dealt int[] := ARRAY(SELECT groupid FROM sharding.workers() WHERE shouldhaveshards);
    theirs int[] := ARRAY(SELECT groupid FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) WHERE logicalrelid = peer ORDER BY shardminvalue::int);
    i int; id bigint;
BEGIN
    FOR i IN 0 .. shard_count - 1 LOOP
        id := nextval('pg_dist_shardid_seq');
        INSERT INTO pg_dist_shard VALUES (rel, id, 't', -2147483648 + i * increment,
            CASE WHEN i = shard_count - 1 THEN 2147483647 ELSE -2147483648 + (i + 1) * increment - 1 END);
        INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
        VALUES (id, 1, 0, CASE WHEN peer IS NULL THEN dealt[1 + i % cardinality(dealt)] ELSE theirs[1 + i] END);
    END LOOP;
END $$;

-- The coordinator's side of the shards: one foreign table for each, as partition i of the table.
CREATE FUNCTION sharding.attach_shards(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    s record; n int := (SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = rel); t sharding.table_name;
    key name := (SELECT attname FROM pg_attribute WHERE attrelid = rel AND attnum = sharding.key_column(rel));
BEGIN
    SELECT * INTO t FROM sharding.table_name WHERE relid = rel;
    FOR s IN SELECT shardid, sharding.with_id(t.relname, shardid) AS name, d.nodeid, row_number() OVER (ORDER BY shardminvalue::int) - 1 AS i
             FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid) WHERE logicalrelid = rel LOOP
        EXECUTE format('CREATE FOREIGN TABLE shards.%I PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s) SERVER %I OPTIONS (schema_name %L, table_name %L)',
            s.name, rel::regclass, n, s.i, 'worker_' || s.nodeid, t.schemaname, s.name);
        PERFORM sharding.assume_statistics('shards', s.name, key, false);
    END LOOP;
    PERFORM sharding.assume_statistics(t.schemaname, t.relname, key, true);
END $$;

-- Nobody analyzes foreign tables, and the planner's guesses for an unknown one keep joins on the coordinator.
-- So it is told to expect shards of 1000 rows with keys that are mostly different: few enough that postgres_fdw does
-- not fear the join's cross product, and enough that carrying rows is dear. ANALYZE replaces it by the truth.
CREATE FUNCTION sharding.assume_statistics(schemaname name, relname name, key name, inherited boolean) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_restore_relation_stats('schemaname', schemaname::text, 'relname', relname::text, 'relpages', 10, 'reltuples', 1000::real);
    PERFORM pg_restore_attribute_stats('schemaname', schemaname::text, 'relname', relname::text, 'attname', key::text, 'inherited', inherited,
        'null_frac', 0::real, 'avg_width', 8, 'n_distinct', -0.75::real);
END $$;

-- Make the shards on the workers, from the record of the table's shape; one message to each worker.
CREATE FUNCTION sharding.create_shards(rel oid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE n record; types text := coalesce(sharding.needed_types(rel), '');
BEGIN
    FOR n IN SELECT d.nodeid, string_agg(sharding.create_shard(rel, s.shardid, s.shardminvalue = '-2147483648'), '; ' ORDER BY s.shardid) AS commands
             FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node d USING (groupid)
             WHERE s.logicalrelid = rel AND groupid <> 0 GROUP BY 1 LOOP
        PERFORM sharding.node_run(n.nodeid, types || n.commands);
    END LOOP;
END $$;

-- The key's default when it has none: Citus says so when an INSERT leaves the key out.
CREATE FUNCTION sharding.no_key() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION 'cannot perform an INSERT without a partition column value' USING ERRCODE = '22004';
END $$;

-- ---------------------------------------------------------------- the rebuild
-- Turn a plain table into a distributed one. All of it happens in the caller's transaction; if anything
-- fails, on any node, nothing has happened.
CREATE FUNCTION sharding.distribute(old oid, key name, shard_count int, colocation int) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    kept jsonb; name text; new oid; o record; k record; fk sharding.foreign_key; key_type regtype; has_nulls boolean;
    was_busy text := sharding.busy(true);
BEGIN
    SELECT atttypid INTO key_type FROM pg_attribute WHERE attrelid = old AND attname = key;
    PERFORM sharding.forget_local(old);
    PERFORM sharding.collect_foreign_keys(old);
    FOR fk IN SELECT * FROM sharding.foreign_key WHERE conrelid = old LOOP PERFORM sharding.check_foreign_key(fk, key, colocation); END LOOP;
    PERFORM sharding.check_triggers(old);

    -- the new table over its shards; CHECK and NOT NULL come with LIKE
    kept := sharding.set_aside(old);
    name := format('%I.%I', kept->>'schema', kept->>'name');
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES) PARTITION BY HASH (%I %s)',
        name, old::regclass, key, sharding.shard_opclass(key_type, shard_count));
    new := name::regclass;
    INSERT INTO sharding.table_name VALUES (new, kept->>'schema', kept->>'name');
    INSERT INTO pg_dist_partition VALUES (new, 'h', column_name_to_column(new, key), colocation, 's', false);
    PERFORM sharding.place_shards(new, shard_count, colocation);
    PERFORM sharding.attach_shards(new);
    -- A table over foreign tables can have no valid unique index, but declared with ONLY the keys are on record
    -- (for GROUP BY a primary key, and for tools that look); they hold because each shard has its own.
    FOR o IN SELECT * FROM sharding.wanted(old) WHERE kind IN ('k', 'i') ORDER BY kind DESC, objid LOOP
        IF o.kind = 'i' THEN
            EXECUTE format('CREATE %sINDEX %I ON %s%s %s', CASE WHEN left(o.definition, 1) = 'U' THEN 'UNIQUE ' END, o.name,
                CASE WHEN left(o.definition, 1) = 'U' THEN 'ONLY ' END, name, substr(o.definition, 2));
        ELSIF o.suffixed THEN
            EXECUTE format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s', name, o.name, o.definition);
        END IF;
    END LOOP;
    INSERT INTO sharding.shard_object SELECT * FROM sharding.wanted(new);
    PERFORM sharding.create_shards(new);

    -- the rows, then the foreign keys
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I IS NULL)', old::regclass, key) INTO has_nulls;
    IF has_nulls THEN RAISE EXCEPTION 'the partition column of table % cannot be NULL', name USING ERRCODE = '22004'; END IF;
    EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s', name, sharding.copied_columns(old), old::regclass);
    PERFORM sharding.to_successor(kept, old, new);
    FOR fk IN SELECT * FROM sharding.foreign_key f WHERE conrelid = new
              OR (confrelid = new AND sharding.kind(conrelid) = 'h') LOOP
        PERFORM sharding.foreign_key_on_shards(fk, true);
    END LOOP;

    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = new AND attname = key AND (atthasdef OR attidentity <> '')) THEN
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT sharding.no_key()::%s', name, key, format_type(key_type, NULL));
    END IF;
    EXECUTE format('CREATE TRIGGER check_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION sharding.check_truncate()', name);
    PERFORM sharding.busy(was_busy::boolean);
    RETURN new;
END $$;

-- ---------------------------------------------------------------- what a student calls
-- The checks, in Citus's order (a failed call after the colocation group was made uses up its number there, too).
CREATE FUNCTION sharding.create_distributed_table(rel oid, key name, method citus.distribution_type, other regclass, new_group boolean, shard_count int)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE a pg_attribute; n int; g int; fk sharding.foreign_key; name name := (SELECT relname FROM pg_class WHERE oid = rel);
BEGIN
    IF key IS NULL THEN
        RAISE EXCEPTION 'the teaching part has no single-shard tables: name a distribution column' USING ERRCODE = '0A000';
    ELSIF method <> 'hash' THEN
        RAISE EXCEPTION 'the teaching part distributes by hash only, not by %', method USING ERRCODE = '0A000';
    END IF;
    n := coalesce(shard_count, current_setting('citus.shard_count', true)::int, 32);
    IF n NOT BETWEEN 1 AND 64000 THEN
        RAISE EXCEPTION '% is outside the valid range for parameter "shard_count" (1 .. 64000)', n USING ERRCODE = 'XX000';
    ELSIF n > 4096 THEN
        RAISE EXCEPTION 'the teaching part makes at most 4096 shards, not %', n USING ERRCODE = '0A000';
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', rel::regclass);
    SELECT * INTO a FROM pg_attribute WHERE attrelid = rel AND attname = key AND NOT attisdropped;
    IF a.attnum IS NULL THEN
        RAISE EXCEPTION 'column "%" of relation "%" does not exist', key, name USING ERRCODE = '42703';
    ELSIF a.attnum < 0 THEN
        RAISE EXCEPTION 'cannot reference system column "%" in relation "%"', key, name USING ERRCODE = '0A000';
    END IF;
    IF other IS NULL THEN g := sharding.colocation_group(n, a.atttypid, a.attcollation, new_group);
    ELSE
        g := sharding.check_colocation(rel, a.atttypid, a.attcollation, other);
        n := (SELECT shardcount FROM pg_dist_colocation WHERE colocationid = g);
    END IF;
    IF sharding.hash_opclass(a.atttypid) IS NULL THEN
        RAISE EXCEPTION 'data type % has no default operator class for specified partition method', format_type(a.atttypid, NULL)
            USING ERRCODE = '42704', DETAIL = 'Partition column types must have a default operator class defined.';
    ELSIF a.attgenerated <> '' THEN
        RAISE EXCEPTION 'cannot distribute relation: %', name USING ERRCODE = '0A000',
            DETAIL = 'Distribution column must not use GENERATED ALWAYS AS (...) STORED.';
    END IF;
    FOR fk IN SELECT (sharding.read_foreign_key(c)).* FROM pg_constraint c WHERE conrelid = rel AND contype = 'f' AND conparentid = 0
              UNION ALL SELECT * FROM sharding.foreign_key WHERE conrelid = rel LOOP
        PERFORM sharding.check_foreign_key(fk, key, g);
    END LOOP;
    PERFORM sharding.check_unique(rel, a.attnum);
    PERFORM sharding.clean_up();
    PERFORM sharding.ensure_reference_copies();
    PERFORM sharding.distribute(rel, key, n, g);
END $$;

-- colocate_with is looked up on the caller's search path, so this outer function sets none.
CREATE FUNCTION pg_catalog.create_distributed_table(table_name regclass, distribution_column text,
    distribution_type citus.distribution_type DEFAULT 'hash', colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE other regclass;
BEGIN
    IF table_name IS NULL THEN RETURN; END IF;
    IF shard_count IS NOT NULL AND colocate_with NOT IN ('default', 'none') THEN
        IF shard_count NOT BETWEEN 1 AND 64000 THEN
            RAISE EXCEPTION '% is outside the valid range for parameter "shard_count" (1 .. 64000)', shard_count USING ERRCODE = 'XX000';
        END IF;
        RAISE EXCEPTION 'Cannot use colocate_with with a table and shard_count at the same time' USING ERRCODE = 'XX000';
    END IF;
    IF shard_count IS NULL OR shard_count BETWEEN 1 AND 64000 THEN
        PERFORM sharding.check_table(table_name, true);
        IF colocate_with NOT IN ('default', 'none') THEN other := colocate_with::regclass; END IF;
    END IF;
    PERFORM sharding.create_distributed_table(table_name, distribution_column, distribution_type, other, colocate_with = 'none', shard_count);
END $$;

-- The same; here every call takes the table's lock for its whole time.
CREATE FUNCTION pg_catalog.create_distributed_table_concurrently(table_name regclass, distribution_column text,
    distribution_type citus.distribution_type DEFAULT 'hash', colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$ SELECT pg_catalog.create_distributed_table(table_name, distribution_column, distribution_type, colocate_with, shard_count) $$;

-- Nothing to do here: the local rows are gone as soon as they are distributed.
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(function_name regclass) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;

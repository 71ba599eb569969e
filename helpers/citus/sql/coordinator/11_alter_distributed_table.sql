-- alter_distributed_table and update_distributed_table_colocation: another distribution column,
-- shard count or colocation group.
--
-- Another column or shard count changes the shard of every row. So the table becomes plain and is
-- distributed again; with cascade_to_colocated, all tables of its group are, and stay colocated.
-- Moving a table to another group of the same shape changes the metadata only.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- another distribution
-- Distribute colocated tables again, with other columns or another shard count. All become plain
-- first, so that foreign keys between them can be restored.
CREATE FUNCTION sharding.redistribute(
    rels oid[], keys name[], shard_count int, colocation int, key_type oid, key_collation oid
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    i int;
BEGIN
    FOR i IN 1 .. cardinality(rels) LOOP
        rels[i] := sharding.make_plain(rels[i]);
    END LOOP;
    -- the new group was dropped if it was empty meanwhile
    INSERT INTO pg_dist_colocation
    VALUES (colocation, shard_count, 1, key_type, key_collation)
    ON CONFLICT DO NOTHING;
    -- a referenced table comes before the tables that refer to it
    FOR i IN
        SELECT u.position
        FROM unnest(rels) WITH ORDINALITY u(rel, position)
        ORDER BY EXISTS (
                SELECT
                FROM sharding.foreign_key
                WHERE conrelid = u.rel
                  AND confrelid = ANY (rels)),
            u.position
    LOOP
        PERFORM sharding.check_foreign_key(fk, keys[i], colocation)
        FROM sharding.foreign_key fk
        WHERE fk.conrelid = rels[i];
        PERFORM sharding.distribute(rels[i], keys[i], shard_count, colocation);
    END LOOP;
END $$;

-- Check the call in Citus's order, then rebuild the table. "cascade" is NULL if the caller did not
-- set it, which is an error if the table has colocated tables.
CREATE FUNCTION sharding.alter_distributed_table(
    rel regclass, key name, shard_count int, other regclass, new_group boolean, cascade boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    name name := sharding.bare_name(rel);
    present pg_dist_partition;
    present_group pg_dist_colocation;
    other_group pg_dist_colocation;
    present_key name;
    key_column pg_attribute;
    target int;
    peers oid[];
    rels oid[] := ARRAY[rel::oid];
BEGIN
    SELECT *
    INTO present
    FROM pg_dist_partition
    WHERE logicalrelid = rel;
    IF present.partmethod IS DISTINCT FROM 'h' THEN
        RAISE EXCEPTION 'cannot alter table because the table is not distributed'
            USING ERRCODE = 'XX000';
    END IF;
    PERFORM sharding.require_owner(rel);
    SELECT *
    INTO present_group
    FROM pg_dist_colocation
    WHERE colocationid = present.colocationid;
    present_key := column_to_column_name(rel, present.partkey);

    -- the arguments
    IF key IS NULL AND shard_count IS NULL AND other IS NULL AND NOT new_group THEN
        RAISE EXCEPTION 'you have to specify at least one of the distribution_column, '
            'shard_count or colocate_with parameters'
            USING ERRCODE = 'XX000';
    ELSIF shard_count = 0 THEN
        RAISE EXCEPTION 'shard_count cannot be 0'
            USING ERRCODE = 'XX000',
                  HINT = 'if you no longer want this to be a distributed table you can try '
                      'undistribute_table() function';
    ELSIF shard_count NOT BETWEEN 1 AND 4096 THEN
        RAISE EXCEPTION '% is outside the valid range for parameter "shard_count" (1 .. 64000)',
            shard_count
            USING ERRCODE = 'XX000',
                  HINT = 'The teaching cluster creates at most 4096 shards.';
    END IF;
    SELECT *
    INTO key_column
    FROM pg_attribute
    WHERE attrelid = rel
      AND attname = coalesce(key, present_key)
      AND attnum > 0
      AND NOT attisdropped;
    IF key_column.attnum IS NULL THEN
        RAISE EXCEPTION 'column "%" of relation "%" does not exist', key, name
            USING ERRCODE = '42703';
    END IF;

    -- the group to join
    IF other IS NOT NULL THEN
        SELECT c.*
        INTO other_group
        FROM pg_dist_partition p
        JOIN pg_dist_colocation c USING (colocationid)
        WHERE p.logicalrelid = other;
        IF other_group.colocationid IS NULL OR other_group.distributioncolumntype = 0 THEN
            RAISE EXCEPTION 'cannot colocate with % because it is not a distributed table',
                other::text
                USING ERRCODE = 'XX000';
        ELSIF shard_count <> other_group.shardcount THEN
            RAISE EXCEPTION 'shard_count cannot be different than the shard count of the table '
                'in colocate_with'
                USING ERRCODE = 'XX000',
                      HINT = 'if no shard_count is specified shard count will be same with '
                          'colocate_with table''s';
        END IF;
        target := sharding.check_colocation(
            rel, key_column.atttypid, key_column.attcollation, other);
        shard_count := other_group.shardcount;
    END IF;

    -- the arguments against the present table
    shard_count := coalesce(shard_count, present_group.shardcount);
    IF shard_count = present_group.shardcount
       AND key_column.attname = present_key
       AND NOT new_group
       AND (other IS NULL OR target = present.colocationid)
    THEN
        RAISE EXCEPTION 'this call doesn''t change any properties of the table'
            USING ERRCODE = 'XX000',
                  HINT = 'check citus_tables view to see current properties of the table';
    END IF;
    SELECT array_agg(logicalrelid::oid ORDER BY logicalrelid::oid)
    INTO peers
    FROM pg_dist_partition
    WHERE colocationid = present.colocationid
      AND logicalrelid <> rel;
    IF shard_count <> present_group.shardcount
       AND other IS NULL
       AND peers IS NOT NULL
       AND cascade IS NULL
    THEN
        RAISE EXCEPTION 'cascade_to_colocated parameter is necessary'
            USING ERRCODE = 'XX000',
                  DETAIL = 'this table is colocated with some other tables',
                  HINT = 'cascade_to_colocated := false will break the current colocation, '
                      'cascade_to_colocated := true will change the shard count of colocated '
                      'tables too.';
    ELSIF cascade AND key IS NOT NULL THEN
        RAISE EXCEPTION
            'distribution_column changes cannot be cascaded to colocated tables'
            USING ERRCODE = 'XX000';
    END IF;
    cascade := coalesce(cascade, false);

    PERFORM sharding.require_fresh_snapshot('alter_distributed_table');
    PERFORM sharding.lock_all_tables();
    IF NOT cascade AND EXISTS (
        SELECT
        FROM sharding.foreign_key fk
        WHERE rel IN (fk.conrelid, fk.confrelid)
          AND fk.conrelid <> fk.confrelid
          AND sharding.kind(fk.conrelid) = 'h'
          AND sharding.kind(fk.confrelid) = 'h')
    THEN
        RAISE EXCEPTION 'cannot complete operation because table % has a foreign key to, '
            'or from, a colocated table', name
            USING ERRCODE = '0A000',
                  HINT = 'Use cascade_to_colocated => true, or drop the foreign key first.';
    END IF;
    PERFORM sharding.check_unique(rel, key_column.attnum);

    IF target IS NULL THEN
        target := sharding.choose_colocation_group(
            shard_count, key_column.atttypid, key_column.attcollation, new_group OR cascade);
    END IF;
    IF cascade THEN
        rels := rels || peers;
    END IF;
    PERFORM sharding.redistribute(
        rels,
        ARRAY(
            SELECT CASE WHEN u.rel = alter_distributed_table.rel
                        THEN key_column.attname
                        ELSE column_to_column_name(p.logicalrelid, p.partkey)::name END
            FROM unnest(rels) WITH ORDINALITY u(rel, position)
            JOIN pg_dist_partition p ON p.logicalrelid = u.rel
            ORDER BY u.position),
        shard_count, target, key_column.atttypid, key_column.attcollation);
END $$;

-- Resolve colocate_with on the caller's search path (this function sets none), then alter.
CREATE FUNCTION pg_catalog.alter_distributed_table(
    table_name regclass, distribution_column text DEFAULT NULL, shard_count int DEFAULT NULL,
    colocate_with text DEFAULT NULL, cascade_to_colocated boolean DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sharding.alter_distributed_table(
        table_name, distribution_column, shard_count,
        CASE WHEN colocate_with NOT IN ('none', 'default') THEN colocate_with::regclass END,
        coalesce(colocate_with = 'none', false), cascade_to_colocated);
END $$;

-- ---------------------------------------------------------------- another group, same shards
-- Move a table to the other table's group, or, if "other" is NULL, to a new group.
CREATE FUNCTION sharding.update_colocation(rel regclass, other regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    present_group pg_dist_colocation;
    other_count int;
    checked regclass;
    target int;
BEGIN
    FOREACH checked IN ARRAY CASE WHEN other IS NULL THEN ARRAY[rel] ELSE ARRAY[rel, other] END
    LOOP
        IF sharding.kind(checked) IS DISTINCT FROM 'h' THEN
            RAISE EXCEPTION 'relation % should be a hash or single shard distributed table',
                sharding.bare_name(checked)
                USING ERRCODE = '0A000';
        END IF;
        PERFORM sharding.require_owner(checked);
    END LOOP;
    SELECT c.*
    INTO present_group
    FROM pg_dist_partition p
    JOIN pg_dist_colocation c USING (colocationid)
    WHERE p.logicalrelid = rel;
    IF other IS NULL THEN
        target := sharding.choose_colocation_group(
            present_group.shardcount, present_group.distributioncolumntype,
            present_group.distributioncolumncollation, true);
    ELSE
        target := sharding.check_colocation(
            rel, present_group.distributioncolumntype,
            present_group.distributioncolumncollation, other);
        other_count := (SELECT shardcount FROM pg_dist_colocation WHERE colocationid = target);
        IF other_count <> present_group.shardcount THEN
            RAISE EXCEPTION 'cannot colocate tables % and %',
                sharding.bare_name(other), sharding.bare_name(rel)
                USING ERRCODE = 'XX000',
                      DETAIL = format('Shard counts don''t match for %s and %s.',
                          sharding.bare_name(other), sharding.bare_name(rel));
        END IF;
        IF EXISTS (
            SELECT
            FROM pg_dist_shard mine
            JOIN pg_dist_placement my_place ON my_place.shardid = mine.shardid
            JOIN pg_dist_shard theirs ON theirs.logicalrelid = other
                AND theirs.shardminvalue = mine.shardminvalue
            JOIN pg_dist_placement their_place ON their_place.shardid = theirs.shardid
            WHERE mine.logicalrelid = rel
              AND my_place.groupid <> their_place.groupid)
        THEN
            RAISE EXCEPTION 'cannot colocate tables % and %',
                sharding.bare_name(other), sharding.bare_name(rel)
                USING ERRCODE = 'XX000',
                      DETAIL = 'Their shards stand on different nodes.';
        END IF;
    END IF;
    UPDATE pg_dist_partition
    SET colocationid = target
    WHERE logicalrelid = rel;
    PERFORM sharding.drop_empty_groups();
END $$;

-- Resolve colocate_with on the caller's search path, then change the group.
CREATE FUNCTION pg_catalog.update_distributed_table_colocation(
    table_name regclass, colocate_with text
) RETURNS void
LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM sharding.update_colocation(
        table_name, CASE WHEN colocate_with <> 'none' THEN colocate_with::regclass END);
END $$;

-- ---------------------------------------------------------------- variants of other calls
-- The same as create_distributed_table: here every call locks the table until it is done.
CREATE FUNCTION pg_catalog.create_distributed_table_concurrently(
    table_name regclass, distribution_column text,
    distribution_type citus.distribution_type DEFAULT 'hash',
    colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_catalog.create_distributed_table(
        table_name, distribution_column, distribution_type, colocate_with, shard_count)
$$;

-- Do nothing: here distributing a table removes its local rows.
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(function_name regclass)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
END $$;

-- What may be distributed: the rules, with the messages that Citus gives for breaking them.
--
-- A shard can only promise what it can check alone. Hence two rules of every sharded database: a
-- unique key must contain the distribution column, since equal values are then in one shard; and
-- a foreign key must stay on one node.

SET check_function_bodies = off;  -- functions of later files are named here

-- The table as such, before anything is locked or numbered.
CREATE FUNCTION sharding.check_table(rel oid, distributing boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    class pg_class;
BEGIN
    SELECT *
    INTO class
    FROM pg_class
    WHERE oid = rel;
    IF class.relnamespace = 'pg_catalog'::regnamespace THEN
        -- with Citus, too, the failed call has used up a number by now
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
        RAISE EXCEPTION 'the teaching part distributes plain tables only; "%" is %',
            class.relname,
            CASE class.relkind WHEN 'p' THEN 'partitioned' ELSE 'a foreign table' END
            USING ERRCODE = '0A000';
    ELSIF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = rel OR inhparent = rel) THEN
        RAISE EXCEPTION 'the teaching part does not distribute tables that inherit: "%"',
            class.relname
            USING ERRCODE = '0A000';
    ELSIF class.relrowsecurity THEN
        RAISE EXCEPTION 'the teaching part does not carry row security policies over: "%"',
            class.relname
            USING ERRCODE = '0A000';
    ELSIF NOT EXISTS (SELECT FROM sharding.workers() WHERE shouldhaveshards) THEN
        RAISE EXCEPTION 'couldn''t find any worker nodes'
            USING ERRCODE = 'XX000',
                  HINT = 'Add more worker nodes';
    END IF;
END $$;

-- Triggers would run on the coordinator, for rows that are elsewhere.
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

-- Unique, exclusion and primary keys must include the distribution column; an exclusion constraint
-- must compare it by equality (403 is the B-tree method, 3 its strategy number of "=").
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

-- A foreign key of a table that is, or is about to be, distributed by "key" in a colocation group.
-- It must refer to a reference table; or to a colocated one, and connect the two keys.
CREATE FUNCTION sharding.check_foreign_key(fk sharding.foreign_key, key name, colocation int)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    referenced pg_dist_partition;
    referenced_key name;
    unfit text := 'cannot create foreign key constraint';
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
        RAISE EXCEPTION '%', unfit
            USING ERRCODE = '0A000',
                  DETAIL = 'Foreign keys are supported in two cases, either in between two '
                      'colocated tables including partition column in the same ordinal in the '
                      'both tables or from distributed to reference tables';
    ELSIF fk.actions ~ 'ON DELETE SET' THEN
        RAISE EXCEPTION '%', unfit
            USING ERRCODE = '0A000',
                  DETAIL = 'SET NULL or SET DEFAULT is not supported in ON DELETE operation '
                      'when distribution key is included in the foreign key constraint';
    ELSIF fk.actions ~ 'ON UPDATE (SET|CASCADE)' THEN
        RAISE EXCEPTION '%', unfit
            USING ERRCODE = '0A000',
                  DETAIL = 'SET NULL, SET DEFAULT or CASCADE is not supported in ON UPDATE '
                      'operation when distribution key included in the foreign key constraint';
    END IF;
END $$;

-- Reference and local tables cannot refer to distributed ones: their rows are everywhere, or not
-- where the shards are.
CREATE FUNCTION sharding.refuse_key_to_distributed() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'cannot create foreign key constraint since foreign keys from reference '
        'tables and local tables to distributed tables are not supported'
        USING ERRCODE = '0A000',
              DETAIL = 'Reference tables and local tables can only have foreign keys to '
                  'reference tables and local tables';
END $$;

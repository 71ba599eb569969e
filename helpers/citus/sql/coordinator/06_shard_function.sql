-- The shard function: from a value to its hash, and from the hash to its shard.
--
-- The hash is PostgreSQL's own: the default hash function of the key's type. The hashes, from
-- -2147483648 to 2147483647, are cut into as many equal ranges as there are shards. The last part
-- of the file makes PostgreSQL's hash partitioning place rows by the same rule.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- which hash
-- The default hash operator class of a type, as PostgreSQL itself would choose it: that of the
-- type (a domain is its base type), else of a type that it can stand for as it is (varchar for
-- text), else of its kind of types (every enum is an anyenum).
CREATE FUNCTION sharding.hash_opclass(of_type regtype) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE base AS (
        SELECT oid, typtype, typbasetype, typsubscript
        FROM pg_type
        WHERE oid = of_type
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, t.typsubscript
        FROM base
        JOIN pg_type t ON t.oid = base.typbasetype
        WHERE base.typtype = 'd'
    )
    SELECT opclass.oid
    FROM base
    JOIN pg_opclass opclass ON opclass.opcdefault
        AND opclass.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'hash')
    LEFT JOIN pg_type input ON input.oid = opclass.opcintype
    WHERE base.typtype <> 'd'
      AND (opclass.opcintype = base.oid
           OR EXISTS (
               SELECT
               FROM pg_cast
               WHERE castsource = base.oid
                 AND casttarget = opclass.opcintype
                 AND castmethod = 'b'
                 AND castcontext = 'i')
           OR opclass.opcintype =
               CASE WHEN base.typtype = 'e' THEN 'anyenum'::regtype
                    WHEN base.typtype = 'r' THEN 'anyrange'::regtype
                    WHEN base.typtype = 'm' THEN 'anymultirange'::regtype
                    WHEN base.typtype = 'c' THEN 'record'::regtype
                    WHEN base.typsubscript = 'array_subscript_handler'::regproc
                    THEN 'anyarray'::regtype END)
    ORDER BY opclass.opcintype = base.oid DESC, input.typispreferred DESC
    LIMIT 1
$$;

-- The hash function of that operator class (its support function 1), as text that can be called.
CREATE FUNCTION sharding.hash_function(opclass oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', n.nspname, f.proname)
    FROM pg_opclass o
    JOIN pg_amproc support ON support.amprocfamily = o.opcfamily
        AND support.amproclefttype = o.opcintype
        AND support.amprocrighttype = o.opcintype
        AND support.amprocnum = 1
    JOIN pg_proc f ON f.oid = support.amproc
    JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE o.oid = opclass
$$;

-- ---------------------------------------------------------------- from a value to its shard
-- The hash of a value: the number that decides on the shard.
CREATE FUNCTION pg_catalog.worker_hash(value anyelement) RETURNS int
LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE
    hash_function text := sharding.hash_function(sharding.hash_opclass(pg_typeof(value)));
    hash int;
BEGIN
    IF hash_function IS NULL THEN
        RAISE EXCEPTION 'cannot find a hash function for the input type'
            USING ERRCODE = '0A000',
                  HINT = 'Cast input to a data type with a hash function.';
    END IF;
    EXECUTE format('SELECT %s($1)', hash_function)
        INTO hash
        USING value;
    RETURN hash;
END $$;

-- The hash of a value for one table: the key's type, and its collation, decide.
CREATE FUNCTION sharding.key_hash(relid oid, value text) RETURNS int
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    key record;
    hash int;
BEGIN
    SELECT a.atttypid, format_type(a.atttypid, a.atttypmod) AS type,
        quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS collation
    INTO key
    FROM pg_attribute a
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE a.attrelid = relid
      AND a.attnum = sharding.key_column(relid);
    EXECUTE format('SELECT %s(CAST($1 AS %s)%s)',
            sharding.hash_function(sharding.hash_opclass(key.atttypid)), key.type,
            coalesce(' COLLATE ' || key.collation, ''))
        INTO hash
        USING value;
    RETURN hash;
END $$;

-- Which shard has, or would have, the row with this key?
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(
    table_name regclass, distribution_value text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    method "char" := (SELECT partmethod FROM pg_dist_partition WHERE logicalrelid = table_name);
    hash int;
BEGIN
    IF method IS NULL THEN
        RAISE EXCEPTION 'relation is not distributed' USING ERRCODE = '42P16';
    ELSIF method = 'n' THEN
        RETURN (
            SELECT shardid
            FROM pg_dist_shard
            WHERE logicalrelid = table_name);
    ELSIF distribution_value IS NULL THEN
        RAISE EXCEPTION
            'distribution value cannot be NULL for tables other than reference tables.'
            USING ERRCODE = '22004';
    END IF;
    hash := sharding.key_hash(table_name, distribution_value);
    RETURN (
        SELECT shardid
        FROM pg_dist_shard
        WHERE logicalrelid = table_name
          AND hash BETWEEN shardminvalue::int AND shardmaxvalue::int);
END $$;

-- A value may have any type: one function serves text, this one all the others.
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(
    table_name regclass, distribution_value anyelement
) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT get_shard_id_for_distribution_column(table_name, distribution_value::text)
$$;

-- ---------------------------------------------------------------- placing rows by it
-- The trick of the whole part. For one key, PostgreSQL's hash partitioning takes
--     partition = (extended_hash(value, seed) + 5305509591434766563) mod 2^64 mod modulus
-- so with a hash function that returns (shard index - 5305509591434766563), partition i is
-- exactly shard i, and planning, pruning and inserting all follow.
--
-- The hash function depends on the shard count, so there is an operator class for each pair of
-- type and shard count. The type's whole operator family is cloned, with every equality between
-- different types: so a constant of another integer width finds its shard too.
-- Returns the operator class to use for the key.
CREATE FUNCTION sharding.shard_opclass(key_type regtype, shard_count int) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    original pg_opclass;
    polymorphic boolean;
    family name;
    opclass text;
    member record;
    concrete_type text;
    shard_of text;
    equalities text;
BEGIN
    SELECT *
    INTO original
    FROM pg_opclass
    WHERE oid = sharding.hash_opclass(key_type);
    polymorphic := (SELECT typtype = 'p' FROM pg_type WHERE oid = original.opcintype);

    -- A function for partitioning cannot take anyenum, anyarray or their like: such a family is
    -- cloned for the one type.
    SELECT opfname || '_' || shard_count
        || CASE WHEN polymorphic THEN '_' || key_type::oid ELSE '' END
    INTO family
    FROM pg_opfamily
    WHERE oid = original.opcfamily;
    opclass := format('sharding.%I', 'o' || original.opcintype || '_' || family);
    IF EXISTS (
        SELECT
        FROM pg_opfamily
        WHERE opfname = family
          AND opfnamespace = 'sharding'::regnamespace)
    THEN
        RETURN opclass;
    END IF;

    EXECUTE format('CREATE OPERATOR FAMILY sharding.%I USING hash', family);
    FOR member IN
        SELECT amproclefttype AS type, format('%I.%I', n.nspname, f.proname) AS hash_function
        FROM pg_amproc support
        JOIN pg_proc f ON f.oid = support.amproc
        JOIN pg_namespace n ON n.oid = f.pronamespace
        WHERE amprocfamily = original.opcfamily
          AND amprocnum = 1
          AND amproclefttype = amprocrighttype
        ORDER BY amproclefttype
    LOOP
        CONTINUE WHEN polymorphic AND member.type <> original.opcintype;
        concrete_type := format_type(
            CASE WHEN polymorphic THEN key_type ELSE member.type END, NULL);
        shard_of := format('sharding.%I', 'shard_of_' || member.type || '_' || family);
        EXECUTE format(
            'CREATE FUNCTION %s(value %s, seed bigint) RETURNS bigint
                 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS %L',
            shard_of, concrete_type,
            format('BEGIN RETURN least((%s(value)::bigint + 2147483648) / %s, %s)'
                   ' - 5305509591434766563; END',
                member.hash_function, 4294967296 / shard_count, shard_count - 1));
        EXECUTE format(
            'CREATE OPERATOR CLASS sharding.%I FOR TYPE %s USING hash FAMILY sharding.%I AS
                 FUNCTION 2 (%s, %s) %s(%s, bigint)',
            'o' || member.type || '_' || family, concrete_type, family,
            concrete_type, concrete_type, shard_of, concrete_type);
        IF polymorphic THEN
            EXECUTE format(
                'ALTER OPERATOR FAMILY sharding.%I USING hash ADD
                     FUNCTION 2 (%s, %s) %s(%s, bigint)',
                family, original.opcintype::regtype, original.opcintype::regtype,
                shard_of, concrete_type);
        END IF;
    END LOOP;

    SELECT string_agg(
        format('OPERATOR 1 %I.%s (%s, %s)', n.nspname, o.oprname,
            format_type(amoplefttype, NULL), format_type(amoprighttype, NULL)),
        ', ')
    INTO equalities
    FROM pg_amop
    JOIN pg_operator o ON o.oid = pg_amop.amopopr
    JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE amopfamily = original.opcfamily
      AND amopstrategy = 1
      AND (NOT polymorphic OR amoplefttype = original.opcintype);
    EXECUTE format('ALTER OPERATOR FAMILY sharding.%I USING hash ADD %s', family, equalities);
    RETURN opclass;
END $$;

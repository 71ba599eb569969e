-- The shard function: value -> hash -> shard, and the operator class that makes PostgreSQL's own
-- hash partitioning place rows by it.

SET check_function_bodies = off;  -- functions of later files are named here

-- ---------------------------------------------------------------- which hash
-- The default hash operator class of a type, as PostgreSQL itself would choose it: of the type (a domain
-- is its base type), else of a type that it is binary-coercible to (varchar -> text), else of its family
-- of types (every enum -> anyenum).
CREATE FUNCTION sharding.hash_opclass(of_type regtype) RETURNS oid LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    WITH RECURSIVE base AS (
        SELECT oid, typtype, typbasetype, typcategory, typsubscript FROM pg_type WHERE oid = of_type
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, t.typcategory, t.typsubscript FROM base JOIN pg_type t ON t.oid = base.typbasetype
        WHERE base.typtype = 'd')
    SELECT o.oid
    FROM (SELECT * FROM base WHERE typtype <> 'd') b JOIN pg_opclass o ON o.opcdefault AND o.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'hash')
    LEFT JOIN pg_type i ON i.oid = o.opcintype
    WHERE o.opcintype = b.oid
       OR EXISTS (SELECT FROM pg_cast WHERE castsource = b.oid AND casttarget = o.opcintype AND castmethod = 'b' AND castcontext = 'i')
       OR o.opcintype = CASE WHEN b.typtype = 'e' THEN 'anyenum'::regtype WHEN b.typtype = 'r' THEN 'anyrange'::regtype
                             WHEN b.typtype = 'm' THEN 'anymultirange'::regtype WHEN b.typtype = 'c' THEN 'record'::regtype
                             WHEN b.typsubscript = 'array_subscript_handler'::regproc THEN 'anyarray'::regtype END
    ORDER BY o.opcintype = b.oid DESC, i.typispreferred DESC LIMIT 1
$$;

-- The hash function of that operator class (support function 1), as text that can be called.
CREATE FUNCTION sharding.hash_function(opclass oid) RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format('%I.%I', n.nspname, f.proname)
    FROM pg_opclass o JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amproclefttype = o.opcintype
        AND p.amprocrighttype = o.opcintype AND p.amprocnum = 1
    JOIN pg_proc f ON f.oid = p.amproc JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE o.oid = opclass
$$;

-- The hash of a value: the number that decides on the shard.
CREATE FUNCTION pg_catalog.worker_hash(value anyelement) RETURNS int LANGUAGE plpgsql STRICT SET search_path = pg_catalog AS $$
DECLARE f text := sharding.hash_function(sharding.hash_opclass(pg_typeof(value))); h int;
BEGIN
    IF f IS NULL THEN
        RAISE EXCEPTION 'cannot find a hash function for the input type'
            USING ERRCODE = '0A000', HINT = 'Cast input to a data type with a hash function.';
    END IF;
    EXECUTE 'SELECT ' || f || '($1)' INTO h USING value;
    RETURN h;
END $$;

-- ---------------------------------------------------------------- which shard
-- The hash of a value for one table: the key's type, and its collation, decide.
CREATE FUNCTION sharding.key_hash(relid oid, value text) RETURNS int LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE k record; h int;
BEGIN
    SELECT format_type(atttypid, atttypmod) AS type, atttypid, quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS collation
    INTO k FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE a.attrelid = relid AND a.attnum = sharding.key_column(relid);
    EXECUTE format('SELECT %s(CAST($1 AS %s)%s)', sharding.hash_function(sharding.hash_opclass(k.atttypid)), k.type,
        coalesce(' COLLATE ' || k.collation, '')) INTO h USING value;
    RETURN h;
END $$;

CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(table_name regclass, distribution_value text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE method "char"; h int;
BEGIN
    SELECT partmethod INTO method FROM pg_dist_partition WHERE logicalrelid = table_name;
    IF method IS NULL THEN
        RAISE EXCEPTION 'relation is not distributed' USING ERRCODE = '42P16';
    ELSIF method = 'n' THEN
        RETURN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = table_name);
    ELSIF distribution_value IS NULL THEN
        RAISE EXCEPTION 'distribution value cannot be NULL for tables other than reference tables.' USING ERRCODE = '22004';
    END IF;
    h := sharding.key_hash(table_name, distribution_value);
    RETURN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = table_name AND h BETWEEN shardminvalue::int AND shardmaxvalue::int);
END $$;

-- Citus takes a value of any type; here that is one function for text and one for all the others.
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(table_name regclass, distribution_value anyelement) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT get_shard_id_for_distribution_column(table_name, distribution_value::text)
$$;

-- ---------------------------------------------------------------- placing rows by it
-- For one key, PostgreSQL's hash partitioning takes
--     partition = (extended_hash(value, seed) + 5305509591434766563) mod 2^64 mod modulus
-- so a hash function that returns (shard index - 5305509591434766563) makes partition i exactly shard i.
-- A clone of the type's whole operator family is made for each shard count, with every cross-type equality,
-- so that a constant of another integer width finds its shard too. Returns the operator class for the key.
CREATE FUNCTION sharding.shard_opclass(key_type regtype, shard_count int) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    o pg_opclass; fam name; poly boolean; concrete text; m record; items text; f text; class text;
BEGIN
    SELECT * INTO o FROM pg_opclass WHERE oid = sharding.hash_opclass(key_type);
    poly := (SELECT typtype = 'p' FROM pg_type WHERE oid = o.opcintype);
    -- anyenum, anyarray and their like cannot be an argument here, so such a family is cloned for the one type
    SELECT opfname || '_' || shard_count || CASE WHEN poly THEN '_' || key_type::oid ELSE '' END INTO fam FROM pg_opfamily WHERE oid = o.opcfamily;
    class := format('sharding.%I', 'o' || o.opcintype || '_' || fam);
    IF EXISTS (SELECT FROM pg_opfamily WHERE opfname = fam AND opfnamespace = 'sharding'::regnamespace) THEN RETURN class; END IF;

    EXECUTE format('CREATE OPERATOR FAMILY sharding.%I USING hash', fam);
    FOR m IN SELECT amproclefttype AS t, format('%I.%I', n.nspname, p.proname) AS hash_function
             FROM pg_amproc a JOIN pg_proc p ON p.oid = a.amproc JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE amprocfamily = o.opcfamily AND amprocnum = 1 AND amproclefttype = amprocrighttype
             ORDER BY amproclefttype LOOP
        CONTINUE WHEN poly AND m.t <> o.opcintype;
        concrete := format_type(CASE WHEN poly THEN key_type ELSE m.t END, NULL);
        f := format('sharding.%I', 'shard_of_' || m.t || '_' || fam);
        EXECUTE format('CREATE FUNCTION %s(value %s, seed bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS %L',
            f, concrete, format('BEGIN RETURN least((%s(value)::bigint + 2147483648) / %s, %s) - 5305509591434766563; END',
                                m.hash_function, 4294967296 / shard_count, shard_count - 1));
        EXECUTE format('CREATE OPERATOR CLASS sharding.%I FOR TYPE %s USING hash FAMILY sharding.%I AS FUNCTION 2 (%s, %s) %s(%s, bigint)',
            'o' || m.t || '_' || fam, concrete, fam, concrete, concrete, f, concrete);
        IF poly THEN EXECUTE format('ALTER OPERATOR FAMILY sharding.%I USING hash ADD FUNCTION 2 (%s, %s) %s(%s, bigint)',
            fam, o.opcintype::regtype, o.opcintype::regtype, f, concrete);
        END IF;
    END LOOP;
    SELECT string_agg(format('OPERATOR 1 %I.%s (%s, %s)', n.nspname, op.oprname, format_type(amoplefttype, NULL), format_type(amoprighttype, NULL)), ', ')
    INTO items FROM pg_amop a JOIN pg_operator op ON op.oid = a.amopopr JOIN pg_namespace n ON n.oid = op.oprnamespace
    WHERE amopfamily = o.opcfamily AND amopstrategy = 1 AND (NOT poly OR amoplefttype = o.opcintype);
    EXECUTE format('ALTER OPERATOR FAMILY sharding.%I USING hash ADD %s', fam, items);
    RETURN class;
END $$;

-- create_distributed_table: turn a plain table into shards.
--
-- The new table is partitioned by the hash of the distribution column; its partitions are foreign
-- tables, one for each shard. Everything happens in the caller's transaction: an error on any node
-- rolls back all of it.

SET check_function_bodies = off;  -- functions may call functions of later files

-- ---------------------------------------------------------------- the hash of the key
-- Return the default hash operator class for a type, as PostgreSQL chooses it: the class of the
-- type itself (of a domain: its base type), else of a binary-compatible type (text for varchar),
-- else of its category (anyenum for an enum).
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

-- Return an operator class with which PostgreSQL's hash partitioning places rows in Citus's shards.
--
-- Citus divides the hash values, from -2147483648 to 2147483647, into equal ranges, one for each
-- shard. PostgreSQL computes, for a key of one column,
--     partition = (extended_hash(value, seed) + 5305509591434766563) mod 2^64 mod modulus
-- If the hash function returns (shard index - 5305509591434766563), partition i is exactly shard i.
-- Planning, partition pruning and inserts then work without further code.
--
-- The hash function depends on the shard count, so each pair of type and shard count has its own
-- operator class. The type's whole operator family is cloned, with the equality operators between
-- different types, so that a constant of another integer type finds its shard too.
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

    -- A hash function for partitioning cannot take a pseudo-type such as anyenum: such a family is
    -- cloned for each type.
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

-- ---------------------------------------------------------------- guards of the new table
-- Refuse an INSERT without the key, as Citus does: this is the key's default if it had none.
CREATE FUNCTION sharding.no_key() RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION 'cannot perform an INSERT without a partition column value'
        USING ERRCODE = '22004';
END $$;

-- Return the text of the present statement, and of the functions that it is part of, as far as they
-- have one of the given words (a regular expression); without comments and strings.
CREATE FUNCTION sharding.statement_text(words text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts text[] := ARRAY[current_query()];
    context text;
    part text;
    whole text := '';
    -- Quoted names stay, and may have an apostrophe. Of strings there are four kinds: plain, with
    -- E, and between dollar signs, with and without a tag.
    removed text := $r$("[^"]*")|'(?:[^']|'')*'|\me'(?:[^'\\]|\\.|'')*'|$r$
        || $r$\$\$(?:[^$]|\$(?!\$))*\$\$|\$([a-z_]\w*)\$[^$]*\$\2\$|$r$
        || $r$--[^\n]*|/\*(?:[^*]|\*+[^*/])*\*+/$r$;
BEGIN
    GET DIAGNOSTICS context = PG_CONTEXT;
    parts := parts || regexp_replace(
        regexp_replace(context, '(^|\n)(SQL statement|PL/pgSQL \w+) "', E'\n', 'g'),
        '"(\nPL/pgSQL |\nSQL |$)', '\1', 'g');
    IF context ~ 'SQL function "' THEN
        parts := parts || ARRAY(
            SELECT prosrc
            FROM pg_catalog.pg_proc
            WHERE proname IN (
                SELECT named[1]
                FROM regexp_matches(context, 'SQL function "([^"]+)"', 'g') named));
    END IF;
    IF parts[1] ~* '^\s*(explain\M.*)?\mexecute\M' THEN
        parts := parts || ARRAY(
            SELECT statement
            FROM pg_catalog.pg_prepared_statements
            WHERE parts[1] ~ ('\m' || name || '\M'));
    END IF;
    IF parts[1] ~* '^\s*create\s+(or\s+replace\s+)?(function|procedure)\M' THEN
        -- The body is a string; PostgreSQL may plan it as a part of another statement.
        parts[1] := regexp_replace(parts[1], $r$'|\$([a-z_]\w*)?[$]$r$, ' ', 'gi');
    END IF;
    FOREACH part IN ARRAY parts LOOP
        IF part ~* words THEN
            whole := whole || regexp_replace(part, removed, '\1 ', 'gi');
        END IF;
    END LOOP;
    RETURN whole;
END $$;

-- Return a regular expression for a table's name in a statement's text.
CREATE FUNCTION sharding.name_pattern(rel oid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT '("?[\w$]+"?\s*\.\s*)?"?' || regexp_replace(relname, '(\W)', '\\\1', 'g')
        || '"?(?![\w$"])'
    FROM pg_catalog.pg_class
    WHERE oid = rel
$$;

-- Refuse queries that PostgreSQL would plan without the rows on the workers, or without telling why
-- it does not execute them. PostgreSQL has no trigger for SELECT. But whenever it plans a query of
-- a table, it evaluates the constants in the expressions of the table's extended statistics, so
-- each distributed table has a statistics object that calls this function.
CREATE FUNCTION sharding.check_query(rel oid) RETURNS int
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    query text := sharding.statement_text(
        '\m(only|merge|tablesample|locked|nowait|xmin|xmax|cmin|cmax)\M');
    name text;
    by_hash boolean;
    refused text;
    advice text;
BEGIN
    IF query = '' THEN
        RETURN 0;
    END IF;
    name := sharding.name_pattern(rel);
    by_hash := (SELECT partstrat = 'h' FROM pg_catalog.pg_partitioned_table WHERE partrelid = rel);
    -- a name such as U&"\0074" could be that of the table
    IF query ~* ('\monly\s*\(?\s*(' || name || '|u&")') THEN
        refused := 'ONLY';
        advice := 'Leave out ONLY: in genuine Citus, it makes no difference.';
    ELSIF by_hash AND query ~* ('\mmerge\s+into\s+' || name) THEN
        refused := 'MERGE';
        advice := 'Use UPDATE and, if it changes no row, INSERT, in one transaction.';
    ELSIF by_hash AND query ~* (name || '(\s+as)?(\s+[\w"]+)?\s+tablesample\M') THEN
        refused := 'TABLESAMPLE';
        advice := 'Use WHERE random() < …, or ORDER BY random() LIMIT ….';
    ELSIF by_hash AND query ~* (name || '.*\mfor\s[^;]*\m(skip\s+locked|nowait)\M') THEN
        refused := 'SKIP LOCKED and NOWAIT';
        advice := 'Set statement_timeout to wait for a short time only.';
    ELSIF by_hash AND query ~* name AND query ~* '\m(xmin|xmax|cmin|cmax)\M' THEN
        refused := 'the system columns xmin, xmax, cmin and cmax';
        advice := 'Use another column, such as a version number.';
    ELSE
        RETURN 0;
    END IF;
    RAISE EXCEPTION 'the teaching cluster does not support % on table "%"; genuine Citus does',
        refused, (SELECT relname FROM pg_catalog.pg_class WHERE oid = rel)
        USING ERRCODE = '0A000', HINT = advice;
END $$;

-- Refuse what PostgreSQL does not do for foreign partitions: ON CONFLICT with a target, and
-- checking written rows against row security policies. This runs as the caller.
CREATE FUNCTION sharding.check_write() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF row_security_active(TG_RELID) THEN
        RAISE EXCEPTION 'the teaching cluster does not support INSERT and UPDATE by roles that row '
            'security policies apply to on distributed table "%"; genuine Citus does', TG_TABLE_NAME
            USING ERRCODE = '0A000',
                  HINT = 'Policies apply to SELECT and DELETE. Let a role with BYPASSRLS write.';
    ELSIF TG_OP = 'INSERT' AND sharding.statement_text('\mconflict\M') ~* (
        '\minto\s+' || sharding.name_pattern(TG_RELID) || '[^;]*\mon\s+conflict\s*(\(|on\M)')
    THEN
        RAISE EXCEPTION 'the teaching cluster does not support INSERT … ON CONFLICT with a target '
            'on distributed table "%"; genuine Citus does', TG_TABLE_NAME
            USING ERRCODE = '0A000',
                  HINT = 'Use UPDATE and, if it changes no row, INSERT … ON CONFLICT DO NOTHING, '
                      'in one transaction.';
    END IF;
    RETURN NULL;
END $$;

-- Add the checks of statements to a new distributed or reference table.
CREATE FUNCTION sharding.add_statement_checks(rel oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE format('CREATE STATISTICS sharding.%I ON (sharding.check_query(%L)) FROM %s',
        'check_query_' || rel, rel, rel::regclass);
    IF sharding.kind(rel) = 'h' THEN
        EXECUTE format('CREATE TRIGGER check_write BEFORE INSERT OR UPDATE ON %s
                            FOR EACH STATEMENT EXECUTE FUNCTION sharding.check_write()',
            rel::regclass);
        EXECUTE format('CREATE TRIGGER check_truncate BEFORE TRUNCATE ON %s
                            FOR EACH STATEMENT EXECUTE FUNCTION sharding.check_truncate()',
            rel::regclass);
    END IF;
END $$;

-- Refuse TRUNCATE if another table refers to this one and is not truncated with it, as PostgreSQL
-- does for its own foreign keys. postgres_fdw sends TRUNCATE to the shards.
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

-- ---------------------------------------------------------------- the rebuild
-- Create the new table and its shards, still without rows.
CREATE FUNCTION sharding.build_distributed(
    old oid, name text, saved jsonb, key name, key_type regtype, shard_count int, colocation int
) RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    new oid;
    object sharding.shard_object;
BEGIN
    -- LIKE copies CHECK and NOT NULL
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)
                        PARTITION BY HASH (%I %s)',
        name, old::regclass, key, sharding.shard_opclass(key_type, shard_count));
    new := name::regclass;
    INSERT INTO sharding.table_name
    VALUES (new, saved->>'schema', saved->>'name');
    INSERT INTO pg_dist_partition
    VALUES (new, 'h', column_name_to_column(new, key), colocation, 's', false);
    PERFORM sharding.place_shards(new, shard_count, colocation);
    PERFORM sharding.attach_shards(new);
    -- Keys are added last: a foreign table cannot become a partition of a table with unique keys.
    FOR object IN
        SELECT *
        FROM sharding.expected_objects(old)
        WHERE kind IN ('k', 'i')
          AND suffixed
        ORDER BY kind DESC, objid
    LOOP
        EXECUTE sharding.key_command(object, object.name::name, name, true);
    END LOOP;
    PERFORM sharding.mark_keys_valid(new);
    INSERT INTO sharding.shard_object
    SELECT *
    FROM sharding.expected_objects(new);
    PERFORM sharding.create_shards(new);
    RETURN new;
END $$;

-- Turn a plain table into a distributed one and return the new table's OID.
CREATE FUNCTION sharding.distribute(old oid, key name, shard_count int, colocation int)
RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = warning AS $$
DECLARE
    saved jsonb;
    name text;
    new oid;
    key_type regtype := (SELECT atttypid FROM pg_attribute WHERE attrelid = old AND attname = key);
    key_is_null boolean;
    fk sharding.foreign_key;
    was_internal boolean := sharding.set_internal_ddl(true);
BEGIN
    PERFORM sharding.remove_local_metadata(old);
    PERFORM sharding.collect_foreign_keys(old);
    PERFORM sharding.check_triggers(old);

    saved := sharding.set_aside(old);
    name := format('%I.%I', saved->>'schema', saved->>'name');
    new := sharding.build_distributed(old, name, saved, key, key_type, shard_count, colocation);

    -- the rows, then the foreign keys
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I IS NULL)', old::regclass, key)
        INTO key_is_null;
    IF key_is_null THEN
        RAISE EXCEPTION 'the partition column of table % cannot be NULL', name
            USING ERRCODE = '22004';
    END IF;
    PERFORM sharding.copy_rows(old, new);
    PERFORM sharding.replace_table(saved, old, new);
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
    PERFORM sharding.add_statement_checks(new);
    PERFORM sharding.set_internal_ddl(was_internal);
    RETURN new;
END $$;

-- ---------------------------------------------------------------- the calls
-- Check the call in Citus's order, then distribute the table. As in Citus, a call that fails after
-- its colocation group was created uses up the group's number.
CREATE FUNCTION sharding.create_distributed_table(
    rel oid, key name, method citus.distribution_type, other regclass, new_group boolean,
    shard_count int
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    name name := sharding.bare_name(rel);
    used_shard_count int;
    key_column pg_attribute;
    colocation int;
    fk sharding.foreign_key;
BEGIN
    PERFORM sharding.require_owner(rel);
    IF key IS NULL THEN
        RAISE EXCEPTION
            'the teaching cluster has no single-shard tables: name a distribution column'
            USING ERRCODE = '0A000';
    ELSIF method <> 'hash' THEN
        RAISE EXCEPTION 'the teaching cluster distributes by hash only, not by %', method
            USING ERRCODE = '0A000';
    END IF;
    used_shard_count := coalesce(shard_count, current_setting('citus.shard_count', true)::int, 32);
    IF used_shard_count NOT BETWEEN 1 AND 64000 THEN
        RAISE EXCEPTION
            '% is outside the valid range for parameter "shard_count" (1 .. 64000)',
            used_shard_count
            USING ERRCODE = 'XX000';
    ELSIF used_shard_count > 4096 THEN
        RAISE EXCEPTION 'the teaching cluster creates at most 4096 shards, not %', used_shard_count
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
        colocation := sharding.choose_colocation_group(
            used_shard_count, key_column.atttypid, key_column.attcollation, new_group);
    ELSE
        colocation := sharding.check_colocation(
            rel, key_column.atttypid, key_column.attcollation, other);
        used_shard_count := (
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

    PERFORM sharding.drop_old_placements();
    PERFORM sharding.ensure_reference_copies();
    PERFORM sharding.distribute(rel, key, used_shard_count, colocation);
END $$;

-- Resolve colocate_with on the caller's search path (this function sets none), then distribute.
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
    -- an invalid shard count is reported before any error of the table
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

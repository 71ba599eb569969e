SELECT citus_set_coordinator_host('127.0.0.1', PORT0);
SELECT citus_add_node('127.0.0.1', PORT1);
SELECT citus_add_node('127.0.0.1', PORT2);
-- reference-table joins are pushed down to the workers
CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, price numeric NOT NULL CHECK (price >= 0), category text NOT NULL);
SELECT create_distributed_table('products', 'id', shard_count => 8);
CREATE TABLE orders (id bigint NOT NULL, product_id bigint NOT NULL, customer_id bigint NOT NULL, quantity int NOT NULL, PRIMARY KEY (product_id, id));
SELECT create_distributed_table('orders', 'product_id', colocate_with => 'products');
CREATE TABLE categories (name text PRIMARY KEY, label text);
SELECT create_reference_table('categories');
CREATE TABLE customers (id bigint PRIMARY KEY, country text);
SELECT create_reference_table('customers');
INSERT INTO products SELECT i, 'Product ' || i, i, (ARRAY['laptop','phone','book'])[1 + i % 3] FROM generate_series(1, 100) i;
INSERT INTO orders SELECT i, 1 + i % 100, 1 + i % 20, 1 FROM generate_series(1, 1000) i;
INSERT INTO categories VALUES ('laptop','Laptops'), ('phone','Phones'), ('book','Books');
INSERT INTO customers SELECT i, CASE WHEN i % 2 = 0 THEN 'NL' ELSE 'ID' END FROM generate_series(1, 20) i;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT c.label, count(*) FROM products p JOIN categories c ON c.name = p.category GROUP BY c.label;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT c.country, count(*) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.country;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT p.name, c.label FROM products p JOIN categories c ON c.name = p.category WHERE p.id = 42;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT count(*) FROM products;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT sum(quantity), avg(quantity), count(DISTINCT customer_id) FROM orders;
EXPLAIN (FORMAT JSON, COSTS OFF) INSERT INTO products VALUES (1000, 'New', 1, 'book');
EXPLAIN (FORMAT JSON, COSTS OFF) UPDATE products SET price = 2 WHERE id = 42;
EXPLAIN (FORMAT JSON, COSTS OFF) SELECT * FROM products ORDER BY price LIMIT 5;
-- upserts work on the distribution key
INSERT INTO products VALUES (1, 'Product 1', 9, 'phone') ON CONFLICT (id) DO UPDATE SET price = excluded.price RETURNING id, price;
INSERT INTO products VALUES (1, 'Product 1', 9, 'phone') ON CONFLICT DO NOTHING;
-- enum types are propagated, changes to them as well
CREATE TYPE mood AS ENUM ('ok', 'good');
CREATE TABLE moods (id bigint PRIMARY KEY, m mood);
SELECT create_distributed_table('moods', 'id', shard_count => 4);
ALTER TYPE mood ADD VALUE 'great';
INSERT INTO moods VALUES (1, 'great');
SELECT * FROM moods;
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';
INSERT INTO moods VALUES (2, 'fine');
SELECT * FROM moods ORDER BY id;
ALTER TYPE mood RENAME TO feeling;
SELECT * FROM moods ORDER BY id;
CREATE TYPE point2 AS (x int, y int);
ALTER TABLE moods ADD COLUMN p point2;
INSERT INTO moods VALUES (3, 'good', ROW(1,2));
SELECT * FROM moods ORDER BY id;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE amounts (id bigint PRIMARY KEY, n positive);
SELECT create_distributed_table('amounts', 'id', shard_count => 4);
ALTER DOMAIN positive DROP CONSTRAINT positive_check;
INSERT INTO amounts VALUES (1, -1);
-- roles
CREATE ROLE reader LOGIN;
GRANT SELECT ON products TO reader;
SET ROLE reader;
SELECT count(*) FROM products;
CREATE TABLE own_table (id int);
RESET ROLE;
-- ALTER TABLE ONLY, TYPE USING, FROM ONLY
ALTER TABLE ONLY products ADD COLUMN note text;
ALTER TABLE products ALTER COLUMN note TYPE varchar(10) USING note::varchar(10);
SELECT count(*) FROM ONLY products;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON products USING (true);
-- keys without hash support
CREATE TABLE arr (k int[] NOT NULL);
SELECT create_distributed_table('arr', 'k');
CREATE TABLE rng (k int4range NOT NULL);
SELECT create_distributed_table('rng', 'k');
-- where the old rows stay after distributing a filled table
CREATE TABLE filled (id bigint PRIMARY KEY);
INSERT INTO filled SELECT generate_series(1, 10);
SELECT create_distributed_table('filled', 'id', shard_count => 4);
SELECT count(*) FROM filled;
SELECT count(*) FROM ONLY filled;
-- ICU collation
CREATE COLLATION IF NOT EXISTS de (provider = icu, locale = 'de');
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

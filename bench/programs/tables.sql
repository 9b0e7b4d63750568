-- A whole program for bench/run.py: an in-memory database in the sqlite3 shell.
-- Invariant: same output on every allocator; no clock, no random().
CREATE TABLE item (id INTEGER PRIMARY KEY, owner INTEGER, name TEXT, price REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO item SELECT i, (i * 7919) % 5003,
  printf('item-%d-%s', i, substr('abcdefghijklmnopqrstuvwxyz', i % 20 + 1, i % 7 + 1)), (i * 31 % 1000) / 10.0 FROM n;
CREATE INDEX item_by_owner ON item (owner, name);
CREATE TABLE owner AS SELECT owner AS id, count(*) AS items, group_concat(name) AS names FROM item GROUP BY owner;
SELECT count(*), sum(items), sum(length(names)) FROM owner;
SELECT count(*) FROM item a JOIN owner o ON o.id = a.owner WHERE o.items > 30 AND a.price < 50;
UPDATE item SET name = name || '-' || owner WHERE id % 3 = 0;
DELETE FROM item WHERE owner % 5 = 0;
SELECT count(*), sum(length(name)), round(sum(price), 1) FROM item;
SELECT owner, group_concat(upper(name), '|') FROM (SELECT * FROM item ORDER BY name DESC)
  GROUP BY owner ORDER BY length(name) DESC, owner LIMIT 3;

#!/usr/bin/python3 -B
"""sqlite3: 150 000 rows, five indexes, aggregation, window functions, full-text and JSON, VACUUM, recovery by dump.

Oracle: output equal to the control's, the database file byte-identical, integrity_check ok. sqlite asks
malloc_usable_size about each block it has and counts by it, and its page cache is one block per page.
"""

import harness

kScript = r"""
.bail on
PRAGMA journal_mode=wal;
PRAGMA threads=2;
PRAGMA cache_size=-8000;
CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL, d BLOB, e INT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO t SELECT i, 'row ' || (i * 7919 % 100003), i / 7.0, zeroblob(i % 60), i % 1000 FROM n;
COMMIT;
CREATE INDEX t_b ON t(b);
CREATE INDEX t_c ON t(c);
CREATE INDEX t_e ON t(e, b);
CREATE INDEX t_expression ON t(length(d), substr(b, 1, 6));
CREATE UNIQUE INDEX t_partial ON t(a, e) WHERE e < 100;
SELECT e % 10, count(*), sum(a), round(avg(c), 3), min(b), max(length(d)) FROM t GROUP BY e % 10 ORDER BY 1;
SELECT substr(b, 1, 5) AS p, count(DISTINCT e), group_concat(DISTINCT e % 3) FROM t GROUP BY p ORDER BY 2 DESC, 1 LIMIT 20;
SELECT sum(r) FROM (SELECT row_number() OVER (PARTITION BY e ORDER BY c DESC) AS r FROM t);
SELECT count(*) FROM t x JOIN t y ON x.b = y.b AND x.a < y.a;
SELECT hex(b) FROM t WHERE b LIKE '%99999%' ORDER BY b COLLATE NOCASE LIMIT 5;
UPDATE t SET b = b || ' changed ' || printf('%08x', a), d = zeroblob(200) WHERE a % 11 = 0;
DELETE FROM t WHERE a % 13 = 0;
SAVEPOINT s; DELETE FROM t; SELECT count(*) FROM t; ROLLBACK TO s; SELECT count(*) FROM t; RELEASE s;
CREATE VIRTUAL TABLE f USING fts5(x, y);
INSERT INTO f SELECT b, printf('%s word%d', b, a % 500) FROM t WHERE a % 10 = 0;
SELECT count(*) FROM f WHERE f MATCH 'changed AND word250';
SELECT sum(json_extract(j, '$.list[2]')) FROM (SELECT json_object('a', a, 'list', json_array(b, c, e)) AS j FROM t LIMIT 20000);
WITH RECURSIVE fib(n, a, b) AS (VALUES(1, 0, 1) UNION ALL SELECT n + 1, b, a + b FROM fib WHERE n < 80) SELECT max(a) FROM fib;
ANALYZE;
PRAGMA wal_checkpoint(TRUNCATE);
VACUUM;
PRAGMA integrity_check;
PRAGMA journal_mode=delete;
.backup copy.db
.output dump.sql
.dump f
.output stdout
SELECT count(*), sum(length(b)), sum(e) FROM t;
ATTACH 'copy.db' AS other;
SELECT count(*) FROM t JOIN other.t AS o USING (a, b);
"""


def sqlite3(trial):
    program = trial.program("/usr/bin/sqlite3", "sqlite3")
    script = trial.write("script.sql", kScript)
    control, _ = trial.same([program, "base.db"], stdin=script, outputs=["base.db", "copy.db", "dump.sql"])
    if b"\nok\n" not in control.out:
        raise harness.Failure("integrity_check is not ok")
    trial.same([program, ":memory:"], stdin=trial.write("memory.sql", kScript.replace(".backup copy.db", "").replace(
        "ATTACH 'copy.db' AS other;", "ATTACH ':memory:' AS other; CREATE TABLE other.t AS SELECT * FROM main.t;").replace(
        "150000", "50000")))
    trial.same([program, ":memory:", "SELECT no such syntax"], code=1)


harness.main(sqlite3)

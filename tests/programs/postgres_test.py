#!/usr/bin/python3 -B
"""postgres: initdb, a server with a backend forked per connection, psql, pgbench, pg_dump, pg_amcheck, all preloaded.

Oracle: the output of a fixed SQL script equals the control's; pgbench ends without a failed transaction and its four
sums agree; pg_amcheck finds nothing; a dump restored gives the same dump; the log has no PANIC, FATAL or crashed
process. Run by root it runs as user postgres, as it insists on.
"""

import glob
import os
import re
import signal

import harness

kSql = r"""
\set ON_ERROR_STOP 1
\pset format unaligned
SET work_mem = '1MB'; SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET min_parallel_table_scan_size = 0;
CREATE TABLE t AS SELECT i AS a, 'row ' || (i * 7919 % 100003) AS b, i / 7.0 AS c, jsonb_build_object('k', i % 97, 'list',
  jsonb_build_array(i, 'x' || i % 13)) AS j, repeat('z', i % 300) AS z, array[i % 5, i % 7] AS r FROM generate_series(1, 40000) i;
CREATE INDEX ON t(b); CREATE INDEX ON t USING gin(j); CREATE INDEX ON t USING brin(a); CREATE INDEX ON t USING hash(c);
ANALYZE t;
SELECT a % 10, count(*), round(sum(c), 3), md5(string_agg(b, ',' ORDER BY a)), max(length(z)) FROM t GROUP BY 1 ORDER BY 1;
SELECT md5(string_agg(b || c::text, '' ORDER BY z, b DESC, a)) FROM t;
SELECT count(*), sum(x.a + y.a) FROM t x JOIN t y ON x.b = y.b AND x.a <> y.a;
SELECT j->>'k' AS k, count(DISTINCT r), sum((j->'list'->>0)::int) FROM t WHERE j @> '{"k": 11}' OR j @> '{"k": 60}' GROUP BY 1 ORDER BY 1;
SELECT md5(string_agg(w::text, ',')) FROM (SELECT row_number() OVER (PARTITION BY a % 31 ORDER BY c DESC) AS w FROM t ORDER BY a) s;
SELECT md5(string_agg(regexp_replace(b, '(\d)(\d)', '<\2\1>', 'g'), '' ORDER BY a)) FROM t WHERE b ~ '[13]{2,}';
WITH RECURSIVE f(n, x, y) AS (SELECT 1, 0::numeric, 1::numeric UNION ALL SELECT n + 1, y, x + y FROM f WHERE n < 900) SELECT max(x) FROM f;
SELECT sum(2::numeric ^ (a % 400))::text, to_char(sum(c), '999G999G999D99') FROM t WHERE a <= 3000;
SELECT to_tsvector('english', 'The quick brown foxes were jumping over lazy dogs') @@ to_tsquery('fox & jump');
CREATE FUNCTION work(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE acc text := ''; m jsonb := '{}'; i int;
BEGIN
  FOR i IN 1..n LOOP
    acc := acc || chr(97 + i % 26); m := m || jsonb_build_object('k' || i % 50, acc);
    BEGIN PERFORM 1 / (i % 10); EXCEPTION WHEN division_by_zero THEN acc := right(acc, 100); END;
  END LOOP;
  RETURN md5(m::text);
END $$;
SELECT work(1500);
UPDATE t SET b = b || ' changed', z = repeat(md5(a::text), 100) WHERE a % 17 = 0;
DELETE FROM t WHERE a % 13 = 0;
SELECT count(*), md5(string_agg(z, '' ORDER BY a)) FROM t;
VACUUM (FULL, ANALYZE) t; REINDEX TABLE t;
SELECT xmlelement(name a, xmlattributes(1 AS b), string_agg(b, '' ORDER BY a)) FROM t WHERE a < 20;
DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE part%s (a int PRIMARY KEY, b text)', i); END LOOP; END $$;
SELECT count(*) FROM pg_class WHERE relname LIKE 'part%';
"""


class Cluster:
    """A data directory and its server, in run/ of the trial; talks by a Unix socket, so no port is needed."""

    def __init__(self, trial, preloaded):
        installed = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: float(path.split("/")[4]))
        trial.program(installed[-1] if installed else "/usr/lib/postgresql/15/bin/postgres", "postgresql")
        self.bin = os.path.dirname(installed[-1])
        self.user = "postgres" if os.geteuid() == 0 else None
        self.trial, self.preloaded = trial, preloaded
        trial.fresh_run(self.user)
        self.environment = {"PGHOST": trial.cwd, "PGDATABASE": "postgres", "PGUSER": "tester", "PGPORT": "5432",
                            "PGOPTIONS": "-c client_min_messages=warning", "PGTZ": "UTC"}
        self.run("initdb", "-D", "data", "-U", "tester", "--no-sync", "--locale=C.UTF-8", "--auth=trust")
        options = {"listen_addresses": "", "unix_socket_directories": trial.cwd, "fsync": "off", "shared_buffers": "32MB",
                   "max_connections": "30", "log_min_messages": "log", "autovacuum_naptime": "1s", "max_wal_size": "128MB"}
        self.server = trial.start([f"{self.bin}/postgres", "-D", "data", *(f"--{key}={value}" for key, value in options.items())],
                                  preloaded, env=self.environment, user=self.user, name="server")
        trial.wait_until(lambda: self.run("pg_isready", "-q", code=None).code == 0, "postgres is ready", self.server)
        if preloaded:
            trial.check_mapped(self.server.pid)

    def run(self, program, *arguments, code=0, **options):
        argv = [f"{self.bin}/{program}", *arguments]
        if code is None:
            return self.trial.finish(self.trial.start(argv, self.preloaded, env=self.environment, user=self.user, name="client"))
        return self.trial.run(argv, self.preloaded, env=self.environment, user=self.user, name="client", code=code, **options)

    def query(self, text):
        return self.run("psql", "-XAtqc", text).out.decode().strip()

    def stop(self):
        self.trial.stop(self.server, signal.SIGINT)  # fast shutdown
        log = self.trial.output(self.server, "err").decode(errors="replace")
        bad = [line for line in log.splitlines() if re.search(r"PANIC|FATAL|was terminated by signal|crash of another", line)
               and "due to administrator command" not in line and "starting up" not in line]
        if bad or "database system is shut down" not in log:
            raise harness.Failure("postgres log:\n" + "\n".join(bad or [harness.tail(log.encode())]))


def postgres(trial):
    script = trial.write("script.sql", kSql)
    outputs = []
    for preloaded in False, True:
        cluster = Cluster(trial, preloaded)
        result = cluster.run("psql", "-X", "-q", "-f", script)
        outputs.append(result.out + result.err)
        if preloaded:
            if outputs[0] != outputs[1]:
                raise harness.Failure(harness.first_difference("psql's output", *outputs))
            bench_and_check(trial, cluster)
            trial.check_witnesses(trial.witnesses(), f"{cluster.bin}/postgres", at_least=10)
        cluster.stop()
    print(f"ok: {len(outputs[1])} bytes of SQL output, {len(trial.witnesses())} programs executed")


def bench_and_check(trial, cluster):
    cluster.run("createdb", "bench")
    cluster.environment["PGDATABASE"] = "bench"
    cluster.run("pgbench", "-i", "-q", "-s", "2")
    for mode, options in {"prepared": ["-c", "8"], "simple": ["-c", "4", "-C"], "extended": ["-c", "2", "-b", "select-only"]}.items():
        output = cluster.run("pgbench", "-n", "-M", mode, "-j", "2", "-t", str(100 * harness.kRounds), "--random-seed=7", *options)
        text = output.out.decode()
        if "number of failed transactions: 0 " not in text or re.search("error|abort", output.err.decode()):
            raise harness.Failure(f"pgbench: {text}{output.err.decode()}")
        print("ok: pgbench " + mode + ": " + re.search("number of transactions actually processed.*", text)[0], flush=True)
    sums = cluster.query("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), "
                         "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)").split("|")
    if len(set(sums)) != 1:
        raise harness.Failure(f"pgbench's balances differ: {sums}")
    dumps = [cluster.run("pg_dump", "--no-owner").out]
    cluster.run("createdb", "again")
    cluster.environment["PGDATABASE"] = "again"
    cluster.run("psql", "-X", "-q", "-1", "-f", trial.write("dump.sql", dumps[0]))
    dumps.append(cluster.run("pg_dump", "--no-owner").out)
    if re.sub(rb"\\(un)?restrict .*", b"", dumps[0]) != re.sub(rb"\\(un)?restrict .*", b"", dumps[1]):
        raise harness.Failure(harness.first_difference("dump after restore", *dumps))
    checked = cluster.run("pg_amcheck", "-a", "-j", "2", "--install-missing", "--heapallindexed")
    if checked.out or checked.err:
        raise harness.Failure(f"pg_amcheck: {harness.tail(checked.out + checked.err)}")


harness.main(postgres)

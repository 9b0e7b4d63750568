#!/usr/bin/python3 -B
"""redis and postgres with their heap profiled at the default rate, beside the same servers without: what does it change?

The same commands, made from a seed, go to both servers of a kind, one step after the other. redis writes a profile from time to time
besides; postgres forks a backend for each connection, and each of them writes one when it ends.
Oracle: all replies are equal, and the digests at the end; what the profiled server keeps in memory stays within kBound (the number in
README.md) of the other's, in the middle and at its peak; the last profiles can be read and say what redis counts itself.

  WARREN_SEED     repeats a run
  WARREN_SOAK     1: for an hour, at about a third of a 2-core machine, instead of for some seconds
"""

import glob
import math
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

import harness

sys.path.insert(0, os.path.join(harness.kHere, "..", "inspect"))
from pprof_file import Profile  # noqa: E402  (the reader that the profile's own test has)

kMiB = 1 << 20
kRate = 512 << 10
# What profiling may add to a process: 2 MiB and a hundredth of its memory; a moment of writing a file, its symbol tables besides.
kBound = lambda plain: 2 * kMiB + plain // 100
kWriting = 4 * kMiB
# What two servers without any profile differ by: which pages are returned when. Smaller in the middle of many looks than in one.
kNoise = lambda plain: plain // 20

kSeconds = 3600 if harness.kSoak else 0
kRest = 2 if harness.kSoak else 0  # pauses, in proportion to the work before them
kShortSteps = 10


def memory(pid):
    """Bytes of a process's own memory now, and its peak (with what it shares)."""
    found = dict(re.findall(r"^(RssAnon|VmHWM):\s+(\d+) kB$", harness.read(f"/proc/{pid}/status").decode(), re.M))
    return int(found["RssAnon"]) << 10, int(found["VmHWM"]) << 10


class Pair:
    """Two servers of a kind, `plain` and `profiled`; each has `pids`, whose memory is looked at, by name."""

    def __init__(self, plain, profiled):
        self.servers = plain, profiled
        self.looks = {name: ([], []) for name in plain.pids}

    def same(self, what, ask):
        plain, profiled = (ask(server) for server in self.servers)
        if plain != profiled:
            raise harness.Failure(harness.first_difference(what, plain, profiled))
        return plain

    def look(self):
        for name, sides in self.looks.items():
            for server, side in zip(self.servers, sides):
                side.append(memory(server.pids[name])[0])

    def check_memory(self):
        """After the last step, while both run. The first half is their growing up."""
        for name, sides in self.looks.items():
            steady = [int(statistics.median(side[len(side) // 2:])) for side in sides]
            peaks = [memory(server.pids[name])[1] for server in self.servers]
            for what, (plain, profiled), more in ("in the middle", steady, 0), ("at the peak", peaks, kWriting):
                print(f"ok: {name} {what}: {plain >> 10} KiB plain, {profiled >> 10} KiB profiled, "
                      f"{(profiled - plain) / 1024:+.0f} KiB", flush=True)
                if profiled > plain + kBound(plain) + kNoise(plain) + more:
                    raise harness.Failure(f"{name} {what}: {profiled} bytes with a profile, {plain} without")


def configuration(path, more=""):
    before = os.environ.get("WARREN_CONF", "")
    return {"WARREN_CONF": ",".join(filter(None, [before, f"prof={path}{more}"]))}


class Redis:
    def __init__(self, trial, name, profile):
        self.folder = os.path.join(trial.cwd, name)
        os.mkdir(self.folder)
        self.profile = os.path.join(self.folder, "heap") if profile else None
        settings = ["--port", "0", "--unixsocket", f"{self.folder}/socket", "--save", "", "--enable-debug-command", "local",
                    "--hash-max-listpack-entries", "32", "--dir", self.folder]
        interval = 60000 if harness.kSoak else 1000
        self.server = trial.start([trial.program("/usr/bin/redis-server", "redis-server"), *settings], True, name=name,
                                  env=configuration(self.profile, f",prof_interval={interval}") if profile else None)
        self.pids = {"redis": self.server.pid}
        self.socket = socket.socket(socket.AF_UNIX)
        trial.wait_until(lambda: self.socket.connect_ex(f"{self.folder}/socket") == 0, "redis answers", self.server)
        trial.check_mapped(self.server.pid)

    def send(self, commands):
        parts = []
        for words in commands:
            words = [str(word).encode() for word in words]
            parts.append(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        self.socket.sendall(b"".join(parts))

    def replies(self, last):
        """Everything up to the reply to ECHO `last`."""
        end, text = b"$%d\r\n%s\r\n" % (len(last), last.encode()), b""
        while not text.endswith(end):
            more = self.socket.recv(1 << 20)
            if not more:
                raise harness.Failure(f"redis closed the connection after {text[-300:]}")
            text += more
        return text

    def ask(self, *words):
        self.send([words, ("ECHO", "that's all")])
        return self.replies("that's all")

    def info(self, key):
        return int(re.search(rb"%s:(\d+)\r" % key.encode(), self.ask("INFO"))[1])


def redis_commands(rng, step):
    """A step's: values of all types that come, grow, shrink and go; some 40 MB of them after a while."""
    text = lambda most: f"{rng.getrandbits(64):x}" * max(1, int(most ** rng.random()) // 16)
    for i in range(1500):
        key = rng.randrange(30000)
        yield from rng.choice([
            lambda: [("SET", f"s{key}", text(20000))],
            lambda: [("APPEND", f"s{key}", text(500)), ("STRLEN", f"s{key}")],
            lambda: [("GET", f"s{key}"), ("DEL", f"s{(key + 7) % 30000}")],
            lambda: [("HSET", f"h{key % 300}", f"f{key % 211}", text(300)), ("HMGET", f"h{key % 300}", f"f{key % 211}", "f1")],
            lambda: [("HDEL", f"h{key % 300}", f"f{key % 97}"), ("HLEN", f"h{key % 300}")],
            lambda: [("ZADD", f"z{key % 30}", key, f"m{key % 1200}"), ("ZRANGE", f"z{key % 30}", 3, 9, "WITHSCORES")],
            lambda: [("SADD", f"t{key % 40}", key, text(90)), ("SREM", f"t{key % 40}", key - 40), ("SCARD", f"t{key % 40}")],
            lambda: [("RPUSH", f"l{key % 50}", text(900), text(90)), ("LTRIM", f"l{key % 50}", -200, -1), ("LINDEX", f"l{key % 50}", 7)],
            lambda: [("XADD", f"x{key % 6}", "MAXLEN", 300, f"{step + 1}-{i}", "v", text(400))],
            lambda: [("SETRANGE", f"r{key % 20}", key % 9000, "patch"), ("PFADD", f"p{key % 9}", key), ("PFCOUNT", f"p{key % 9}")],
        ])()
    yield ("EVAL", "for i = 1, 800 do redis.call('SET', 'lua' .. i, string.rep(ARGV[1], i % 50)) end return #KEYS", 0, text(300))
    yield ("SORT", "t1", "ALPHA", "LIMIT", 0, 50)
    if step % 10 == 7:
        yield ("BGSAVE",)  # a child that is sampled too
    if step % 40 == 39:
        yield ("FLUSHALL",)


def redis_step(pair, rng, step):
    commands = [*redis_commands(rng, step), ("ECHO", f"end of step {step}")]
    for server in pair.servers:
        server.send(commands)
    pair.same(f"redis's replies in step {step}", lambda server: server.replies(f"end of step {step}"))


def in_use(profile):
    return profile.total()[profile.types.index("inuse_space")]


def finish_redis(trial, pair):
    print("ok: redis: digest", pair.same("DEBUG DIGEST", lambda server: server.ask("DEBUG", "DIGEST"))[:41].decode(),
          pair.same("DBSIZE", lambda server: server.ask("DBSIZE")).split()[0].decode(), "keys")
    profiled = pair.servers[1]
    used = profiled.info("used_memory")
    for server in pair.servers:
        trial.wait_until(lambda: server.info("rdb_bgsave_in_progress") == 0, "bgsave ends", server.server)
        server.send([("SHUTDOWN", "NOSAVE")])
        trial.stop(server.server, signal.SIGCONT)  # waits; a server on its way out takes no notice
    if harness.kControl:
        return
    numbered = newest(profiled.profile + ".[0-9]*", keep=1)
    if not numbered:
        raise harness.Failure("redis has written no profile while it ran")
    for path in numbered[0], profiled.profile:
        profile = Profile(path)
        if profile.period != kRate or not any("redis" in name for name in profile.strings):
            raise harness.Failure(f"{path}: rate {profile.period}, strings {profile.strings[:50]}")
    # At the end. A sample stands for so many bytes as a draw of its chance says: five standard deviations, and redis counts
    # whole blocks where the profile counts what was asked for.
    found, most = in_use(Profile(profiled.profile)), 5 * math.sqrt(used * kRate) + used * 0.15
    print(f"ok: redis counts {used >> 10} KiB, its profile {found >> 10} KiB")
    if abs(found - used) > most:
        raise harness.Failure(f"redis uses {used} bytes, its profile says {found}; at most {most:.0f} apart")


def newest(pattern, keep):
    """The newest so many files; the others are removed."""
    paths = sorted((path for path in glob.glob(pattern) if ".writing." not in path), key=lambda path: os.stat(path).st_mtime_ns)
    for path in paths[:-keep]:
        os.remove(path)
    return paths[-keep:]


kSetUp = r"""
SET client_min_messages = warning;
CREATE TABLE t (a int PRIMARY KEY, b text, c numeric, j jsonb);
CREATE INDEX ON t(b); CREATE INDEX ON t USING gin(j);
INSERT INTO t SELECT i, 'row ' || i * 7919 % 100003, i / 7.0, jsonb_build_object('k', i % 97, 'l', i) FROM generate_series(1, 5000) i;
CREATE FUNCTION work(n int, seed int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE acc text := ''; m jsonb := '{}'; i int;
BEGIN
  FOR i IN 1..n LOOP
    acc := acc || chr(97 + (i * seed) % 26); m := m || jsonb_build_object('k' || i % 50, acc);
    BEGIN PERFORM 1 / (i % 10); EXCEPTION WHEN division_by_zero THEN acc := right(acc, 100); END;
  END LOOP;
  RETURN md5(m::text);
END $$;
"""
kStep = r"""
INSERT INTO t SELECT 5000 + i, 'new ' || i * {n}, i / 3.0, jsonb_build_object('k', i % {n}) FROM generate_series(1, 300) i;
UPDATE t SET b = b || '{n}', c = c + {n} WHERE a % 37 = {n} % 37;
SELECT a % 10, count(*), round(sum(c), 3), md5(string_agg(b, ',' ORDER BY a)) FROM t GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(x.a + y.a) FROM t x JOIN t y ON x.b = y.b AND x.a <> y.a;
SELECT j->>'k', sum((j->'l')::int) FROM t WHERE j @> '{{"k": 11}}' OR (j->>'k')::int < {n} % 20 GROUP BY 1 ORDER BY 1;
SELECT md5(string_agg(w::text, ',')) FROM (SELECT row_number() OVER (PARTITION BY a % {n} ORDER BY c DESC, a) AS w FROM t ORDER BY a) s;
SELECT work(300, {n}), sum(2::numeric ^ (a % 400))::text FROM t WHERE a <= 500;
BEGIN; CREATE TEMP TABLE u ON COMMIT DROP AS SELECT * FROM t WHERE a % 3 = 0; SELECT count(*), sum(length(b)) FROM u; COMMIT;
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(length(regexp_replace(b, '(\d)(\d)', '<\2\1>', 'g'))) FROM t;
RESET ALL;
UPDATE t SET b = left(b, 30) WHERE length(b) > 60; DELETE FROM t WHERE a > 5000;
"""


class Postgres:
    def __init__(self, trial, name, profile):
        installed = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: float(path.split("/")[4]))
        trial.program(installed[-1] if installed else "/usr/lib/postgresql/15/bin/postgres", "postgresql")
        self.trial, self.name, self.bin = trial, name, os.path.dirname(installed[-1])
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder = os.path.join(trial.cwd, name)
        os.mkdir(self.folder)
        if self.user:
            harness.shutil.chown(self.folder, self.user)
        self.profile = os.path.join(self.folder, "heap") if profile else None
        self.environment = {"PGHOST": self.folder, "PGDATABASE": "postgres", "PGUSER": "tester", "PGPORT": "5432", "PGTZ": "UTC"}
        self.run("initdb", "-D", f"{self.folder}/data", "-U", "tester", "--no-sync", "--locale=C.UTF-8", "--auth=trust")
        options = {"listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "off", "shared_buffers": "16MB",
                   "max_wal_size": "64MB"}
        environment = self.environment | (configuration(self.profile) if profile else {})
        self.server = trial.start([f"{self.bin}/postgres", "-D", f"{self.folder}/data", *(f"--{key}={value}" for key, value in options.items())],
                                  True, env=environment, user=self.user, name=name)
        trial.wait_until(lambda: self.run("pg_isready", "-q", code=None).code == 0, "postgres is ready", self.server)
        trial.check_mapped(self.server.pid)
        # A backend that lives as long as the server.
        self.session = subprocess.Popen([f"{self.bin}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env=trial.environment(False, self.environment))
        self.send(kSetUp + "SELECT pg_backend_pid();")
        self.pids = {"postmaster": self.server.pid, "backend": int(self.answer().split()[0])}
        self.run("pgbench", "-i", "-q", "-s", "1")

    def start(self, program, *arguments):
        return self.trial.start([f"{self.bin}/{program}", *arguments], False, env=self.environment, user=self.user, name=self.name + "-client")

    def run(self, program, *arguments, code=0):
        return self.finish(self.start(program, *arguments), code)

    def finish(self, child, code=0):
        result = self.trial.finish(child)
        if code is not None and result.code != code:
            raise harness.Failure(f"{child.args}: exit code {result.code}\n{harness.tail(result.out + result.err)}")
        return result

    def send(self, text):
        self.session.stdin.write(text.encode() + b"\nSELECT 'no more';\n")  # (psql does not flush what \\echo writes)
        self.session.stdin.flush()

    def answer(self):
        lines = []
        while not lines or lines[-1] != b"no more\n":
            lines.append(self.session.stdout.readline())
            if not lines[-1]:
                raise harness.Failure(f"psql ended:\n{harness.tail(b''.join(lines))}")
        return b"".join(lines)


def postgres_step(pair, rng, step):
    number = rng.randrange(3, 1000)
    for server in pair.servers:
        server.send(kStep.format(n=number))
    pair.same(f"psql's output in step {step}", lambda server: server.answer())
    # Connections of their own. One client: more would depend on who comes first.
    arguments = ("pgbench", "-n", "-c", "1", "-t", "10", "-M", rng.choice(["simple", "prepared"]), "-C", f"--random-seed={number}")
    for server, child in [(server, server.start(*arguments)) for server in pair.servers]:
        if b"number of failed transactions: 0 " not in (result := server.finish(child)).out:
            raise harness.Failure(f"pgbench: {result.out.decode()}{result.err.decode()}")
    if (profiled := pair.servers[1]).profile is not None:
        newest(profiled.profile + ".*", keep=20)


def finish_postgres(trial, pair):
    sums = "SELECT (SELECT sum(abalance::bigint * aid) FROM pgbench_accounts), (SELECT sum(tbalance * tid) FROM pgbench_tellers), " \
           "(SELECT sum(delta) FROM pgbench_history), (SELECT md5(string_agg(t::text, '' ORDER BY a)) FROM t);"
    for server in pair.servers:
        server.send(sums)
    print("ok: postgres:", pair.same("the sums at the end", lambda server: server.answer()).split(b"\n")[0].decode())
    for server in pair.servers:
        server.session.stdin.close()
        server.session.wait()
        trial.stop(server.server, signal.SIGINT)  # fast shutdown
        log = trial.output(server.server, "err").decode(errors="replace")
        bad = [line for line in log.splitlines() if re.search(r"PANIC|was terminated by signal|crash of another", line)]
        if bad or "database system is shut down" not in log:
            raise harness.Failure("postgres log:\n" + "\n".join(bad or [harness.tail(log.encode())]))
    if harness.kControl:
        return
    profiled = pair.servers[1]
    backend = f"{profiled.profile}.{profiled.pids['backend']}"
    for path in profiled.profile, backend, *newest(profiled.profile + ".*", keep=10):
        profile = Profile(path)
        if profile.period != kRate or not any("postgres" in name for name in profile.strings):
            raise harness.Failure(f"{path}: rate {profile.period}, strings {profile.strings[:50]}")
    print(f"ok: the backend has allocated {Profile(backend).total()[1] >> 20} MiB in {len(Profile(backend).samples)} stacks")


def profiled_servers(trial):
    seed = int(os.environ.get("WARREN_SEED") or random.SystemRandom().getrandbits(32))
    print(f"WARREN_SEED={seed}", flush=True)
    trial.fresh_run("postgres" if os.geteuid() == 0 else None)
    redis = Pair(*(Redis(trial, name, name == "redis-profiled") for name in ("redis-plain", "redis-profiled")))
    postgres = Pair(*(Postgres(trial, name, name == "postgres-profiled") for name in ("postgres-plain", "postgres-profiled")))
    if harness.kControl:
        for pair in redis, postgres:
            pair.servers[1].profile = None
    rng, step, began = random.Random(seed), 0, time.monotonic()
    while step < kShortSteps or time.monotonic() - began < kSeconds:
        before = time.monotonic()
        trial.doing = f"step {step}"
        redis_step(redis, rng, step)
        postgres_step(postgres, rng, step)
        for pair in redis, postgres:
            pair.look()
        time.sleep(kRest * (time.monotonic() - before))
        step += 1
        if step % 100 == 0:
            print(f"    {step} steps, {time.monotonic() - began:.0f} s", flush=True)
            newest(os.path.join(redis.servers[1].folder, "heap.*"), keep=10)
    print(f"ok: {step} steps in {time.monotonic() - began:.0f} s")
    for pair in redis, postgres:
        pair.check_memory()
    finish_redis(trial, redis)
    finish_postgres(trial, postgres)


harness.main(profiled_servers, watchdog=harness.kWatchdogSeconds + kSeconds)

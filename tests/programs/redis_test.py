#!/usr/bin/python3 -B
"""redis-server under redis-benchmark, with background saves (a fork of a full heap) and reloads of the data set.

Oracle: the digest of a fixed data set equals the control's; DEBUG DIGEST is the same before and after each reload;
every save ends with rdb_last_bgsave_status ok and a file that redis-check-rdb accepts; redis-benchmark reports no
error. Debian's redis links libjemalloc.so.2: the preload goes before it.
"""

import re
import signal

import harness

kSettings = ["--port", "0", "--unixsocket", "socket", "--save", "", "--enable-debug-command", "local", "--io-threads", "2",
             "--io-threads-do-reads", "yes", "--hash-max-listpack-entries", "32", "--appendfsync", "no",
             "--lazyfree-lazy-user-del", "yes", "--lazyfree-lazy-user-flush", "yes", "--databases", "4", "--dir", ".",
             "--auto-aof-rewrite-percentage", "0"]


def protocol(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def data_set():
    """Some ten thousand commands that make, grow, shrink and delete values of every type."""
    commands = []
    for i in range(6000):
        commands.append(("SET", f"string{i % 2500}", "v" * (i * 37 % 700)))
        commands.append(("APPEND", f"string{i % 1700}", f"tail{i}"))
        commands.append(("RPUSH", f"list{i % 50}", *[f"item{i}-{k}" for k in range(i % 8 + 1)]))
        commands.append(("HSET", f"hash{i % 90}", f"field{i % 211}", "h" * (i % 90)))
        commands.append(("ZADD", f"sorted{i % 30}", i * 7919 % 10007, f"member{i % 1200}"))
        commands.append(("SADD", f"set{i % 40}", i * 31 % 5003, f"text{i % 700}"))
        if i % 5 == 0:
            commands += [("DEL", f"string{i % 900}"), ("LTRIM", f"list{i % 50}", 5, 400), ("SPOP", "none"),
                         ("XADD", f"stream{i % 6}", f"{i + 1}-1", "field", "x" * (i % 300)), ("PFADD", f"count{i % 3}", i),
                         ("SETRANGE", f"range{i % 20}", i * 13 % 9000, "patch"), ("GEOADD", "places", i % 180, i % 80, f"p{i % 300}")]
    commands.append(("EVAL", "for i = 1, 3000 do redis.call('SET', 'lua' .. i, string.rep('l', i % 500)) end return 'done'", 0))
    commands.append(("SORT", "set1", "ALPHA", "STORE", "stored"))
    return b"".join(protocol(*command) for command in commands)


class Redis:
    """A running server, and redis-cli to talk to it."""

    def __init__(self, trial, preloaded):
        self.trial, self.preloaded = trial, preloaded
        self.cli = trial.program("/usr/bin/redis-cli", "redis-tools")
        trial.fresh_run()
        self.server = trial.start([trial.program("/usr/bin/redis-server", "redis-server"), *kSettings], preloaded, name="server")
        trial.wait_until(lambda: self.call("PING", check=False) == "PONG", "redis answers", self.server)
        if preloaded:
            trial.check_mapped(self.server.pid)

    def call(self, *words, stdin=None, check=True):
        result = self.trial.finish(self.trial.start([self.cli, "-s", "socket", *words], False, name="cli", stdin=stdin))
        if check and (result.code != 0 or result.out.startswith(b"ERR")):
            raise harness.Failure(f"redis-cli {' '.join(words)}: {result.out + result.err}")
        return result.out.decode(errors="replace").strip()

    def digest(self):
        return self.call("DEBUG", "DIGEST")

    def info(self, key):
        return re.search(rf"^{key}:(\S*)", self.call("INFO"), re.M)[1]

    def save_in_background(self, during=()):
        """BGSAVE, with benchmark runs meanwhile."""
        before = int(self.info("rdb_saves"))
        self.call("BGSAVE")
        for arguments in during:
            self.benchmark(*arguments)
        self.trial.wait_until(lambda: self.info("rdb_bgsave_in_progress") == "0", "bgsave ends", self.server)
        if self.info("rdb_last_bgsave_status") != "ok" or int(self.info("rdb_saves")) != before + 1:
            raise harness.Failure(f"bgsave failed:\n{harness.tail(self.trial.output(self.server, 'out'))}")

    def reload(self):
        before = self.digest()
        self.call("DEBUG", "RELOAD")
        if (after := self.digest()) != before:
            raise harness.Failure(f"digest changed by DEBUG RELOAD: {before} to {after}")

    def benchmark(self, tests, requests, *options):
        argv = [self.trial.program("/usr/bin/redis-benchmark", "redis-tools"), "-s", "socket", "-n", str(requests), "-c", "30",
                "-P", "16", "-r", "100000", "--threads", "2", "-q", "-t", tests, *options]
        result = self.trial.run(argv, self.preloaded, name="benchmark")
        text = (result.out + result.err).decode(errors="replace")
        if "error" in text.lower() or text.count("requests per second") < tests.count(",") + 1:
            raise harness.Failure(f"redis-benchmark {tests}: {text[-500:]}")

    def stop(self):
        self.trial.doing = "shutdown"
        self.call("SHUTDOWN", "NOSAVE", check=False)
        self.trial.stop(self.server, signal.SIGCONT)  # waits; a server on its way out takes no notice
        log = self.trial.output(self.server, "out").decode(errors="replace")
        for word in "REDIS BUG REPORT", "crashed", "terminated by signal", "can't be loaded":
            if word in log:
                raise harness.Failure(f"redis log: {word}\n{log[-2000:]}")


def redis(trial):
    data = trial.write("data", data_set())
    digests = []
    for preloaded in False, True:
        redis = Redis(trial, preloaded)
        answer = redis.call("--pipe", stdin=data)
        if "errors: 0" not in answer:
            raise harness.Failure(f"loading: {answer}")
        digests.append((redis.digest(), redis.call("DBSIZE"), redis.call("OBJECT", "ENCODING", "hash1")))
        if preloaded:
            trial.check_witnesses(trial.witnesses(), "/usr/bin/redis-server")
            for _ in range(harness.kRounds):
                load_and_reload(trial, redis)
        redis.stop()
    if digests[0] != digests[1]:
        raise harness.Failure(f"the fixed data set differs:\n  control: {digests[0]}\n  warren:  {digests[1]}")
    print(f"ok: digest {digests[1]}")


def load_and_reload(trial, redis):
    redis.benchmark("set,get,incr,lpush,rpop,sadd,hset,zadd,mset", 20000, "-d", "200")
    redis.save_in_background(during=[("set,hset", 40000, "-d", "900")])
    redis.reload()
    redis.call("CONFIG", "SET", "appendonly", "yes")
    redis.benchmark("set,lpush", 10000, "-d", "3000")
    trial.wait_until(lambda: redis.info("aof_rewrite_in_progress") == "0", "the append-only file is rewritten", redis.server)
    redis.call("DEBUG", "LOADAOF")
    redis.call("CONFIG", "SET", "appendonly", "no")
    redis.call("FLUSHALL", "ASYNC")
    redis.benchmark("set,lrange_100", 10000, "-d", "40")
    redis.save_in_background()
    redis.reload()
    checked = trial.run([trial.program("/usr/bin/redis-check-rdb", "redis-tools"), "dump.rdb"], True, name="check")
    if b"RDB looks OK" not in checked.out:
        raise harness.Failure(f"redis-check-rdb: {checked.out[-500:]}")
    print(f"ok: load, saves and reloads; peak {redis.info('used_memory_peak_human')} by redis's count, "
          f"{redis.info('used_memory_rss_human')} resident", flush=True)


harness.main(redis)

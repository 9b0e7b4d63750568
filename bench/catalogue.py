"""What is measured: the workloads of bench/workloads, the classics, everyday programs, whole programs, and how the former are compiled.

Used by run.py. Invariant: everything here is a fixed piece of work; its size is set in its own file, so that it does
not depend on the machine or the allocator.
"""

import concurrent.futures
import os
import pathlib
import subprocess

import redis_load

BENCH = pathlib.Path(__file__).resolve().parent
# Without these the compiler drops pairs of malloc and free whose block does not escape.
FLAGS = ["-std=c++20", "-O2", "-g1", "-pthread", "-fno-allocation-dce"] + [
    f"-fno-builtin-{name}" for name in ("malloc", "free", "calloc", "realloc", "aligned_alloc")]
# Compiled apart from the workloads, and run in a way of their own (measure.py).
IDLE = BENCH / "idle" / "free_everything.cc"
LATENCY = BENCH / "latency" / "single_calls.cc"


class Workload:
    """One command to measure. `client` drives it from outside; a `watched` one has its memory plotted over time."""

    def __init__(self, kind, name, claim, argv, stdin=None, env=None, client=None, watched=False):
        self.kind, self.name, self.claim, self.argv, self.stdin, self.env = kind, name, claim, argv, stdin, env or {}
        self.client, self.watched = client, watched


def programs():
    """Whole programs, each a fixed piece of work; one that is not installed is left out."""
    here = BENCH / "programs"
    found = [
        Workload("program", "python",
                 "Claim: an interpreter that allocates every object (CPython, PYTHONMALLOC=malloc).",
                 ["/usr/bin/python3", "-S", str(here / "objects.py")],
                 env={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1", "PYTHONDONTWRITEBYTECODE": "1"}),
        Workload("program", "sqlite", "Claim: a database in memory: inserts, an index, joins (sqlite3).",
                 ["/usr/bin/sqlite3", "-batch", ":memory:"], stdin=here / "tables.sql"),
        Workload("program", "compile", "Claim: a compiler on a template-heavy file (g++ -c).",
                 ["/usr/bin/g++", "-std=c++20", "-O1", "-c", str(here / "templates.cc"), "-o", "/dev/null"]),
        Workload("program", "perl", "Claim: an interpreter of strings and hashes (perl).",
                 ["/usr/bin/perl", str(here / "words.pl")], env={"PERL_HASH_SEED": "1"}),
        Workload("program", "lua", "Claim: an interpreter whose collector frees in sweeps (lua5.4).",
                 ["/usr/bin/lua5.4", str(here / "closures.lua")]),
        Workload("program", "redis", redis_load.CLAIM, redis_load.SERVER, client=redis_load.drive, watched=True),
    ]
    return [workload for workload in found if pathlib.Path(workload.argv[0]).exists()]


# Name -> (file in bench/classics, its arguments).
CLASSICS = {
    "alloc_test": ("alloc_test", "1"),
    "alloc_test_2": ("alloc_test", "2"),
    "barnes": ("barnes",),
    "cache_scratch": ("cache_scratch", "1", "1"),
    "cache_scratch_2": ("cache_scratch", "2", "1"),
    "cache_thrash": ("cache_scratch", "1", "0"),
    "cache_thrash_2": ("cache_scratch", "2", "0"),
    "cfrac": ("cfrac",),
    "espresso": ("espresso",),
    "glibc_simple": ("glibc_simple",),
    "glibc_thread": ("glibc_thread",),
    "larson": ("larson", "0"),
    "larson_sized": ("larson", "1"),
    "malloc_large": ("malloc_large", "1"),
    "malloc_large_mixed": ("malloc_large", "0"),
    "mleak": ("mleak",),
    "mstress": ("mstress", "2"),
    "mstress_4": ("mstress", "4"),
    "rbstress": ("rbstress", "1"),
    "rbstress_2": ("rbstress", "2"),
    "rptest": ("rptest", "16000"),
    "rptest_128k": ("rptest", "128000"),
    "sh6": ("sh6",),
    "sh8": ("sh8",),
    "xmalloc": ("xmalloc", "64"),
    "xmalloc_mixed": ("xmalloc", "0"),
}


def head_comment(source):
    lines = []
    for line in source.read_text().splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return " ".join(lines)


def one_each(kind, directory, build_dir, watched=()):
    """A file, a program, and a row."""
    return [Workload(kind, source.stem, head_comment(source), [str(build_dir / source.stem)], watched=source.stem in watched)
            for source in sorted((BENCH / directory).glob("*.cc"))]


def workloads(build_dir):
    return one_each("workload", "workloads", build_dir, watched={"fragmentation"})


def everyday(build_dir):
    return one_each("everyday", "everyday", build_dir)


def classics(build_dir):
    return [Workload("classic", name, head_comment(BENCH / "classics" / f"{source}.cc"), [str(build_dir / source), *arguments])
            for name, (source, *arguments) in CLASSICS.items()]


def compile_all(build_dir):
    """Compiles what is older than its source: what lies in our own directories, the idle and latency programs, the launcher."""
    build_dir.mkdir(parents=True, exist_ok=True)
    sources = [source for directory in ("workloads", "classics", "everyday") for source in sorted((BENCH / directory).glob("*.cc"))]
    sources += [IDLE, LATENCY]
    shared = [BENCH / "workloads" / "workload.h", BENCH / "classics" / "threads.h", pathlib.Path(__file__)]
    jobs = [(source, [*FLAGS, f"-I{BENCH / 'workloads'}"]) for source in sources]
    jobs.append((BENCH / "launch.cc", ["-std=c++20", "-O2", "-static"]))

    def compile_one(job):
        source, flags = job
        binary = build_dir / source.stem
        newest = max(path.stat().st_mtime for path in [source, *shared])
        if not binary.exists() or binary.stat().st_mtime < newest:
            part = binary.with_suffix(f".{os.getpid()}")  # renamed when whole: two runners may share the directory
            subprocess.run(["g++", *flags, str(source), "-o", str(part)], check=True)
            part.rename(binary)

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(compile_one, jobs))

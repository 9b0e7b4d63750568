#!/usr/bin/env python3
"""Runs the workloads of bench/workloads and some whole programs on warren's malloc and on its peers, side by side.

Run by `./warren bench malloc`, or by hand; bench/README.md says what is measured and how.
Invariants: every allocator does the same work in the same round (the outputs are compared), and is proved to be mapped
into the programs it is said to serve before anything is measured.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys

import table

BENCH = pathlib.Path(__file__).resolve().parent
LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
PEERS = {  # name -> file names, the first that exists is taken
    "jemalloc": ["libjemalloc.so.2"],
    "mimalloc": ["libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"],
    "tcmalloc": ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"],
}
REFERENCE = "jemalloc"
UNDER_TEST = "warren"
# Without these the compiler drops pairs of malloc and free whose block does not escape.
FLAGS = ["-std=c++20", "-O2", "-pthread", "-fno-allocation-dce"] + [
    f"-fno-builtin-{name}" for name in ("malloc", "free", "calloc", "realloc")]
TIME_LIMIT_S = 300
METRICS = ("wall_s", "user_s", "sys_s", "peak_rss_kib", "minor_faults", "major_faults")


class Workload:
    """One command to measure."""

    def __init__(self, kind, name, claim, argv, stdin=None, env=None):
        self.kind, self.name, self.claim, self.argv, self.stdin, self.env = kind, name, claim, argv, stdin, env or {}


def programs():
    """Whole programs, each a fixed piece of work; one that is not installed is left out."""
    here = BENCH / "programs"
    found = [
        Workload("program", "python", "Claim: an interpreter that allocates every object (CPython, PYTHONMALLOC=malloc).",
                 ["/usr/bin/python3", "-S", str(here / "objects.py")],
                 env={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1", "PYTHONDONTWRITEBYTECODE": "1"}),
        Workload("program", "sqlite", "Claim: a database in memory: inserts, an index, joins (sqlite3).",
                 ["/usr/bin/sqlite3", "-batch", ":memory:"], stdin=here / "tables.sql"),
        Workload("program", "compile", "Claim: a compiler on a template-heavy file (g++ -c).",
                 ["/usr/bin/g++", "-std=c++20", "-O1", "-c", str(here / "templates.cc"), "-o", "/dev/null"]),
        Workload("program", "perl", "Claim: an interpreter of strings and hashes (perl).",
                 ["/usr/bin/perl", str(here / "words.pl")], env={"PERL_HASH_SEED": "1"}),
    ]
    return [workload for workload in found if pathlib.Path(workload.argv[0]).exists()]


def head_comment(source):
    lines = []
    for line in source.read_text().splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return " ".join(lines)


def compile_all(build_dir):
    """Compiles the launcher and the workloads that are older than their source; returns the workloads."""
    build_dir.mkdir(parents=True, exist_ok=True)
    sources = sorted((BENCH / "workloads").glob("*.cc"))
    shared = [BENCH / "workloads" / "workload.h", pathlib.Path(__file__)]
    jobs = [(source, build_dir / source.stem, FLAGS) for source in sources]
    jobs.append((BENCH / "launch.cc", build_dir / "launch", ["-std=c++20", "-O2", "-static"]))

    def compile_one(job):
        source, binary, flags = job
        newest = max(path.stat().st_mtime for path in [source, *shared])
        if not binary.exists() or binary.stat().st_mtime < newest:
            subprocess.run(["g++", *flags, str(source), "-o", str(binary)], check=True)

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(compile_one, jobs))
    return [Workload("workload", source.stem, head_comment(source), [str(build_dir / source.stem)])
            for source in sources]


def find_allocators(library):
    """Name -> shared object, or None for the C library's own malloc. The one under test comes first."""
    found = {}
    if library and library.exists():
        found[UNDER_TEST] = library.resolve()
    found["glibc"] = None
    for name, files in PEERS.items():
        path = next((LIBRARIES / file for file in files if (LIBRARIES / file).exists()), None)
        if path:
            found[name] = path
    return found


class Launcher:
    def __init__(self, build_dir):
        self.program = build_dir / "launch"
        self.result = build_dir / f"result.{os.getpid()}"

    def run(self, argv, library, env=None, stdin=None):
        """Runs argv on the allocator and returns its sample: METRICS, "status" and "output"."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", **(env or {})}
        if library:
            environment["LD_PRELOAD"] = str(library)
        if "WARREN_CONF" in os.environ:
            environment["WARREN_CONF"] = os.environ["WARREN_CONF"]
        self.result.unlink(missing_ok=True)
        source = open(stdin, "rb") if stdin else subprocess.DEVNULL
        process = subprocess.Popen([str(self.program), str(self.result), *argv], env=environment, stdin=source,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return {"status": f"no end after {TIME_LIMIT_S} s", "output": output}
        finally:
            if stdin:
                source.close()
        if process.returncode != 0 or not self.result.exists():
            return {"status": f"launch: {process.returncode}", "output": output}
        status, *numbers = self.result.read_text().split()
        self.result.unlink()
        sample = {name: float(number) for name, number in zip(METRICS, numbers, strict=True)}
        sample["cpu_s"] = sample["user_s"] + sample["sys_s"]
        return {**sample, "status": int(status), "output": output}

    def check_in_use(self, name, library):
        output = self.run(["/bin/cat", "/proc/self/maps"], library)["output"].decode(errors="replace")
        if library and str(library.resolve()) not in output:
            sys.exit(f"bench: {name}: {library} is not mapped into a program it is preloaded into:\n{output}")


def measure(workload, allocators, launcher, rounds):
    """Interleaved: every round runs every allocator once, each round starting with another one."""
    names = list(allocators)
    samples = {name: [] for name in names}
    failures = {}
    # Not measured: it warms the page cache, and its output is what every allocator has to print.
    expected = launcher.run(workload.argv, None, workload.env, workload.stdin)
    if expected["status"] != 0:
        sys.exit(f"bench: {workload.name} fails on the C library's malloc: {expected}")
    for round_number in range(rounds):
        shift = round_number % len(names)
        for name in names[shift:] + names[:shift]:
            if name in failures:
                continue
            sample = launcher.run(workload.argv, allocators[name], workload.env, workload.stdin)
            output = sample.pop("output")
            if sample["status"] != 0:
                failures[name] = f"status {sample['status']}: {output[-300:].decode(errors='replace').strip()}"
            elif output != expected["output"]:
                failures[name] = f"its output differs from that on glibc: {output[-300:].decode(errors='replace')}"
            else:
                samples[name].append(sample)
    count = re.match(rb"operations (\d+) ", expected["output"])
    return {
        "kind": workload.kind,
        "claim": workload.claim,
        "units": int(count.group(1)) if count else None,
        "output_sha256": hashlib.sha256(expected["output"]).hexdigest(),
        "samples": {name: runs for name, runs in samples.items() if name not in failures},
        "failures": failures,
    }


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    thp = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "huge_pages": thp.read_text().strip() if thp.exists() else "none",
        "load_at_start": os.getloadavg()[0],
        "warren_conf": os.environ.get("WARREN_CONF", ""),
    }


def main():
    parser = argparse.ArgumentParser(description="malloc side by side with its peers", prog="warren bench malloc")
    parser.add_argument("--library", type=pathlib.Path, default=BENCH.parent / "build" / "libwarren.so",
                        help="the libwarren.so under test; without it only the peers run")
    parser.add_argument("--rounds", type=int, default=5, help="how often each allocator runs each workload (5)")
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--only", default="", metavar="NAME,...", help="only these workloads")
    parser.add_argument("--allocators", default="", metavar="NAME,...", help="only these allocators")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--list", action="store_true", help="print the workloads and their claims")
    parser.add_argument("--build-dir", type=pathlib.Path, default=BENCH.parent / "build" / "bench",
                        help="where the workloads are compiled")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else arguments.rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    if not shutil.which("g++"):
        sys.exit("bench: g++ is needed to compile the workloads")

    build_dir = arguments.build_dir.resolve()
    workloads = compile_all(build_dir) + programs()
    allocators = find_allocators(arguments.library)
    for chosen, known, what in ((arguments.only, [w.name for w in workloads], "workload"),
                                (arguments.allocators, list(allocators), "allocator")):
        for name in filter(None, chosen.split(",")):
            if name not in known:
                parser.error(f"there is no {what} '{name}'; there are: {', '.join(known)}")
    if arguments.only:
        workloads = [workload for workload in workloads if workload.name in arguments.only.split(",")]
    if arguments.allocators:
        allocators = {name: path for name, path in allocators.items() if name in arguments.allocators.split(",")}
    if arguments.list:
        for workload in workloads:
            print(f"{workload.name}: {workload.claim}")
        return 0

    launcher = Launcher(build_dir)
    for name, library in allocators.items():
        launcher.check_in_use(name, library)
    report = {
        "machine": machine(),
        "rounds": rounds,
        "reference": REFERENCE if REFERENCE in allocators else next(iter(allocators)),
        "under_test": UNDER_TEST if UNDER_TEST in allocators else None,
        "allocators": {name: str(library.resolve()) if library else "the C library" for name, library in
                       allocators.items()},
        "workloads": {},
    }
    table.print_head(report)
    failed = False
    for workload in workloads:
        result = measure(workload, allocators, launcher, rounds)
        report["workloads"][workload.name] = result
        failed = failed or bool(result["failures"])
        table.print_workload(report, workload.name)
    table.print_summary(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

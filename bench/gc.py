#!/usr/bin/env python3
"""Runs the programs of bench/gc on warren's collector, Boehm's, Go's, and on malloc and free, side by side.

Run by `./warren bench gc`, or by hand; the head of each program says what it measures. A heap that is not installed is
left out, with a line that says so.
Invariants: all heaps do the same work (their checksums are compared), each in every round, and each round starts with
another one; what is printed is the median of the rounds, for a maximum the greatest of them.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import gc_report
from launcher import Launcher

BENCH = pathlib.Path(__file__).resolve().parent
SOURCES = BENCH / "gc"
FLAGS = ["-std=c++20", "-O2", "-g1", "-pthread", "-fno-allocation-dce", "-fno-builtin-malloc", "-fno-builtin-free"]
# Name of the program in the table -> (source, arguments, arguments with --quick).
PROGRAMS = {
    "binary trees, 1 thread": ("binary_trees", ["18", "1"], ["16", "1"]),
    "binary trees, 2 threads": ("binary_trees", ["18", "2"], ["16", "2"]),
    "pauses, 600 MiB": ("pauses", ["600", "15000000", "2"], ["600", "6000000", "2"]),
    "slowdown, all processors": ("slowdown", ["600", "6", "0"], ["300", "3", "0"]),
    "slowdown, one processor": ("slowdown", ["600", "6", "1"], ["300", "3", "1"]),
}
# Of the other heaps nobody could tell when marking is on.
OF_WARREN_ALONE = {"slowdown"}
BASELINE = "malloc"
UNDER_TEST = "warren"


class Heap:
    """One way to run the programs: what they are built as, and the environment that makes it this heap."""

    def __init__(self, name, built_as, env=None, preload=None):
        self.name, self.built_as, self.env, self.preload = name, built_as, env or {}, preload


def compiles(text, *flags):
    return subprocess.run(["g++", "-x", "c++", "-", "-o", "/dev/null", *flags], input=text, text=True,
                          capture_output=True).returncode == 0


def find_heaps(library, include, scratch):
    """Warren's library is copied first: a build during the run does not change what is measured."""
    found, missing = [], {}
    has_header = (include / "warren" / "gc.h").exists()
    if library.exists():
        shutil.copy2(library, scratch / "libwarren.so")
        if has_header and compiles("#include <warren/gc.h>\nint main() { return wr_gc_malloc(1) == nullptr; }",
                                   f"-I{include}", f"-L{scratch}", "-lwarren"):
            found.append(Heap("warren", "warren", {"LD_LIBRARY_PATH": str(scratch)}))
        else:
            missing["warren"] = "the library has no collector"
    else:
        missing["warren"] = f"there is no {library}"
    if compiles("#include <gc.h>\nint main() { return GC_MALLOC(1) == nullptr; }", "-lgc"):
        found += [Heap("boehm", "boehm"), Heap("boehm, incremental", "boehm", {"GC_ENABLE_INCREMENTAL": "1"})]
    else:
        missing["boehm"] = "libgc-dev is not installed"
    if shutil.which("go"):
        found.append(Heap("go", "go"))
    else:
        missing["go"] = "golang-go is not installed"
    found.append(Heap(BASELINE, "malloc"))
    if library.exists():
        found.append(Heap("malloc of warren", "malloc", preload=scratch / "libwarren.so"))
    return found, missing


def heaps_for(source, heaps):
    return [heap for heap in heaps if source not in OF_WARREN_ALONE or heap.name == UNDER_TEST]


def compile_all(heaps, include, scratch, build_dir):
    build_dir.mkdir(parents=True, exist_ok=True)
    def build(*command):
        subprocess.run([str(word) for word in command], check=True, cwd=SOURCES)

    build("g++", "-std=c++20", "-O2", "-static", BENCH / "launch.cc", "-o", build_dir / "launch")
    libraries = {"warren": [f"-I{include}", f"-L{scratch}", "-lwarren"], "boehm": ["-lgc"], "malloc": []}
    for program in sorted({source for source, _, _ in PROGRAMS.values()}):
        for built_as in sorted({heap.built_as for heap in heaps_for(program, heaps)}):
            binary = build_dir / f"{program}-{built_as}"
            if built_as == "go":
                build("go", "build", "-o", binary, f"{program}.go")
            else:
                build("g++", *FLAGS, f'-DHEAP="heap_{built_as}.h"', f"{program}.cc", "-o", binary, *libraries[built_as])


def note_slowdown(sample, output):
    """How much of the time with cycles marking was on, by the trace, and what a step then took, in parts of what it takes without."""
    marking = [float(ms) for ms, forced in re.findall(r"^gc \d+ .*?: [\d.]+\+([\d.]+)\+[\d.]+ ms clock(.*)$", output, re.M)
               if "(forced)" not in forced]
    sample["marking_share"] = sum(marking) * 1e6 / (sample["warming_ns"] + sample["on_ns"])
    for clock, when, name in (("ns", "on", "step_ratio"), ("cpu_ns", "on", "step_cpu_ratio"), ("cpu_ns", "forced", "forced_cpu_ratio")):
        sample[name] = sample[f"{when}_{clock}"] / sample[f"{when}_steps"] / (sample[f"off_{clock}"] / sample["off_steps"])


def run_once(launcher, heap, source, binary, arguments):
    environment = {**heap.env, "WARREN_CONF": "gctrace=1"} if source in OF_WARREN_ALONE else heap.env
    sample = launcher.run([str(binary), *arguments], heap.preload, environment)
    output = sample.pop("output").decode(errors="replace")
    if sample["status"] != 0:
        return None, f"status {sample['status']}: {output[-300:].strip()}"
    sample["checksum"] = re.search(r"^operations \d+ checksum \d+$", output, re.M).group(0)
    sample.update({name: int(value) for name, value in re.findall(r"^(\w[\w.]*) (\d+)$", output, re.M)})
    if source in OF_WARREN_ALONE:
        note_slowdown(sample, output)
    return sample, None


def measure(launcher, heaps, source, arguments, rounds, build_dir):
    heaps = heaps_for(source, heaps)
    samples, failures = {heap.name: [] for heap in heaps}, {}
    for round_number in range(rounds):
        shift = round_number % len(heaps)
        for heap in heaps[shift:] + heaps[:shift]:
            if heap.name in failures:
                continue
            sample, failure = run_once(launcher, heap, source, build_dir / f"{source}-{heap.built_as}", arguments)
            if failure:
                failures[heap.name] = failure
            else:
                samples[heap.name].append(sample)
    expected = samples[BASELINE][0]["checksum"] if samples.get(BASELINE) else None
    for name, runs in samples.items():
        if expected and any(run["checksum"] != expected for run in runs):
            failures[name] = f"its checksum is not that of {BASELINE}"
    return {"samples": {name: runs for name, runs in samples.items() if name not in failures}, "failures": failures}


def typical(runs, metric):
    values = [run[metric] for run in runs if metric in run]
    return (max(values) if "_max_" in metric else statistics.median(values)) if values else None


# Metric, heading, factor, digits.
COLUMNS = [("wall_s", "wall s", 1, 2), ("cpu_s", "cpu s", 1, 2), ("peak_rss_kib", "peak MiB", 1 / 1024, 0),
           ("cycles", "cycles", 1, 0)]
PAUSE_COLUMNS = [("work_ns", "work s", 1e-9, 2)] + [
    (f"{who}_{part}_ns", f"{short} {part}", 1e-6, 3) for who, short in (("late", "late"), ("operation", "op"))
    for part in ("p50", "p99", "p99.9", "p99.99", "max")]
SLOWDOWN_COLUMNS = [("marking_share", "marking %", 100, 0), ("step_ratio", "time x", 1, 2), ("step_cpu_ratio", "cpu x", 1, 2),
                    ("forced_cpu_ratio", "forced x", 1, 2),
                    ("store_ns", "store ns", 1, 0), ("first_store_ns", "first ns", 1, 0), ("first_stores", "first no", 1, 0)]


def print_table(title, result):
    runs = result["samples"]
    columns = [column for column in COLUMNS + PAUSE_COLUMNS + SLOWDOWN_COLUMNS
               if any(typical(samples, column[0]) is not None for samples in runs.values())]
    print(f"\n{title}" + (" (late, op: milliseconds)" if any(column in PAUSE_COLUMNS for column in columns) else ""))
    widths = [max(9, len(column[1])) for column in columns]
    print(f"{'':20}" + "".join(f" {column[1]:>{width}}" for column, width in zip(columns, widths)))
    for name, samples in runs.items():
        cells = []
        for (metric, _, factor, digits), width in zip(columns, widths):
            value = typical(samples, metric) if samples else None
            cells.append(f" {'-' if value is None else format(value * factor, f'.{digits}f'):>{width}}")
        print(f"{name:20}" + "".join(cells))
    for name, why in result["failures"].items():
        print(f"{name:20} FAILED: {why}")


def main():
    parser = argparse.ArgumentParser(description="collectors side by side", prog="warren bench gc")
    parser.add_argument("--library", type=pathlib.Path, default=BENCH.parent / "build" / "libwarren.so")
    parser.add_argument("--include", type=pathlib.Path, default=BENCH.parent / "include", help="where warren/gc.h is")
    parser.add_argument("--rounds", type=int, help="how often each heap runs each program (5; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of smaller programs")
    parser.add_argument("--only", default="", metavar="TEXT", help="only programs whose name contains TEXT")
    parser.add_argument("--heaps", default="", metavar="NAME,...", help="only these heaps, and malloc")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--report", type=pathlib.Path, metavar="DIRECTORY",
                        help="write the page there; bench/report, unless --only or --heaps leaves something out")
    parser.add_argument("--build-dir", type=pathlib.Path, default=BENCH.parent / "build" / "bench-gc")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    sys.stdout.reconfigure(line_buffering=True)
    build_dir = arguments.build_dir.resolve()
    report, failed = {"rounds": rounds, "programs": {}}, []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        scratch = pathlib.Path(scratch)
        heaps, missing = find_heaps(arguments.library.resolve(), arguments.include.resolve(), scratch)
        wanted = [name for name in arguments.heaps.split(",") if name]
        if wanted:
            heaps = [heap for heap in heaps if heap.name in wanted or heap.name == BASELINE]
        for name, why in missing.items():
            print(f"without {name}: {why}")
        compile_all(heaps, arguments.include.resolve(), scratch, build_dir)
        launcher = Launcher(build_dir / "launch")
        cpus, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(f"{cpus} CPUs, load {load:.1f}, {rounds} rounds; defaults everywhere")
        for title, (source, usual, quick) in PROGRAMS.items():
            if arguments.only not in title:
                continue
            result = measure(launcher, heaps, source, quick if arguments.quick else usual, rounds, build_dir)
            report["programs"][title] = result
            print_table(title, result)
            failed += [name for name in result["failures"]]
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    directory = arguments.report or (None if arguments.only or arguments.heaps else BENCH / "report")
    if directory:
        print(f"\nreport: {gc_report.write(report, directory)}")
    return 1 if UNDER_TEST in failed else 0


if __name__ == "__main__":
    sys.exit(main())

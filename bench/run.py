#!/usr/bin/env python3
"""Runs the workloads, the classics, everyday programs and some whole programs on warren's malloc and on its peers, side by side.

Run by `./warren bench`, or by hand; bench/README.md says what is measured and how. catalogue.py says what is run,
launcher.py how one program is started, measure.py what is counted, table.py and report.py show it.
Invariants: every allocator does the same work in the same round (the outputs are compared), and is proved to be mapped
into the programs it is said to serve before anything is measured.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile

import catalogue
import measure
import report as page
import table
from launcher import REFERENCE, UNDER_TEST, Launcher, find_allocators

BENCH = pathlib.Path(__file__).resolve().parent
# Besides the workloads; --only takes their names too.
EXTRAS = {"idle": "1 GiB made, freed and left alone: what stays resident.",
          "latency": "How long one call of malloc or free takes, p50 to p99.99."}


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


def parse_arguments():
    parser = argparse.ArgumentParser(description="malloc side by side with its peers", prog="warren bench malloc")
    parser.add_argument("--library", type=pathlib.Path, default=BENCH.parent / "build" / "libwarren.so",
                        help="the libwarren.so under test; without it only the peers run")
    parser.add_argument("--rounds", type=int, help="how often each allocator runs each workload (5; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, and no system calls are counted")
    parser.add_argument("--syscalls", action=argparse.BooleanOptionalAction,
                        help="run the workloads once more under strace and count (yes, unless --quick)")
    parser.add_argument("--only", default="", metavar="NAME,...", help="only these workloads")
    parser.add_argument("--allocators", default="", metavar="NAME,...", help="only these allocators")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--report", type=pathlib.Path, metavar="DIRECTORY",
                        help="write the page there; bench/report, unless --only or --allocators leaves something out")
    parser.add_argument("--list", action="store_true", help="print the workloads and their claims")
    parser.add_argument("--build-dir", type=pathlib.Path, default=BENCH.parent / "build" / "bench",
                        help="where the workloads are compiled")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 5)
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    if arguments.syscalls is None:
        arguments.syscalls = not arguments.quick
    if not (arguments.report or arguments.only or arguments.allocators):
        arguments.report = BENCH / "report"
    return parser, arguments


def chosen(parser, text, known, what):
    """The names of a NAME,... argument, or all that are known."""
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            parser.error(f"there is no {what} '{name}'; there are: {', '.join(known)}")
    return names or list(known)


def run_all(arguments, workloads, names, allocators, build_dir):
    launcher = Launcher(build_dir / "launch")
    for name, library in allocators.items():
        launcher.check_in_use(name, library)
    report = {
        "machine": machine(),
        "rounds": arguments.rounds,
        "reference": REFERENCE if REFERENCE in allocators else next(iter(allocators)),
        "under_test": UNDER_TEST if UNDER_TEST in allocators else None,
        "allocators": {name: str(library.resolve()) for name, library in allocators.items()},
        "workloads": {},
        "rss_over_time": {},
        "latency": None,
        "idle": None,
    }
    if UNDER_TEST in allocators:
        report["allocators"][UNDER_TEST] = str(arguments.library.resolve())
    table.print_head(report)
    strace = arguments.syscalls and pathlib.Path(measure.STRACE).exists()
    if arguments.syscalls and not strace:
        print("strace is not installed: no system calls are counted")
    for workload in workloads:
        if workload.name not in names:
            continue
        result = measure.rounds(workload, allocators, launcher, arguments.rounds)
        report["workloads"][workload.name] = result
        usable = {name: library for name, library in allocators.items() if name not in result["failures"]}
        if strace and workload.kind != "program":
            result["system_calls"] = measure.system_calls(workload, usable, launcher)
        if workload.watched:
            report["rss_over_time"][workload.name] = measure.rss_over_time(workload, usable, launcher)
        table.print_workload(report, workload.name)
    if "latency" in names:
        report["latency"] = measure.latency(build_dir / catalogue.LATENCY.stem, allocators, launcher, arguments.rounds)
        table.print_latency(report)
    if "idle" in names:
        report["idle"] = measure.idle(build_dir / catalogue.IDLE.stem, allocators, launcher)
        table.print_idle(report)
    return report


def main():
    parser, arguments = parse_arguments()
    if not shutil.which("g++"):
        sys.exit("bench: g++ is needed to compile the workloads")
    sys.stdout.reconfigure(line_buffering=True)
    build_dir = arguments.build_dir.resolve()
    workloads = (catalogue.workloads(build_dir) + catalogue.classics(build_dir) + catalogue.everyday(build_dir) +
                 catalogue.programs())
    claims = {**{workload.name: workload.claim for workload in workloads}, **EXTRAS}
    if arguments.list:
        for name, claim in claims.items():
            print(f"{name}: {claim}")
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        allocators = find_allocators(arguments.library, scratch)
        names = chosen(parser, arguments.only, claims, "workload")
        wanted = chosen(parser, arguments.allocators, allocators, "allocator")
        allocators = {name: path for name, path in allocators.items() if name in wanted}
        catalogue.compile_all(build_dir)
        report = run_all(arguments, workloads, names, allocators, build_dir)
    table.print_summary(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.report:
        print(f"\nreport: {page.write(report, arguments.report)}")
    failed = [name for result in (*report["workloads"].values(), report["latency"], report["idle"])
              for name in (result["failures"] if result else {})]
    # A peer's failure is shown, and is the peer's; only without an allocator under test does it count.
    return 1 if UNDER_TEST in failed or (failed and not report["under_test"]) else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Says what record.sh and counters.sh have to run: one workload or program of bench/ on one allocator.

Usage: target.py WORKLOAD [ALLOCATOR]. Compiles what is missing and prints words that each end in a zero byte: a label,
the file for stdin, the number of settings, the settings (LD_PRELOAD first), the command. The shared object under test
is build/libwarren.so, or $LIBRARY. Invariant: the same command and settings as bench/run.py measures.
"""

import os
import pathlib
import sys

BENCH = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(BENCH))

import catalogue  # noqa: E402
from launcher import UNDER_TEST, find_peers  # noqa: E402


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit("usage: WORKLOAD [ALLOCATOR]; `bench/run.py --list` lists the workloads")
    name, allocator = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else UNDER_TEST
    build_dir = BENCH.parent / "build" / "bench"
    known = {workload.name: workload for workload in catalogue.workloads(build_dir) + catalogue.classics(build_dir) + catalogue.programs()}
    libraries = {UNDER_TEST: pathlib.Path(os.environ.get("LIBRARY", BENCH.parent / "build" / "libwarren.so")),
                 **find_peers()}
    if name not in known:
        sys.exit(f"there is no workload '{name}'; there are: {', '.join(known)}")
    if allocator not in libraries:
        sys.exit(f"there is no allocator '{allocator}'; there are: {', '.join(libraries)}")
    if not libraries[allocator].exists():
        sys.exit(f"{libraries[allocator]} does not exist")
    workload = known[name]
    if workload.client:
        sys.exit(f"{name} needs a client; start it by hand and attach: perf record -p PID")
    catalogue.compile_all(build_dir)
    settings = [f"LD_PRELOAD={libraries[allocator].resolve()}",
                *(f"{key}={value}" for key, value in workload.env.items())]
    words = [f"{name}.{allocator}", workload.stdin or os.devnull, len(settings), *settings, *workload.argv]
    sys.stdout.write("".join(f"{word}\0" for word in words))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What the heap profile costs while it is taken: each workload of bench/workloads with prof=, over without.

Run by `./warren bench profile`, or by hand. CPU time is the least of the rounds; with --instructions valgrind counts, which takes
fifty times as long, and does not depend on what else the machine does.
Invariant: with and without take turns, and each round begins with the other one.
"""

import argparse
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import catalogue
from launcher import Launcher, environment

BENCH = pathlib.Path(__file__).resolve().parent
GOAL = 1.03  # in the mean


def cpu_seconds(launcher, workload, library, env):
    sample = launcher.run(workload.argv, library, {**workload.env, **env}, workload.stdin)
    if sample["status"] != 0:
        sys.exit(f"bench: {workload.name}: {sample['status']}\n{sample['output'].decode(errors='replace')}")
    return sample["cpu_s"]


def instructions(workload, library, env):
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *workload.argv], capture_output=True,
                          text=True, env=environment(library, {**workload.env, **env}))
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"bench: {workload.name} under valgrind: {done.returncode}\n{done.stderr[-2000:]}")
    return int(found.group(1))


def main():
    parser = argparse.ArgumentParser(prog="warren bench profile", description="what the heap profile costs")
    parser.add_argument("--library", type=pathlib.Path, default=BENCH.parent / "build" / "libwarren.so")
    parser.add_argument("--rounds", type=int, default=7, help="how often each workload runs, with and without (7)")
    parser.add_argument("--instructions", action="store_true", help="count them, once, instead of measuring time")
    parser.add_argument("--only", metavar="NAME,...", help="only these workloads")
    parser.add_argument("--build-dir", type=pathlib.Path, default=BENCH.parent / "build" / "bench")
    arguments = parser.parse_args()
    if arguments.instructions and not shutil.which("valgrind"):
        sys.exit("bench: --instructions needs valgrind")
    sys.stdout.reconfigure(line_buffering=True)
    build_dir = arguments.build_dir.resolve()
    catalogue.compile_all(build_dir)
    launcher = Launcher(build_dir / "launch")
    logarithms = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        library = pathlib.Path(shutil.copy2(arguments.library, scratch))
        kinds = [{}, {"WARREN_CONF": f"prof={scratch}/heap"}]
        for workload in catalogue.workloads(build_dir):
            if arguments.only and workload.name not in arguments.only.split(","):
                continue
            if arguments.instructions:
                without, profiled = (instructions(workload, library, env) for env in kinds)
                unit = f"{without / 1e6:.0f} million instructions"
            else:
                times = ([], [])
                for turn in range(arguments.rounds):
                    for which in ((0, 1), (1, 0))[turn % 2]:
                        times[which].append(cpu_seconds(launcher, workload, library, kinds[which]))
                without, profiled = (min(runs) for runs in times)
                unit = f"{without:.2f} s"
            logarithms.append(math.log(profiled / without))
            print(f"{workload.name:20} {profiled / without:6.3f}   of {unit}")
    if logarithms:
        print(f"geometric mean       {math.exp(sum(logarithms) / len(logarithms)):6.3f}   goal {GOAL}")


if __name__ == "__main__":
    main()

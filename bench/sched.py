#!/usr/bin/env python3
"""Runs the programs of bench/sched on warren's fibers, Go's and Boost's, side by side.

Run by `./warren bench sched`, or by hand; the head of each program says what it measures and what warren aims at. A
peer that is not installed is left out, with a line that says so.
Invariants: each peer runs in every round, and each round starts with another one; a ratio is formed between two runs
of one round, and what is printed is the median of the rounds.
"""

import argparse
import html
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from launcher import Launcher

BENCH = pathlib.Path(__file__).resolve().parent
SOURCES = BENCH / "sched"
FLAGS = ["-std=c++20", "-O2", "-g1", "-pthread"]
UNDER_TEST = "warren"
PEERS = ("go", "boost")
# Programs that sched/load.cc loads -> how
SERVERS = {"echo": "echo", "http_hello": "wrk" if shutil.which("wrk") else "http"}


class Row:
    """One program with one number of Ps. The goals are for the measures that its lines name."""

    def __init__(self, program, procs, count, quick, goals):
        self.program, self.procs, self.count, self.quick, self.goals = program, procs, count, quick, goals

    def title(self):
        return f"{self.program}, {self.procs}P"


ROWS = [
    Row("yield", 1, 2000000, 300000, {"yield": 12}),
    Row("yield", 2, 2000000, 300000, {}),
    Row("ping_pong", 1, 1000000, 200000, {"ping-pong": 60}),
    Row("ping_pong", 2, 1000000, 200000, {"ping-pong": 80}),
    Row("channel", 1, 8000000, 1000000, {"channel of 128, an item": 9}),
    Row("channel", 2, 8000000, 1000000, {"channel of 128, an item": 20}),
    Row("select", 1, 3000000, 500000, {"select of two and a send": 22}),
    Row("mutex", 1, 16000000, 2000000, {"mutex of 8 fibers": 4}),
    Row("mutex", 2, 16000000, 2000000, {"mutex of 8 fibers": 13}),
    Row("spawn", 1, 2000000, 300000, {"spawn and finish": 60}),
    Row("spawn", 2, 2000000, 300000, {"spawn and finish": 70}),
    Row("million", 2, 1000000, 1000000, {"start and park": 1500, "resident": 4400}),
    Row("echo", 2, 300, 300, {}),
    Row("http_hello", 2, 100, 100, {}),
]
# Lines of the programs -> (measure, unit, value). CPU time in place of wall time with --cpu.
LINE = re.compile(r"^(\S.*?)  +([\d.]+) (.*)$")


def find_peers(library, include, scratch):
    """Warren's library is copied first: a build during the run does not change what is measured."""
    found, missing = [], {}
    if library.exists():
        shutil.copy2(library, scratch / "libwarren.so")
        found.append("warren")
    else:
        missing["warren"] = f"there is no {library}"
    if shutil.which("go"):
        found.append("go")
    else:
        missing["go"] = "golang-go is not installed"
    probe = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", "-x", "c++", "-"], text=True, capture_output=True,
                           input="#include <boost/fiber/fiber.hpp>\n", check=False)
    if probe.returncode == 0:
        found.append("boost")
    else:
        missing["boost"] = "libboost-fiber-dev is not installed"
    return found, missing


def source_of(peer, program):
    return {"warren": SOURCES / f"{program}.cc", "go": SOURCES / "go" / f"{program}.go",
            "boost": SOURCES / "boost" / f"{program}.cc"}[peer]


def compile_all(peers, programs, include, scratch, build_dir):
    build_dir.mkdir(parents=True, exist_ok=True)

    def build(*command):
        subprocess.run([str(word) for word in command], check=True, cwd=SOURCES / "go")

    build("g++", "-std=c++20", "-O2", "-static", BENCH / "launch.cc", "-o", build_dir / "launch")
    build("g++", *FLAGS, SOURCES / "load.cc", "-o", build_dir / "load")
    for program in programs:
        for peer in peers:
            source, binary = source_of(peer, program), build_dir / f"{program}-{peer}"
            if not source.exists():
                continue
            if peer == "go":
                shared = ["measure.go", "server.go"] if program in SERVERS else ["measure.go"]
                build("go", "build", "-o", binary, *shared, source.name)
            elif peer == "boost":
                build("g++", *FLAGS, source, "-o", binary, "-lboost_fiber", "-lboost_context")
            else:
                build("g++", *FLAGS, f"-I{include}", source, "-o", binary, f"-L{scratch}", "-lwarren")


def parse(output, metric):
    """The measures that a program printed: name -> (value, unit). Latencies are one line with several."""
    found = {}
    for line in output.splitlines():
        if not (match := LINE.match(line)):
            continue
        name, rest = match[1], line[match.end(1):].split()
        values = {" ".join(rest[i + 1:i + 3]): float(rest[i]) for i in range(0, len(rest) - 1, 3)}
        if f"ns {metric}" in values:
            found[name] = (values[f"ns {metric}"], "ns")
        elif "us p50" in values:
            for unit, value in values.items():
                found[f"{name} {unit.split()[1]}"] = (value, "us")
        else:
            unit, value = next(iter(values.items()))
            found[name] = (value, unit)
    return found


def run_once(launcher, row, count, peer, build_dir, scratch, metric):
    command = [str(build_dir / f"{row.program}-{peer}"), str(count), str(row.procs)]
    if row.program in SERVERS:
        command = [str(build_dir / "load"), SERVERS[row.program], str(count), "3", command[0], "0", str(row.procs)]
    sample = launcher.run(command, None, {"LD_LIBRARY_PATH": str(scratch)} if peer == "warren" else {})
    output = sample["output"].decode(errors="replace")
    if sample["status"] != 0:
        return None, f"status {sample['status']}: {output[-300:].strip()}"
    return parse(output, metric), None


def measure(launcher, row, peers, rounds, build_dir, scratch, arguments):
    samples, failures = {peer: [] for peer in peers}, {}
    for number in range(rounds):
        shift = number % len(peers)
        for peer in peers[shift:] + peers[:shift]:
            if peer in failures:
                continue
            sample, failure = run_once(launcher, row, row.quick if arguments.quick else row.count, peer, build_dir,
                                       scratch, "cpu" if arguments.cpu else "wall")
            if failure:
                failures[peer] = failure
            else:
                samples[peer].append(sample)
    return {peer: runs for peer, runs in samples.items() if peer not in failures}, failures


def value_of(runs, name):
    return statistics.median(run[name][0] for run in runs) if runs else None


def ratio_of(ours, theirs, name):
    if not ours or not theirs:
        return None
    return statistics.median(mine[name][0] / its[name][0] for mine, its in zip(ours, theirs))


def lines_of(row, samples):
    """One line of the table for each thing the programs measured."""
    some = next((runs for runs in samples.values() if runs), [])
    for name in some[0] if some else {}:
        ours = samples.get(UNDER_TEST, [])
        yield {"name": f"{name}, {row.procs}P", "unit": some[0][name][1], "goal": row.goals.get(name),
               "values": {peer: value_of(runs, name) for peer, runs in samples.items()},
               "ratios": {peer: ratio_of(ours, samples.get(peer, []), name) for peer in PEERS}}


def number(value):
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


HEADINGS = ["", "unit", "warren", "go", "boost", "/ go", "/ boost", "goal"]


def cells_of(line):
    values, ratios = line["values"], line["ratios"]
    return [line["name"], line["unit"], *(number(values.get(peer)) for peer in (UNDER_TEST, *PEERS)),
            *("-" if ratios[peer] is None else f"{ratios[peer]:.2f}" for peer in PEERS), number(line["goal"])]


def print_cells(cells):
    print(f"{cells[0]:32} {cells[1]:12}" + "".join(f" {cell:>9}" for cell in cells[2:]))


def page(report):
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells_of(line)) + "</tr>\n"
                   for line in report["lines"])
    heads = "".join(f"<th>{html.escape(text)}</th>" for text in HEADINGS)
    return f"""<!doctype html><meta charset="utf-8"><title>warren: the scheduler side by side</title>
<style>body {{ font: 15px sans-serif; margin: 2em }} td, th {{ padding: .2em .8em; text-align: right }}
td:first-child, th:first-child {{ text-align: left }} tr:nth-child(even) {{ background: #f2f2f2 }}</style>
<h1>The scheduler side by side</h1>
<p>{html.escape(report["head"])}. A ratio below 1: warren takes less (for "per second": serves less).</p>
<table><tr>{heads}</tr>
{rows}</table>
"""


def main():
    parser = argparse.ArgumentParser(description="schedulers side by side", prog="warren bench sched")
    parser.add_argument("--library", type=pathlib.Path, default=BENCH.parent / "build" / "libwarren.so")
    parser.add_argument("--include", type=pathlib.Path, default=BENCH.parent / "include", help="where warren/ is")
    parser.add_argument("--rounds", type=int, help="how often each peer runs each program (7; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of smaller programs")
    parser.add_argument("--cpu", action="store_true", help="CPU time in place of wall time: for a machine at work")
    parser.add_argument("--only", default="", metavar="TEXT", help="only programs whose title contains TEXT")
    parser.add_argument("--peers", default="", metavar="NAME,...", help="only these, and warren")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--report", type=pathlib.Path, metavar="DIRECTORY",
                        help="write sched.html there (default: bench/report, when everything is run)")
    parser.add_argument("--build-dir", type=pathlib.Path, default=BENCH.parent / "build" / "bench-sched")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    sys.stdout.reconfigure(line_buffering=True)
    build_dir = arguments.build_dir.resolve()
    rows = [row for row in ROWS if arguments.only in row.title()]
    report, failed = {"rounds": rounds, "samples": {}, "lines": []}, []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        scratch = pathlib.Path(scratch)
        peers, missing = find_peers(arguments.library.resolve(), arguments.include.resolve(), scratch)
        wanted = [name for name in arguments.peers.split(",") if name]
        if wanted:
            peers = [peer for peer in peers if peer in wanted or peer == UNDER_TEST]
        for name, why in missing.items():
            print(f"without {name}: {why}")
        compile_all(peers, sorted({row.program for row in rows}), arguments.include.resolve(), scratch, build_dir)
        launcher = Launcher(build_dir / "launch")
        report["head"] = (f"{len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}, {rounds} rounds,"
                          f" {'CPU' if arguments.cpu else 'wall'} time; medians")
        print(report["head"])
        print_cells(HEADINGS)
        for row in rows:
            running = [peer for peer in peers if source_of(peer, row.program).exists()
                       and (peer != "boost" or row.procs == 1)]  # Boost's fibers stay on their thread
            samples, failures = measure(launcher, row, running, rounds, build_dir, scratch, arguments)
            report["samples"][row.title()] = samples
            for line in lines_of(row, samples):
                report["lines"].append(line)
                print_cells(cells_of(line))
            for name, why in failures.items():
                print(f"{row.title()} on {name} FAILED: {why}")
            failed += list(failures)
    directory = arguments.report
    if directory is None and not (arguments.only or wanted or arguments.quick):
        directory = BENCH / "report"
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "sched.html").write_text(page(report))
        print(f"written: {directory / 'sched.html'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if UNDER_TEST in failed else 0


if __name__ == "__main__":
    sys.exit(main())

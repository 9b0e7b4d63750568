"""The measurements: timed rounds, system calls, memory over time, memory after idle, latency of single calls.

Called by run.py; each function returns its part of the report (the structure that --json writes). Invariant: only
rounds() and latency() are about time, and they run one program at a time; the others count, so watching or tracing may
slow them down as it likes.
"""

import concurrent.futures
import hashlib
import json
import pathlib
import re
import statistics
import tempfile

from launcher import BASELINE, environment

MEMORY_CALLS = ("mmap", "munmap", "mremap", "madvise", "process_madvise", "brk", "mprotect")
STRACE = "/usr/bin/strace"
STRACE_LIMIT_S = 40
WATCH_EVERY_S = 0.02
IDLE_MIB = 1024
IDLE_REST_S = 20
IDLE_EVERY_S = 0.2


def expected_output(workload, allocators, launcher):
    """What every allocator has to print. Not measured: this run warms the page cache."""
    sample = launcher.run(workload.argv, allocators.get(BASELINE), workload.env, workload.stdin, workload.client)
    if sample["status"] != 0:
        raise SystemExit(f"bench: {workload.name} fails on the C library's malloc: {sample}")
    return sample["output"]


def rounds(workload, allocators, launcher, count):
    """Interleaved: every round runs every allocator once, each round starting with another one."""
    names = list(allocators)
    samples = {name: [] for name in names}
    failures = {}
    expected = expected_output(workload, allocators, launcher)
    for round_number in range(count):
        shift = round_number % len(names)
        for name in names[shift:] + names[:shift]:
            if name in failures:
                continue
            sample = launcher.run(workload.argv, allocators[name], workload.env, workload.stdin, workload.client)
            output = sample.pop("output")
            if sample["status"] != 0:
                failures[name] = f"status {sample['status']}: {output[-300:].decode(errors='replace').strip()}"
            elif output != expected:
                failures[name] = f"its output differs from that on glibc: {output[-300:].decode(errors='replace')}"
            else:
                samples[name].append(sample)
    units = re.match(rb"operations (\d+) ", expected)
    return {
        "kind": workload.kind,
        "claim": workload.claim,
        "units": int(units.group(1)) if units else None,
        "output_sha256": hashlib.sha256(expected).hexdigest(),
        "samples": {name: runs for name, runs in samples.items() if name not in failures},
        "failures": failures,
    }


def parse_strace(text):
    """The counts of `strace -c`: of all system calls, and of those that are about memory."""
    calls = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and re.fullmatch(r"[\d.]+", words[0]) and words[3].isdigit() and words[-1] != "total":
            calls[words[-1]] = int(words[3])
    return {"all": sum(calls.values()), "memory": sum(calls.get(name, 0) for name in MEMORY_CALLS)}


def system_calls(workload, allocators, launcher):
    """One run of each allocator under strace; None for one that did not end in time."""
    counts = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name, library in allocators.items():
            summary = pathlib.Path(scratch) / name
            preload = [f"-E{key}={value}" for key, value in environment(library, workload.env).items()
                       if key == "LD_PRELOAD"]  # into the program, not into strace
            sample = launcher.run([STRACE, "-f", "-c", "-o", str(summary), *preload, *workload.argv], None,
                                  workload.env, workload.stdin, time_limit_s=STRACE_LIMIT_S)
            counts[name] = parse_strace(summary.read_text()) if sample["status"] == 0 else None
    return counts


def rss_over_time(workload, allocators, launcher):
    """One run of each allocator, its resident memory read fifty times a second: name -> points of [seconds, KiB]."""
    lines = {}
    for name, library in allocators.items():
        sample = launcher.run(workload.argv, library, workload.env, workload.stdin, workload.client,
                              watch_every_s=WATCH_EVERY_S)
        if sample["status"] == 0:
            lines[name] = sample["rss_over_time"]
    return lines


def available_mib():
    found = re.search(r"MemAvailable: *(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    return int(found.group(1)) // 1024


def idle(binary, allocators, launcher):
    """All allocators at the same time, since all they do after the first seconds is sleep."""
    size = min(IDLE_MIB, available_mib() // (2 * len(allocators)))

    def one(library):
        return launcher.run([str(binary), str(size), str(IDLE_REST_S)], library, watch_every_s=IDLE_EVERY_S,
                            time_limit_s=10 * IDLE_REST_S)

    with concurrent.futures.ThreadPoolExecutor(max_workers=len(allocators)) as pool:
        samples = dict(zip(allocators, pool.map(one, allocators.values())))
    result = {"mib": size, "seconds": IDLE_REST_S, "lines": {}, "peak_rss_kib": {}, "kept_kib": {}, "failures": {}}
    for name, sample in samples.items():
        points = sample.get("rss_over_time")
        if sample["status"] != 0 or not points:
            result["failures"][name] = f"status {sample['status']}"
            continue
        result["lines"][name] = points
        result["peak_rss_kib"][name] = sample["peak_rss_kib"]
        result["kept_kib"][name] = max(0, points[-1][1] - points[0][1])
    return result


def latency(binary, allocators, launcher, count):
    """Medians over interleaved rounds of the percentiles of single calls, in nanoseconds."""
    names = list(allocators)
    runs = {name: [] for name in names}
    failures = {}
    for round_number in range(count):
        shift = round_number % len(names)
        for name in names[shift:] + names[:shift]:
            sample = launcher.run([str(binary)], allocators[name])
            if sample["status"] == 0:
                runs[name].append(json.loads(sample["output"]))
            else:
                failures[name] = f"status {sample['status']}"
    calls = {}
    for call in ("malloc", "free"):
        calls[call] = {name: {point: statistics.median(run[call][point] for run in runs[name])
                              for point in runs[name][0][call]}
                       for name in names if runs[name] and name not in failures}
    every = [run for each in runs.values() for run in each]
    return {"calls": calls, "runs": runs, "failures": failures,
            "resolution_ns": max((run["resolution"] for run in every), default=None)}

"""Turns the samples of bench/run.py into tables on stdout; the only place where ratios are formed.

Imported by run.py and report.py. A ratio is formed within a round (the runs beside each other in time), and the median
of the rounds' ratios is shown; a mean over workloads is geometric. Invariant: a workload that failed on an allocator is
not in that allocator's mean, and the line of means says how many it holds when that is not all.
"""

import math
import statistics
import textwrap

TIME = "cpu_s"
MEMORY = "peak_rss_kib"
# Rows that a mean is taken of: the kind of the workloads and what the row is called.
MEANS = (("workload", "mean, workloads"), ("classic", "mean, classics"), ("everyday", "mean, everyday"), ("program", "mean, programs"),
         (None, "mean of all"))
# Ratios are printed with two digits: what rounds to 1.00 is not called behind.
BEHIND = 1.005


def median(report, workload, allocator, metric):
    runs = report["workloads"][workload]["samples"].get(allocator)
    return statistics.median(run[metric] for run in runs) if runs else None


def ratios(report, workload, allocator, other, metric):
    """The paired ratios allocator : other, one for each round; empty if there are none."""
    samples = report["workloads"][workload]["samples"]
    pairs = list(zip(samples.get(allocator, []), samples.get(other, [])))
    if any(divisor[metric] <= 0 for _, divisor in pairs):
        return []
    return [run[metric] / divisor[metric] for run, divisor in pairs]


def ratio(report, workload, allocator, other, metric):
    """Their median, or None."""
    found = ratios(report, workload, allocator, other, metric)
    return statistics.median(found) if found else None


def best_peer(report, workload, metric):
    """The peer with the lowest median: chosen after the fact, so comparing with it is harder than with any one peer."""
    medians = {name: median(report, workload, name, metric) for name in report["allocators"]
               if name != report["under_test"]}
    medians = {name: value for name, value in medians.items() if value is not None}
    return min(medians, key=medians.get) if medians else None


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def of_kind(report, kind):
    return [name for name, result in report["workloads"].items() if kind in (None, result["kind"])]


def mean_ratio(report, kind, allocator, metric):
    """Geometric mean of allocator : reference over the workloads of a kind, and how many it holds."""
    held = [value for name in of_kind(report, kind)
            if (value := ratio(report, name, allocator, report["reference"], metric))]
    return geometric_mean(held), len(held)


def mean_over_best(report, kind, metric):
    """Geometric mean of the one under test : the best peer of each workload, and how many it holds."""
    held = [value for name in of_kind(report, kind) if (best := best_peer(report, name, metric))
            and (value := ratio(report, name, report["under_test"], best, metric))]
    return geometric_mean(held), len(held)


def behind(report, metric):
    """Where the one under test loses to the best peer: [workload, peer, ratio, lost in every round], worst first."""
    rows = []
    for workload in report["workloads"] if report["under_test"] else []:
        best = best_peer(report, workload, metric)
        found = ratios(report, workload, report["under_test"], best, metric) if best else []
        if found and statistics.median(found) >= BEHIND:
            rows.append((workload, best, statistics.median(found), min(found) > 1))
    return sorted(rows, key=lambda row: -row[2])


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def print_head(report):
    machine = report["machine"]
    print(f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, {machine['libc']}, huge pages"
          f" {machine['huge_pages']}, load {machine['load_at_start']:.2f}")
    for name, path in report["allocators"].items():
        print(f"  {name:<10} {path}")
    print(f"{report['rounds']} rounds, interleaved; times and sizes are medians, ratios are medians of the ratios to"
          f" {report['reference']} in the same round; below 1 is better.")


def print_workload(report, workload):
    result = report["workloads"][workload]
    reference = report["reference"]
    calls = result.get("system_calls", {})
    print()
    print(textwrap.fill(f"{workload}: {result['claim']}", 118, subsequent_indent="  "))
    print(f"  {'':<10} {'cpu s':>7} {'sys s':>7} {'wall s':>7} {'ns/unit':>8} {'RSS MiB':>8} {'faults':>8}"
          f"  {'cpu':>5} {'wall':>5} {'RSS':>5}" + (f" {'syscalls':>9}" if calls else ""))
    for name in report["allocators"]:
        if name in result["failures"]:
            print(f"  {name:<10} FAILED: {result['failures'][name]}")
            continue
        cpu, rss, faults = (median(report, workload, name, metric) for metric in (TIME, MEMORY, "minor_faults"))
        each = cpu / result["units"] * 1e9 if result["units"] else None
        shown = " ".join(f"{number(ratio(report, workload, name, reference, metric)):>5}"
                         for metric in (TIME, "wall_s", MEMORY))
        counted = f" {calls[name]['all'] if calls.get(name) else '-':>9}" if calls else ""
        print(f"  {name:<10} {cpu:7.3f} {median(report, workload, name, 'sys_s'):7.3f}"
              f" {median(report, workload, name, 'wall_s'):7.3f} {number(each, 1):>8} {rss / 1024:8.1f} {faults:8.0f}"
              f"  {shown}{counted}")


def print_latency(report):
    latency = report["latency"]
    points = ("p50", "p90", "p99", "p99.9", "p99.99", "max")
    for call, rows in latency["calls"].items():
        print(f"\nlatency of single calls of {call}, ns (resolution {number(latency['resolution_ns'], 0)} ns)")
        print(f"  {'':<10} " + " ".join(f"{point:>9}" for point in points))
        for name, row in rows.items():
            print(f"  {name:<10} " + " ".join(f"{row[point]:9.0f}" for point in points))


def print_idle(report):
    idle = report["idle"]
    print(f"\nidle: {idle['mib']} MiB made and freed, then {idle['seconds']} s of sleep; MiB")
    print(f"  {'':<10} {'peak RSS':>9} {'kept':>9}")
    for name, kept in idle["kept_kib"].items():
        print(f"  {name:<10} {idle['peak_rss_kib'][name] / 1024:9.1f} {kept / 1024:9.1f}")


def print_matrix(report, metric, title):
    """A row for each workload, a column for each allocator, relative to the reference; last the one under test : best
    peer."""
    names = list(report["allocators"])
    tested = report["under_test"]
    last = f"{tested} : best peer" if tested else ""
    print(f"\n{title}, relative to {report['reference']}")
    print((f"  {'':<18}" + "".join(f"{name:>10}" for name in names) + f"   {last}").rstrip())
    for workload in report["workloads"]:
        line = f"  {workload:<18}" + "".join(
            f"{number(ratio(report, workload, name, report['reference'], metric)):>10}" for name in names)
        best = best_peer(report, workload, metric) if tested else None
        if best:
            line += f"   {number(ratio(report, workload, tested, best, metric)):>6} {best}"
        print(line)
    for kind, title in MEANS:
        if of_kind(report, kind):
            print_means(report, kind, title, metric)


def print_means(report, kind, title, metric):
    """Geometric means, each with the number of workloads it holds where that is not all of them."""
    line = f"  {title:<18}"
    total = len(of_kind(report, kind))
    missing = []
    for name in list(report["allocators"]) + ([None] if report["under_test"] else []):
        mean, held = mean_ratio(report, kind, name, metric) if name else mean_over_best(report, kind, metric)
        line += f"{number(mean):>10}" if name else f"   {number(mean):>6}"
        if held < total:
            missing.append(f"{name or 'best peer'} {held} of {total}")
    print(line + (f"   (held: {', '.join(missing)})" if missing else ""))


def print_summary(report):
    if report["workloads"]:
        print_matrix(report, TIME, "CPU time (user + system)")
        print_matrix(report, "wall_s", "Wall time")
        print_matrix(report, MEMORY, "Peak RSS")
    for metric, title in ((TIME, "CPU time"), (MEMORY, "Peak RSS")):
        rows = behind(report, metric)
        if report["under_test"] and report["workloads"]:
            print(f"\n{title}: {report['under_test']} is behind the best peer on {len(rows)} of"
                  f" {len(report['workloads'])}")
        for workload, peer, value, always in rows:
            print(f"  {workload:<18} {value:6.2f} {peer}" + ("" if always else "  (not in every round)"))
    for name, result in (*report["workloads"].items(), ("latency", report["latency"]), ("idle", report["idle"])):
        for allocator, why in (result["failures"] if result else {}).items():
            print(f"\nFAILED: {name} on {allocator}: {why}")

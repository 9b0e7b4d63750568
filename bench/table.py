"""Turns the samples of bench/run.py into tables on stdout; the only place where ratios are formed.

Imported by run.py. A ratio is formed within a round (the runs beside each other in time), and the median of the
rounds' ratios is shown; a mean over workloads is geometric. Invariant: a workload that failed on an allocator is not in
that allocator's mean, and the line of means says how many it holds when that is not all.
"""

import math
import statistics
import textwrap

TIME = "cpu_s"
MEMORY = "peak_rss_kib"


def median(report, workload, allocator, metric):
    runs = report["workloads"][workload]["samples"].get(allocator)
    return statistics.median(run[metric] for run in runs) if runs else None


def ratio(report, workload, allocator, other, metric):
    """Median of the paired ratios allocator : other, or None."""
    samples = report["workloads"][workload]["samples"]
    pairs = list(zip(samples.get(allocator, []), samples.get(other, [])))
    if not pairs or any(divisor[metric] <= 0 for _, divisor in pairs):
        return None
    return statistics.median(run[metric] / divisor[metric] for run, divisor in pairs)


def best_peer(report, workload, metric):
    """The peer with the lowest median: chosen after the fact, so comparing with it is harder than with any one peer."""
    medians = {name: median(report, workload, name, metric) for name in report["allocators"]
               if name != report["under_test"]}
    medians = {name: value for name, value in medians.items() if value is not None}
    return min(medians, key=medians.get) if medians else None


def geometric_mean(ratios):
    ratios = [value for value in ratios if value]
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


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
    print()
    print(textwrap.fill(f"{workload}: {result['claim']}", 118, subsequent_indent="  "))
    print(f"  {'':<10} {'cpu s':>7} {'sys s':>7} {'wall s':>7} {'ns/unit':>8} {'RSS MiB':>8} {'faults':>8}"
          f"  {'cpu':>5} {'wall':>5} {'RSS':>5}")
    for name in report["allocators"]:
        if name in result["failures"]:
            print(f"  {name:<10} FAILED: {result['failures'][name]}")
            continue
        cpu, rss, faults = (median(report, workload, name, metric) for metric in (TIME, MEMORY, "minor_faults"))
        each = cpu / result["units"] * 1e9 if result["units"] else None
        ratios = " ".join(f"{number(ratio(report, workload, name, reference, metric)):>5}"
                          for metric in (TIME, "wall_s", MEMORY))
        print(f"  {name:<10} {cpu:7.3f} {median(report, workload, name, 'sys_s'):7.3f}"
              f" {median(report, workload, name, 'wall_s'):7.3f} {number(each, 1):>8} {rss / 1024:8.1f} {faults:8.0f}"
              f"  {ratios}", flush=True)


def print_matrix(report, metric, title):
    """One row a workload, one column an allocator, each relative to the reference; then the one under test : best peer."""
    names = list(report["allocators"])
    tested = report["under_test"]
    last = f"{tested} : best peer" if tested else ""
    print(f"\n{title}, relative to {report['reference']}")
    print((f"  {'':<18}" + "".join(f"{name:>10}" for name in names) + f"   {last}").rstrip())
    rows = {}  # workload -> allocator -> ratio; None stands for the one under test against the best peer
    for workload in report["workloads"]:
        row = {name: ratio(report, workload, name, report["reference"], metric) for name in names}
        line = f"  {workload:<18}" + "".join(f"{number(row[name]):>10}" for name in names)
        best = best_peer(report, workload, metric) if tested else None
        if best:
            row[None] = ratio(report, workload, tested, best, metric)
            line += f"   {number(row[None]):>6} {best}"
        print(line)
        rows[workload] = row
    for kind, title in (("workload", "mean, workloads"), ("program", "mean, programs"), (None, "mean of all")):
        chosen = [row for workload, row in rows.items() if kind in (None, report["workloads"][workload]["kind"])]
        print_means(chosen, names, title, bool(tested))


def print_means(rows, names, title, tested):
    """Geometric means, each with the number of workloads it holds where that is not all of them."""
    line = f"  {title:<18}"
    missing = []
    for name in names + ([None] if tested else []):
        held = [row[name] for row in rows if row.get(name)]
        line += f"{number(geometric_mean(held)):>10}" if name else f"   {number(geometric_mean(held)):>6}"
        if len(held) < len(rows):
            missing.append(f"{name or 'best peer'} {len(held)} of {len(rows)}")
    print(line + (f"   (held: {', '.join(missing)})" if missing else ""))


def print_summary(report):
    print_matrix(report, TIME, "CPU time (user + system)")
    print_matrix(report, "wall_s", "Wall time")
    print_matrix(report, MEMORY, "Peak RSS")
    for workload, result in report["workloads"].items():
        for name, why in result["failures"].items():
            print(f"\nFAILED: {workload} on {name}: {why}")

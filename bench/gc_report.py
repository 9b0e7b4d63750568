#!/usr/bin/env python3
"""Writes the samples of bench/gc.py as one HTML page with plots: times, peaks, and how long pauses were.

Called by gc.py, or by hand on the samples of an earlier run: gc_report.py SAMPLES.json [DIRECTORY]. Invariant: the page
is one file that needs nothing else (no network, no script), and every plot has its numbers beside it.
"""

import html
import statistics

import plot
import report

COLOURS = {"warren": report.COLOURS["warren"], "boehm": ("#1d4ed8", "#60a5fa"), "boehm-incremental": ("#0e7490", "#22d3ee"),
           "go": ("#047857", "#34d399"), "malloc": ("#737373", "#a3a3a3"), "malloc-of-warren": ("#a16207", "#facc15")}
POINTS = ("p50", "p99", "p99.9", "p99.99", "max")
PAUSES = {
    "late": "How late a thread woke that sleeps 100 us at a time and does nothing else: what the whole program felt.",
    "operation": "What one step of a thread took that changes pointers and allocates: what the collector asks of who allocates.",
}
SLOWDOWN = [("marking_share", "of the time with cycles, marking", lambda share: f"{share:.0%}"),
            ("step_ratio", "a step's time with cycles, in parts of its time without", lambda ratio: f"{ratio:.2f}"),
            ("step_cpu_ratio", "the same of processor time", lambda ratio: f"{ratio:.2f}"),
            ("forced_cpu_ratio", "the same in cycles that another thread asks for", lambda ratio: f"{ratio:.2f}"),
            ("store_ns", "a store to a page in the cache, ns", lambda ns: f"{ns:.0f}"),
            ("first_store_ns", "the first store to a watched page, ns", lambda ns: f"{ns:.0f}")]
FLOOR_NS = 1000  # below that a pause is none


def class_of(name):
    return name.replace(",", "").replace(" ", "-")


def value(runs, metric):
    values = [run[metric] for run in runs if metric in run]
    if not values:
        return None
    return max(values) if "_max_" in metric else statistics.median(values)


def bars(samples, metric, factor, unit, title):
    rows = [(class_of(name), value(runs, metric) * factor) for name, runs in samples.items() if runs]
    return f"<div><h3>{html.escape(title)}</h3>{plot.size_bars(rows, unit, title)}</div>"


def pauses(samples, who, title):
    series = {}
    for name, runs in samples.items():
        row = {point: value(runs, f"{who}_{point}_ns") for point in POINTS}
        if all(ns is not None for ns in row.values()):
            series[class_of(name)] = row
    if not series:
        return ""
    head = ["microseconds", *POINTS]
    rows = [[name, *(f"{row[point] / 1e3:.1f}" for point in POINTS)] for name, row in series.items()]
    return (f"<h3>{html.escape(PAUSES[who])}</h3>"
            + report.side_by_side(plot.percentile_curves(series, f"{title}: {who}", FLOOR_NS), report.table_of(head, rows, None)))


def slowdown(samples):
    rows = [[what, *(shown(value(runs, metric)) for runs in samples.values())] for metric, what, shown in SLOWDOWN
            if all(value(runs, metric) is not None for runs in samples.values())]
    return report.table_of(["what marking costs", *map(class_of, samples)], rows, None) if rows and samples else ""


def program_section(title, result):
    samples = {name: runs for name, runs in result["samples"].items() if runs}
    parts = [f"<h2>{html.escape(title)}</h2>",
             report.side_by_side(bars(samples, "wall_s", 1, "s", "Time"),
                                 bars(samples, "peak_rss_kib", 1 / 1024, "MiB", "Peak memory"))]
    parts += [pauses(samples, who, title) for who in PAUSES]
    parts.append(slowdown(samples))
    parts += [f"<p>{html.escape(f'{name}: {why}')}</p>" for name, why in result["failures"].items()]
    return "\n".join(parts)


def page(samples):
    names = sorted({class_of(name) for result in samples["programs"].values() for name in result["samples"]})
    intro = (f"<h1>Collectors, side by side</h1><p>{samples['rounds']} rounds, interleaved; medians, of maxima the greatest.</p>"
             + report.key(names))
    sections = [intro] + [program_section(title, result) for title, result in samples["programs"].items()]
    return report.whole_page("Collectors, side by side", report.style(names, COLOURS), sections)


def write(samples, directory):
    return report.write_files(directory, "gc.html", page(samples), "gc-samples.json", samples)


if __name__ == "__main__":
    report.by_hand(write)

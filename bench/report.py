#!/usr/bin/env python3
"""Writes the samples of bench/run.py as one HTML page with plots, in bench/report/.

Called by run.py, or by hand on the samples of an earlier run: report.py SAMPLES.json [DIRECTORY]. Invariant: the page
is one file that needs nothing else (no network, no script), and every plot has its numbers beside it.
"""

import html
import json
import pathlib
import sys

import plot
import table

# Light ground, dark ground. The first is the allocator under test; names not listed get the last.
COLOURS = {"warren": ("#c2410c", "#fb923c"), "glibc": ("#737373", "#a3a3a3"), "jemalloc": ("#1d4ed8", "#60a5fa"),
           "mimalloc": ("#047857", "#34d399"), "tcmalloc": ("#a21caf", "#e879f9"), "snmalloc": ("#a16207", "#facc15")}
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c1c1c; --faint: #777; --grid: #ddd; --stripe: #f5f5f3;
  LIGHT }
@media (prefers-color-scheme: dark) { :root { --ground: #161616; --ink: #e6e6e6; --faint: #999; --grid: #383838;
  --stripe: #202020; DARK } }
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 1400px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid var(--grid); }
h3 { font-size: 1rem; margin-bottom: 0.3rem; } p, li { max-width: 80ch; } .faint, .note { color: var(--faint); }
.side { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
td, th { padding: 1px 9px; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
thead th { border-bottom: 1px solid var(--faint); } tbody tr:nth-child(even) { background: var(--stripe); }
tr.mean td { font-weight: 600; } td.tested { font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); } .grid { stroke: var(--grid); }
.axis { stroke: var(--ink); } .whisker { stroke: var(--ink); stroke-width: 1; opacity: 0.55; }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.35em 0 1em; border-radius: 2px; }
"""


def style(names, colours=COLOURS):
    fallback = list(colours.values())[-1]
    sheet = STYLE
    for place, index in (("LIGHT", 0), ("DARK", 1)):
        sheet = sheet.replace(place, " ".join(f"--{name}: {colours.get(name, fallback)[index]};" for name in names))
    for name in names:
        sheet += (f".fill-{name} {{ fill: var(--{name}); background: var(--{name}); }} .line-{name} {{ stroke:"
                  f" var(--{name}); }} svg .text-{name} {{ fill: var(--{name}); }}\n")
    return sheet


def table_of(head, rows, tested=None):
    """rows: lists of cells; a row whose first cell starts with "mean" is set off."""
    column = head.index(tested) if tested in head else None

    def cells(row):
        return "".join(f'<td{" class=tested" if i == column else ""}>{html.escape(str(cell))}</td>'
                       for i, cell in enumerate(row))

    lines = [f'<tr{" class=mean" if str(row[0]).startswith("mean") else ""}>{cells(row)}</tr>' for row in rows]
    return ('<div class="scroll"><table><thead><tr>' + "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
            + "</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>")


def key(names):
    return "<p>" + "".join(f'<span class="key fill-{name}"></span>{name}' for name in names) + "</p>"


def side_by_side(*parts):
    return '<div class="side">' + "\n".join(parts) + "</div>"


def summary(report):
    names = list(report["allocators"])
    rows = []
    for kind, title in table.MEANS:
        for metric, what in ((table.TIME, "CPU time"), ("wall_s", "wall time"), (table.MEMORY, "peak RSS")):
            if not table.of_kind(report, kind):
                continue
            row = [f"{title.replace('mean', what, 1)} ({len(table.of_kind(report, kind))})"]
            row += [table.number(table.mean_ratio(report, kind, name, metric)[0]) for name in names]
            if report["under_test"]:
                row.append(table.number(table.mean_over_best(report, kind, metric)[0]))
            rows.append(row)
    head = [f"geometric mean, over {report['reference']}", *names]
    if report["under_test"]:
        head.append(f"{report['under_test']} : best peer")
    return "<h2>Summary</h2>" + table_of(head, rows, report["under_test"]) + (
        '<p class="note">Below 1 is better. A ratio is formed between two runs of the same round; the median of the'
        " rounds counts. The best peer is chosen for each workload afterwards, by its lowest median: no single"
        " allocator is that good at everything.</p>")


def behind(report):
    tested = report["under_test"]
    if not tested:
        return ""
    parts = [f"<h2>Where {tested} is behind the best peer</h2>"]
    for metric, title in ((table.TIME, "CPU time"), (table.MEMORY, "Peak RSS")):
        rows = table.behind(report, metric)
        parts.append(f"<h3>{title}: behind on {len(rows)} of {len(report['workloads'])}</h3>")
        if rows:
            parts.append("<ul>" + "".join(
                f"<li>{name}: {value:.2f} × {peer}{'' if always else ' <span class=faint>(not in every round)</span>'}"
                "</li>" for name, peer, value, always in rows) + "</ul>")
    return "\n".join(parts)


def ratios_section(report, metric, title):
    names = list(report["allocators"])
    reference, tested = report["reference"], report["under_test"]
    drawn = [name for name in names if name != reference]
    bars, rows = [], []
    for workload in report["workloads"]:
        values = {name: found for name in drawn
                  if (found := table.ratios(report, workload, name, reference, metric))}
        bars.append((workload, {name: (table.ratio(report, workload, name, reference, metric), min(found), max(found))
                                for name, found in values.items()}))
        shown = table.median(report, workload, reference, metric)
        scale, digits = (1 / 1024, 1) if metric == table.MEMORY else (1, 3)
        row = [workload, table.number(shown * scale if shown is not None else None, digits)]
        row += [table.number(table.ratio(report, workload, name, reference, metric)) for name in drawn]
        if tested:
            best = table.best_peer(report, workload, metric)
            row.append(f"{table.number(table.ratio(report, workload, tested, best, metric))} {best}" if best else "-")
        rows.append(row)
    unit = "MiB" if metric == table.MEMORY else "s"
    head = ["workload", f"{reference}, {unit}", *drawn] + ([f"{tested} : best peer"] if tested else [])
    return (f"<h2>{title}, relative to {reference}</h2>" + key(drawn)
            + '<p class="note">Bars to the left of 1 are better; thin lines reach from the lowest to the highest'
              " round.</p>"
            + side_by_side(plot.ratio_bars(bars, drawn, title), table_of(head, rows, tested)))


def in_mib(points):
    return [(seconds, kib / 1024) for seconds, kib in points]


def memory_section(report):
    parts = []
    idle = report.get("idle")
    if idle and idle["lines"]:
        head = ["", "peak RSS, MiB", "kept, MiB"]
        rows = [[name, f"{idle['peak_rss_kib'][name] / 1024:.1f}", f"{kept / 1024:.1f}"]
                for name, kept in idle["kept_kib"].items()]
        parts.append(f"<h2>Memory after idle</h2><p>{idle['mib']} MiB made in mixed sizes, written, all freed; then the"
                     f" program sleeps for {idle['seconds']} s. Kept is what is resident at the end beyond what was at"
                     " the start. All allocators ran at the same time.</p>")
        parts.append(side_by_side(
            plot.size_bars([(name, kept / 1024) for name, kept in idle["kept_kib"].items()], "MiB", "kept after idle"),
            table_of(head, rows)))
        parts.append("<h3>Resident memory over time</h3>" + plot.time_lines(
            {name: in_mib(points) for name, points in idle["lines"].items()}, "resident memory, idle", width=900))
    for workload, lines in report.get("rss_over_time", {}).items():
        series = {name: in_mib(points) for name, points in lines.items() if points}
        if not series:
            continue
        rows = [[name, f"{max(y for _, y in points):.1f}", f"{sum(y for _, y in points) / len(points):.1f}"]
                for name, points in series.items()]
        parts.append(f"<h2>Resident memory over time: {workload}</h2>" + side_by_side(
            plot.time_lines(series, f"resident memory, {workload}"),
            table_of(["", "highest, MiB", "mean over time, MiB"], rows)))
    return "\n".join(parts)


def latency_section(report):
    latency = report.get("latency")
    if not latency or not any(latency["calls"].values()):
        return ""
    resolution = latency["resolution_ns"] or 1.0
    parts = ["<h2>Latency of single calls</h2>",
             f"<p>Medians over the rounds; the clock of this machine tells {resolution:.0f} ns apart, so differences"
             " below that say nothing. The last points (p99.999, max) hold the times when the thread was not running,"
             " too.</p>"]
    shown = ("p50", "p90", "p99", "p99.9", "p99.99", "max")
    for call, series in latency["calls"].items():
        rows = [[name, *(f"{row[point]:.0f}" for point in shown)] for name, row in series.items()]
        parts.append(f"<h3>{call}</h3>" + side_by_side(
            plot.percentile_curves(series, f"latency of {call}", resolution), table_of(["ns", *shown], rows)))
    return "\n".join(parts)


def kernel_section(report):
    names = list(report["allocators"])
    parts = ["<h2>Page faults</h2>", '<p class="note">Minor faults, medians.</p>']
    rows = [[workload, *(table.number(table.median(report, workload, name, "minor_faults"), 0) for name in names)]
            for workload in report["workloads"]]
    parts.append(table_of(["workload", *names], rows, report["under_test"]))
    counted = {workload: result["system_calls"] for workload, result in report["workloads"].items()
               if result.get("system_calls")}
    if counted:
        rows = []
        for workload, calls in counted.items():
            row = [f"{calls[name]['all']} / {calls[name]['memory']}" if calls.get(name) else "-" for name in names]
            rows.append([workload, *row])
        parts.append("<h2>System calls</h2>"
                     '<p class="note">All / about memory (mmap, munmap, mremap, madvise, brk, mprotect), one run under'
                     " strace, start-up included; - is a run that did not end in time.</p>")
        parts.append(table_of(["workload", *names], rows, report["under_test"]))
    return "\n".join(parts)


def claims_section(report):
    items = "".join(f"<li><b>{html.escape(name)}</b>: {html.escape(result['claim'])}</li>"
                    for name, result in report["workloads"].items())
    return f"<h2>What each workload claims</h2><ul>{items}</ul>"


def failures_section(report):
    parts = [*report["workloads"].items(), ("latency", report.get("latency")), ("idle", report.get("idle"))]
    items = "".join(f"<li>{html.escape(f'{name} on {allocator}: {why}')}</li>" for name, result in parts if result
                    for allocator, why in result["failures"].items())
    return f"<h2>Failed</h2><ul>{items}</ul>" if items else ""


def head_section(report):
    machine = report["machine"]
    libraries = "".join(f"<li>{html.escape(name)}: {html.escape(path)}</li>"
                        for name, path in report["allocators"].items())
    conf = f" WARREN_CONF={html.escape(machine['warren_conf'])}." if machine["warren_conf"] else ""
    return (f"<h1>malloc, side by side</h1><p>{html.escape(machine['cpu'])}, {machine['cpus']} CPUs, Linux"
            f" {html.escape(machine['kernel'])}, {html.escape(machine['libc'])}, huge pages"
            f" {html.escape(machine['huge_pages'])}, load at the start {machine['load_at_start']:.2f};"
            f" {report['rounds']} rounds, interleaved.{conf}</p><ul class=faint>{libraries}</ul>")


def whole_page(title, sheet, sections):
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{sheet}</style></head>\n<body>\n" + "\n".join(sections) + "\n</body></html>\n")


def page(report):
    sections = [head_section(report), failures_section(report)]
    if report["workloads"]:
        sections += [summary(report), behind(report), ratios_section(report, table.TIME, "CPU time"),
                     ratios_section(report, table.MEMORY, "Peak RSS")]
    sections += [latency_section(report), memory_section(report)]
    if report["workloads"]:
        sections += [kernel_section(report), claims_section(report)]
    return whole_page("malloc, side by side", style(report["allocators"]), sections)


def write_files(directory, page_name, text, samples_name, samples):
    """Writes a page and beside it the samples it was made of; returns the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / samples_name).write_text(json.dumps(samples, indent=1) + "\n")
    path = directory / page_name
    path.write_text(text)
    return path


def write(report, directory):
    return write_files(directory, "index.html", page(report), "samples.json", report)


def by_hand(write_page):
    """What report.py and gc_report.py do as commands."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {pathlib.Path(sys.argv[0]).name} SAMPLES.json [DIRECTORY]")
    directory = sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).parent / "report"
    print(write_page(json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(directory)))


if __name__ == "__main__":
    by_hand(write)

"""Draws the plots of the report as SVG text: bars of ratios, bars of sizes, lines over time, percentile curves.

Imported by report.py. Colours are classes (fill-NAME, line-NAME) that the page's style sheet defines for a light and a
dark ground; NAME is an allocator's. Invariant: what a plot shows is also readable without colour: every mark has a
title that names it and its value.
"""

import html
import math

FONT = 12
ROW = 11       # height of one bar
LABELS = 130   # room for the names of rows on the left


def text(x, y, content, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{html.escape(str(content))}</text>'


def line(x1, y1, x2, y2, kind="grid"):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def svg(width, height, parts, title):
    body = "\n".join(parts)
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
            f' aria-label="{html.escape(title)}" font-size="{FONT}">\n{body}\n</svg>')


def ratio_bars(rows, names, title, limit=4.0, width=560):
    """rows: [(workload, {name: (median, lowest, highest)})]; log scale around 1, a whisker from lowest to highest.

    What is beyond `limit` is cut there; an arrow and the value stand across the axis.
    """
    left, right, top = LABELS, 50, 24
    scale = (width - left - right) / (2 * math.log2(limit))

    def place(value):
        return left + (min(max(math.log2(value), -math.log2(limit)), math.log2(limit)) + math.log2(limit)) * scale

    height = top + len(rows) * (len(names) * ROW + 8) + 8
    parts = []
    tick = 1 / limit
    while tick <= limit:
        parts.append(line(place(tick), top - 4, place(tick), height - 6, "axis" if tick == 1 else "grid"))
        parts.append(text(place(tick), top - 9, f"{tick:g}", "middle"))
        tick *= 2
    y = top
    for workload, values in rows:
        parts.append(text(left - 8, y + len(names) * ROW / 2 + FONT / 3, workload, "end"))
        for name in names:
            if name in values:
                median, lowest, highest = values[name]
                start, end = sorted((place(1), place(median)))
                parts.append(f'<rect class="fill-{name}" x="{start:.1f}" y="{y + 1}"'
                             f' width="{max(end - start, 1.5):.1f}" height="{ROW - 2}"><title>{workload}, {name}:'
                             f' {median:.2f} ({lowest:.2f} to {highest:.2f})</title></rect>')
                parts.append(line(place(lowest), y + ROW / 2, place(highest), y + ROW / 2, "whisker"))
                if not 1 / limit <= median <= limit:  # beside the bar, where it is free
                    shown = f"{median:.1f} ▸" if median > 1 else f"◂ {median:.2f}"
                    parts.append(text(place(1) + (-4 if median > 1 else 4), y + ROW - 1.5, shown,
                                      "end" if median > 1 else "start", f'font-size="{FONT - 2}"'))
            y += ROW
        y += 8
    return svg(width, height, parts, title)


def room_for(names, least=80):
    """Width that the longest of the names needs."""
    return max([least, *(16 + len(name) * FONT * 0.62 for name in names)])


def size_bars(rows, unit, title, width=620):
    """rows: [(name, value)]; plain bars from zero, the value at the end."""
    left, right, height_each = room_for(name for name, _ in rows), 90, 24
    longest = max((value for _, value in rows), default=0) or 1
    parts = []
    for i, (name, value) in enumerate(rows):
        y = i * height_each + 4
        length = value / longest * (width - left - right)
        parts.append(text(left - 8, y + 13, name, "end"))
        parts.append(f'<rect class="fill-{name}" x="{left}" y="{y}" width="{max(length, 1.5):.1f}" height="16">'
                     f'<title>{name}: {value:.1f} {unit}</title></rect>')
        parts.append(text(left + length + 6, y + 13, f"{value:.1f} {unit}"))
    return svg(width, len(rows) * height_each + 8, parts, title)


def step_of(highest, ticks=5):
    """A round distance (1, 2 or 5 times a power of ten) between about `ticks` ticks up to `highest`."""
    raw = max(highest, 1e-9) / ticks
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def name_the_ends(ends, x, lowest_y):
    """Names beside the ends of lines, moved apart where they would lie on each other. ends: [(y, name)]."""
    parts, last = [], -math.inf
    ends = sorted(ends)
    for i, (y, name) in enumerate(ends):
        y = max(min(y, lowest_y - (len(ends) - 1 - i) * FONT), last + FONT)
        parts.append(text(x + 6, y + FONT / 3, name, "start", f'class="text-{name}"'))
        last = y
    return parts


def time_lines(series, title, width=620, height=280):
    """series: {name: [(seconds, MiB)]}."""
    left, right, top, bottom = 56, 74, 14, 36
    last = max((points[-1][0] for points in series.values()), default=1) or 1
    highest = max((value for points in series.values() for _, value in points), default=1) or 1

    def x_of(seconds):
        return left + seconds / last * (width - left - right)

    def y_of(value):
        return height - bottom - value / highest * (height - top - bottom)

    parts = []
    for step, limit, vertical in ((step_of(last, 8), last, True), (step_of(highest), highest, False)):
        for i in range(int(limit / step + 1e-9) + 1):
            value = i * step
            if vertical:
                parts.append(text(x_of(value), height - bottom + 16, f"{value:g}", "middle"))
                parts.append(line(x_of(value), height - bottom, x_of(value), height - bottom + 4))
            else:
                parts.append(line(left, y_of(value), width - right, y_of(value)))
                parts.append(text(left - 6, y_of(value) + 4, f"{value:g}", "end"))
    parts.append(text((left + width - right) / 2, height - 4, "seconds since the start", "middle"))
    parts.append(text(4, top - 2, "MiB"))
    ends = []
    for name, points in series.items():
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="line-{name}" points="{path}"><title>{name}: at most'
                     f' {max(y for _, y in points):.0f}, at the end {points[-1][1]:.0f} MiB</title></polyline>')
        ends.append((y_of(points[-1][1]), name))
    return svg(width, height, parts + name_the_ends(ends, width - right, height - bottom), title)


def percentile_curves(series, title, floor_ns, width=620, height=320):
    """series: {name: {"p50": ns, ..., "max": ns}}. Both axes are logarithmic: x is how rare a call is, y its time.

    Times below floor_ns (what the clock can tell apart) are drawn at floor_ns.
    """
    left, right, top, bottom = 66, room_for(series, 74), 14, 36
    rarest = 5.6  # where "max" stands: one step beyond 1 in 100,000
    floor_ns = max(floor_ns, 1.0)

    def rarity(point):
        return rarest if point == "max" else -math.log10(max(1 - float(point[1:]) / 100, 1e-9))

    highest = math.ceil(math.log10(max((max(row.values()) for row in series.values()), default=10)))
    lowest = math.floor(math.log10(floor_ns) + 1e-9)

    def x_of(point):
        return left + (rarity(point) - 0.3) / (rarest - 0.3) * (width - left - right)

    def y_of(ns):
        span = math.log10(max(ns, floor_ns)) - lowest
        return height - bottom - span / max(highest - lowest, 1) * (height - top - bottom)

    parts = []
    for point in ("p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max"):
        parts.append(line(x_of(point), top, x_of(point), height - bottom))
        parts.append(text(x_of(point), height - bottom + 16, point, "middle"))
    for power in range(lowest, highest + 1):
        value = 10.0 ** power
        unit, factor = next(each for each in (("s", 9), ("ms", 6), ("µs", 3), ("ns", 0)) if power >= each[1])
        label = f"{value / 10 ** factor:g} {unit}"
        parts.append(line(left, y_of(value), width - right, y_of(value)))
        parts.append(text(left - 6, y_of(value) + 4, label, "end"))
    ends = []
    for name, row in series.items():
        path = " ".join(f"{x_of(point):.1f},{y_of(ns):.1f}" for point, ns in row.items())
        parts.append(f'<polyline class="line-{name}" points="{path}"/>')
        parts += [f'<circle class="fill-{name}" cx="{x_of(point):.1f}" cy="{y_of(ns):.1f}" r="3">'
                  f'<title>{name} {point}: {ns:.0f} ns</title></circle>' for point, ns in row.items()]
        ends.append((y_of(row["max"]), name))
    return svg(width, height, parts + name_the_ends(ends, width - right, height - bottom), title)

"""Which size classes fill which parts of the arena: as text, and as a picture.

Callers: heap_view.py.  Invariant: a cell stands for the same number of bytes everywhere in one map, and every byte of every
span is counted in exactly one cell.
"""

LEAST_CELL = 64 << 10
TEXT_CELLS = 64 * 32
PICTURE_CELLS = 96 * 48
# By what fills most of a cell. Large objects, size classes from small to big in four groups, the collector's.
GROUPS = (("tiny", "8 to 64 bytes"), ("small", "80 to 1,024 bytes"), ("medium", "1,152 to 8,192 bytes"),
          ("big", "9,472 to 32,768 bytes"), ("large", "above 32 KiB"), ("gc", "collected, small"), ("gclarge", "collected, large"))
FREE, OBJECTS, LARGE, COLLECTED, RELEASING, HOLE = range(6)


def group_of(span, classes):
    _, _, _, _, state, size_class, *_ = span
    if state == COLLECTED:
        return 5 if size_class else 6
    if state == LARGE:
        return 4
    size = classes[size_class]
    return 0 if size <= 64 else 1 if size <= 1024 else 2 if size <= 8192 else 3


class Cell:
    __slots__ = ("inside", "used", "free", "released", "by_group")

    def __init__(self):
        self.inside = self.used = self.free = self.released = 0
        self.by_group = {}


class OccupancyMap:
    def __init__(self, heap, most_cells):
        self.start = heap.facts["arena_start"]
        total = heap.facts["arena_bytes"]
        self.cell_bytes = LEAST_CELL
        while total > self.cell_bytes * most_cells:
            self.cell_bytes *= 2
        self.cells = [Cell() for _ in range(-(-total // self.cell_bytes))]
        page = heap.facts["page_bytes"]
        for span in heap.spans:
            start, pages, _, objects, state, size_class, released, *_ = span
            size = pages * page
            fill, group = 0.0, None
            if state in (OBJECTS, LARGE, COLLECTED):
                fill = objects * heap.classes[size_class] / size if size_class else float(objects)
                group = group_of(span, heap.classes)
            at, end = start - self.start, start - self.start + size
            while at < end:
                cell = self.cells[at // self.cell_bytes]
                part = min(end, (at // self.cell_bytes + 1) * self.cell_bytes) - at
                at += part
                if state == HOLE:
                    continue
                cell.inside += part
                cell.used += part * min(fill, 1.0)
                if group is None:
                    cell.free += part
                    cell.released += part if released else 0
                else:
                    cell.by_group[group] = cell.by_group.get(group, 0) + part

    @staticmethod
    def main_group(cell):
        return max(cell.by_group, key=cell.by_group.get) if cell.by_group else None

    def text(self, width=64):
        lines = [f"occupancy: one character for {size_text(self.cell_bytes)}, {size_text(self.cell_bytes * width)} a line; "
                 "the letter says what fills most of it, upper case above half full"]
        lines.append("  " + "  ".join(f"{letter} {text}" for letter, (_, text) in zip("tsmblcg", GROUPS)) + "  . free  _ given back")
        row = []
        for i, cell in enumerate(self.cells):
            group = self.main_group(cell)
            if group is not None:
                letter = "tsmblcg"[group]
                row.append(letter.upper() if cell.used * 2 > cell.inside else letter)
            else:
                row.append(" " if not cell.inside else "_" if cell.released * 2 > cell.free else ".")
            if len(row) == width or i == len(self.cells) - 1:
                lines.append(f"  {self.start + (i + 1 - len(row)) * self.cell_bytes:#014x}  {''.join(row)}")
                row = []
        return collapse(lines)

    def svg(self, width=96, styled=True):
        size, gap = 9, 1
        step = size + gap
        rows = -(-len(self.cells) // width)
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" class="map" viewBox="0 0 {width * step} {max(rows, 1) * step}" role="img" '
               f'aria-label="Occupancy of the arena">']
        if styled:
            out.append(f"<style>{SVG_STYLE}</style>")
        for i, cell in enumerate(self.cells):
            if not cell.inside:
                continue
            group = self.main_group(cell)
            fill = cell.used / cell.inside
            if group is not None:
                style, opacity = GROUPS[group][0], 0.25 + 0.75 * fill
                what = GROUPS[group][1]
            else:
                style, opacity, what = ("released", 1, "given back") if cell.released * 2 > cell.free else ("free", 1, "free")
            low = self.start + i * self.cell_bytes
            out.append(f'<rect class="{style}" x="{i % width * step}" y="{i // width * step}" width="{size}" height="{size}" rx="1.5"'
                       + (f' opacity="{opacity:.2f}"' if opacity < 1 else "")
                       + f"><title>{low:#x}: {what}, {fill:.0%} live</title></rect>")
        out.append("</svg>")
        return "\n".join(out)


SVG_STYLE = """
.map .tiny{fill:#2f6db5}.map .small{fill:#3a9d8f}.map .medium{fill:#7fae3c}.map .big{fill:#d9a514}.map .large{fill:#d4663a}
.map .gc{fill:#9a5fb4}.map .gclarge{fill:#c2568f}.map .free{fill:#c9c9c4}.map .released{fill:#e9e9e5}
@media (prefers-color-scheme:dark){.map .free{fill:#4b4b50}.map .released{fill:#2c2c30}}
"""


def collapse(lines):
    """Rows that look like the one before are said once."""
    out, skipped = [], 0
    for line in lines:
        if out and line.split("  ", 2)[2:] == out[-1].split("  ", 2)[2:] and line.startswith("  0x"):
            skipped += 1
            continue
        if skipped:
            out[-1] += f"   (and {skipped} more like it)"
            skipped = 0
        out.append(line)
    if skipped:
        out[-1] += f"   (and {skipped} more like it)"
    return "\n".join(out)


def size_text(size):
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            value = size / (1 << shift)
            return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"
    return f"{size:.0f} B"

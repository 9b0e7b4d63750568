#!/usr/bin/env python3
"""Shows what a heap dump says: who holds the memory, what retains an object, what fills the arena.

Called by `./warren heap`; python3 heap_view.py --help.  Python 3.9, standard library only.
Invariant: sizes are of whole blocks, as the allocator rounds them; every live object is counted once in each table.
"""

import argparse
import datetime
import heapq
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from dominators import Dominators  # noqa: E402
from heap_file import KIND_NAMES, HeapFile, NotADump  # noqa: E402
from occupancy import GROUPS, PICTURE_CELLS, SVG_STYLE, TEXT_CELLS, OccupancyMap, size_text  # noqa: E402

NOBODY = "held by nothing that was found"
PAGE_NODES = 20000       # of the tree in the page: some 2 MB
PAGE_CHILDREN = 200      # of one node in the page
AGES = [(limit * 10 ** 9, text) for limit, text in (
    (1, "younger than 1 s"), (10, "1 to 10 s"), (60, "10 s to 1 min"), (600, "1 to 10 min"), (3600, "10 min to 1 h"),
    (86400, "1 h to 1 d"), (float("inf"), "older than 1 d"))]


class HeapView:
    def __init__(self, heap):
        self.heap = heap
        self.holder_names, rows = heap.holders()
        holder_edges = [[] for _ in self.holder_names]
        self.root_words = {}
        for holder, number, address in rows:
            holder_edges[holder].append(number)
            self.root_words.setdefault((holder, number), address)
        self.tree = Dominators(heap.edge_counts, heap.edges, heap.sizes, holder_edges)
        self.total = sum(heap.sizes) * 8

    # --- words for nodes ---

    def is_object(self, node):
        return node < len(self.heap)

    def name(self, node):
        if self.is_object(node):
            return f"{self.heap.addresses[node]:#x}  {size_text(self.heap.size(node))} {KIND_NAMES[self.heap.kinds[node]]}"
        if node == self.tree.nobody:
            return NOBODY
        if node == self.tree.root:
            return "everything"
        return self.holder_names[node - len(self.heap)]

    def retained(self, node):
        units, objects = self.tree.retained_by(node)
        return units * 8, objects

    def holders(self):
        """(node, bytes, objects), those that retain most first: variables, threads, fibers, and what several of them share."""
        rows = [(node, *self.retained(node)) for node in self.tree.children(self.tree.root) if not self.is_object(node)]
        return sorted(rows, key=lambda row: -row[1])

    def shared(self):
        """(bytes, objects) that no single holder retains."""
        rows = [self.retained(node) for node in self.tree.children(self.tree.root) if self.is_object(node)]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def largest(self, count):
        """Objects that retain most; not those to which another such object hands on nearly all that it retains."""
        retained, order, dominator = self.tree.retained, self.tree.order, self.tree.dominator
        objects = len(self.heap)

        def is_head(number):
            above = dominator[number]
            return order[number] < objects and (order[above] >= objects or retained[number] * 5 < retained[above] * 4)

        best = heapq.nlargest(count, filter(is_head, range(1, len(order))), key=retained.__getitem__)
        return [order[number] for number in best]

    def by_class(self):
        """(bytes, count, object size or 0 for large ones, kind), most bytes first."""
        largest = max(self.heap.classes) // 8
        counts = {}
        for size, kind in zip(self.heap.sizes, self.heap.kinds):
            key = (size if size <= largest else 0, kind)
            row = counts.get(key)
            if row is None:
                counts[key] = [size, 1]
            else:
                row[0] += size
                row[1] += 1
        return sorted(((units * 8, count, size * 8, kind) for (size, kind), (units, count) in counts.items()), reverse=True)

    def by_stack(self):
        """(bytes, allocations, age of the youngest, of the oldest, frames) that live, as the samples estimate them; most bytes first."""
        sums = {}
        for stack, asked, weight, age in self.heap.samples.values():
            row = sums.setdefault(stack, [0.0, 0.0, age, age])
            row[0] += asked * weight
            row[1] += weight
            row[2] = min(row[2], age)
            row[3] = max(row[3], age)
        return sorted(((*row, self.heap.frames(stack)) for stack, row in sums.items()), key=lambda row: -row[0])

    def by_age(self):
        """(bytes, allocations, words for the age) that live, as the samples estimate them; the youngest first."""
        sums = {}
        for _, asked, weight, age in self.heap.samples.values():
            row = sums.setdefault(next(i for i, (limit, _) in enumerate(AGES) if age < limit), [0.0, 0.0])
            row[0] += asked * weight
            row[1] += weight
        return [(*sums[i], AGES[i][1]) for i in sorted(sums)]

    def when(self):
        return datetime.datetime.fromtimestamp(self.heap.facts["unix_ns"] / 1e9).strftime("%Y-%m-%d %H:%M:%S")

    # --- text ---

    def summary(self, top):
        heap = self.heap
        command = " ".join(heap.command) or "?"
        nobody, nobody_objects = self.retained(self.tree.nobody)
        yield f"heap of {command}, process {heap.facts['process']}, {self.when()}"
        yield f"  {len(heap):,} objects, {size_text(self.total)} live, {len(heap.edges):,} references between them"
        if nobody_objects:
            yield f"  {nobody_objects:,} objects, {size_text(nobody)}: {NOBODY}"
        if heap.facts.get("stop_ns"):
            yield f"  the program was stopped for {heap.facts['stop_ns'] / 1e6:.2f} ms"
        yield ""
        yield "holders, by what would go with them"
        rows = [(size, count, self.name(node)) for node, size, count in self.holders() if count]
        shared, shared_objects = self.shared()
        if shared_objects:
            rows.append((shared, shared_objects, "several of these together"))
        yield from self.table(rows, top)
        yield ""
        yield "objects that retain most"
        rows = []
        for node in self.largest(top):
            size, count = self.retained(node)
            holder = self.holder_of(node)
            below = f", below {self.name(holder)}" if not self.is_object(holder) else ""
            rows.append((size, count, self.name(node) + below))
        yield from self.table(rows, top)
        yield ""
        yield "by size class"
        rows = []
        for size, count, of_one, kind in self.by_class():
            rows.append((size, count, (f"{of_one:,} B" if of_one else "above 32 KiB") + f" {KIND_NAMES[kind]}"))
        yield from self.table(rows, top)

        if heap.samples:
            yield ""
            yield f"by where it was allocated, estimated from {len(heap.samples):,} samples"
            rows = [(size, round(count), f"{ages_text(young, old)}  " + " < ".join(frames[:4]))
                    for size, count, young, old, frames in self.by_stack()]
            yield from self.table(rows, top)
            yield ""
            yield "by age, estimated likewise"
            yield from self.table([(size, round(count), text) for size, count, text in self.by_age()], top)

    def table(self, rows, top):
        for size, count, text in rows[:top]:
            yield f"  {size_text(size):>10} {size * 100 / max(self.total, 1):5.1f}% {count:>10,}  {text}"
        rest = rows[top:]
        if rest:
            yield f"  {size_text(sum(row[0] for row in rest)):>10} {'':6} {sum(row[1] for row in rest):>10,}  {len(rest):,} more"

    def holder_of(self, node):
        """The last of its dominators that is not the root: a variable, a thread, or an object that several hold."""
        while True:
            above = self.tree.dominator_of(node)
            if above == self.tree.root:
                return node
            node = above

    def why(self, address):
        node = self.heap.find(address)
        if node is None:
            yield f"{address:#x} is in no live object"
            return
        inside = address - self.heap.addresses[node]
        size, count = self.retained(node)
        yield f"{address:#x} is " + (f"{inside} bytes into " if inside else "") + f"the object {self.name(node)}"
        yield f"  it retains {size_text(size)} in {count:,} objects"
        if node in self.heap.samples:
            stack, asked, _, age = self.heap.samples[node]
            yield ""
            yield f"allocated {age_text(age)} ago ({asked:,} bytes were asked for) by"
            yield from elide(f"  {frame}" for frame in self.heap.frames(stack))
        elif (age := self.heap.oldest(node)[0]) is not None:
            yield f"  allocated at most {age_text(age)} ago"
        yield ""
        yield "retained by: each line keeps all above it alive, and nothing else does"
        yield from elide(f"  {self.name(at)}  [{size_text(self.retained(at)[0])}]" for at in self.tree.chain(node))
        yield ""
        yield "a shortest way from a root"
        yield from elide(self.path_lines(self.tree.shortest_path(node)))
        referrers = sorted(set(self.tree.referrers(node)))
        yield ""
        yield f"pointed to by {len(referrers):,}"
        for at in referrers[:10]:
            yield f"  {self.name(at)}"
        if len(referrers) > 10:
            yield f"  … {len(referrers) - 10:,} more"

    def path_lines(self, path):
        for i, node in enumerate(path):
            line = ("  " if i == 0 else "  -> ") + self.name(node)
            if i + 1 < len(path):
                word = self.root_words.get((node - len(self.heap), path[i + 1]))
                if not self.is_object(node) and word is not None:
                    line += f", the word at {word:#x}"
            yield line

    # --- for programs ---

    def figures(self, addresses):
        """What the tables say, as plain data."""
        def node_figures(node):
            size, count = self.retained(node)
            return {"name": self.name(node), "retained": size, "objects": count}

        out = {"process": self.heap.facts["process"], "objects": len(self.heap), "bytes": self.total, "edges": len(self.heap.edges),
               "holders": [node_figures(node) for node, _, _ in self.holders()],
               "by_class": [{"bytes": row[0], "count": row[1], "size": row[2], "kind": KIND_NAMES[row[3]]} for row in self.by_class()],
               "by_age": [{"bytes": row[0], "count": row[1], "age": row[2]} for row in self.by_age()], "why": {}}
        for address in addresses:
            node = self.heap.find(address)
            if node is None:
                out["why"][f"{address:#x}"] = None
                continue
            out["why"][f"{address:#x}"] = {
                **node_figures(node), "address": self.heap.addresses[node], "size": self.heap.size(node),
                "kind": KIND_NAMES[self.heap.kinds[node]],
                "age_ns": self.heap.oldest(node)[0], "age_is_exact": self.heap.oldest(node)[1],
                "allocated_by": self.heap.frames(self.heap.samples[node][0]) if node in self.heap.samples else None,
                "chain": [self.heap.addresses[at] if self.is_object(at) else self.name(at) for at in self.tree.chain(node)],
                "path": [self.heap.addresses[at] if self.is_object(at) else self.name(at) for at in self.tree.shortest_path(node)],
                "referrers": sorted(self.heap.addresses[at] for at in set(self.tree.referrers(node)) if self.is_object(at)),
            }
        return out

    # --- the page ---

    def tree_rows(self):
        """The part of the dominator tree that retains most, as rows [parent, name, own, retained, objects, children left out,
        bytes left out]; a parent comes before its children."""
        rows, children_of = [], {}
        heap_rows = [(-self.retained(self.tree.root)[0], self.tree.root, -1)]
        while heap_rows and len(rows) < PAGE_NODES:
            _, node, parent = heapq.heappop(heap_rows)
            size, count = self.retained(node)
            row = len(rows)
            own = self.heap.size(node) if self.is_object(node) else 0
            children = self.tree.children(node)
            rows.append([parent, self.name(node), own, size, count, len(children), size - own])
            if parent >= 0:
                rows[parent][5] -= 1
                rows[parent][6] -= size
            for child in children[:PAGE_CHILDREN]:
                heapq.heappush(heap_rows, (-self.retained(child)[0], child, row))
        return rows

    def page(self, top):
        heap = self.heap
        nobody, nobody_objects = self.retained(self.tree.nobody)
        picture = OccupancyMap(heap, PICTURE_CELLS)
        shared, shared_objects = self.shared()
        holders = [[self.name(node), size, count] for node, size, count in self.holders()[:top] if count]
        if shared_objects:
            holders.append(["several of these together", shared, shared_objects])
        data = {
            "command": " ".join(heap.command) or "?", "process": heap.facts["process"], "when": self.when(),
            "objects": len(heap), "bytes": self.total, "edges": len(heap.edges), "nobody": [nobody, nobody_objects],
            "stop_ms": heap.facts.get("stop_ns", 0) / 1e6, "arena": heap.facts["arena_bytes"],
            "tree": self.tree_rows(), "holders": holders,
            "classes": [[f"{row[2]:,} B" if row[2] else "above 32 KiB", KIND_NAMES[row[3]], row[0], row[1]] for row in self.by_class()],
            "samples": len(heap.samples),
            "stacks": [[frames[:24], round(size), round(count), ages_text(young, old)]
                       for size, count, young, old, frames in self.by_stack()[:top]],
            "ages": [[text, round(size), round(count)] for size, count, text in self.by_age()],
            "cell": size_text(picture.cell_bytes), "groups": [list(group) for group in GROUPS],
        }
        template = (pathlib.Path(__file__).resolve().parent / "heap_page.html").read_text(encoding="utf-8")
        # A command line may hold what ends a script, or begins a comment in it.
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
        # Without the name space that a file of its own needs: the page names no address of the network's.
        svg = picture.svg(styled=False).replace(' xmlns="http://www.w3.org/2000/svg"', "")
        return template.replace("/*MAP STYLE*/", SVG_STYLE).replace("<!--MAP-->", svg).replace("/*DATA*/null", text)


def age_text(ns):
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        value = ns / 1e9 / seconds
        if value >= 2 or (unit == "s" and value >= 1):
            return (f"{value:.0f}" if value >= 20 else f"{value:.1f}") + " " + unit
    return f"{ns / 1e6:.0f} ms"


def ages_text(young, old):
    youngest, oldest = age_text(young), age_text(old)
    return youngest if youngest == oldest else f"{youngest} to {oldest}"


def elide(lines, first=12, last=6):
    lines = list(lines)
    if len(lines) <= first + last + 1:
        return lines
    return lines[:first] + [f"  … {len(lines) - first - last:,} more"] + lines[-last:]


def main():
    parser = argparse.ArgumentParser(prog="warren heap", description="Shows what a heap dump says.")
    parser.add_argument("file")
    parser.add_argument("--why", action="append", default=[], metavar="ADDRESS", help="what retains the object at this address")
    parser.add_argument("--html", metavar="FILE", help="write one page that holds everything, for a browser")
    parser.add_argument("--map", action="store_true", help="print which size classes fill which parts of the arena")
    parser.add_argument("--svg", metavar="FILE", help="the same as a picture")
    parser.add_argument("--top", type=int, default=15, help="rows of each table")
    parser.add_argument("--json", action="store_true", help="the figures, for programs")
    arguments = parser.parse_args()
    try:
        heap = HeapFile(arguments.file)
        addresses = [int(text, 0) for text in arguments.why]
    except (NotADump, OSError, ValueError) as error:
        sys.exit(f"warren: {error}")
    if arguments.svg:
        pathlib.Path(arguments.svg).write_text(OccupancyMap(heap, PICTURE_CELLS).svg(), encoding="utf-8")
    if arguments.map:
        print(OccupancyMap(heap, TEXT_CELLS).text())
    if (arguments.map or arguments.svg) and not (arguments.html or arguments.json or addresses):
        return
    view = HeapView(heap)
    if arguments.html:
        pathlib.Path(arguments.html).write_text(view.page(max(arguments.top, 100)), encoding="utf-8")
    if arguments.json:
        json.dump(view.figures(addresses), sys.stdout, indent=1)
        print()
    elif addresses:
        for address in addresses:
            print("\n".join(view.why(address)))
    else:
        print("\n".join(view.summary(arguments.top)))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()

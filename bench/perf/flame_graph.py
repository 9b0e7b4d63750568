#!/usr/bin/env python3
"""Draws a flame graph from the output of `perf script -F comm,ip,sym,dso`.

Usage: perf script ... | flame_graph.py TITLE ALLOCATOR.so >FILE.svg. Called by record.sh. Width is the share of
samples, callers below; frames of the allocator, the kernel, the libraries and the program have a colour each.
Invariant: siblings stand in the order of their names, so that two graphs can be laid side by side.
"""

import html
import pathlib
import re
import sys

WIDTH, ROW, NARROWEST, CHARACTER = 1400, 17, 0.4, 6.6
COLOURS = {"allocator": "#f0894d", "kernel": "#8fb3dd", "library": "#cfcfc4", "program": "#e6d27a"}
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*?)(?:\+0x[0-9a-f]+)? \((.*)\)$")


class Node:
    def __init__(self, origin):
        self.origin, self.samples, self.callees = origin, 0, {}


def origin_of(dso, allocator):
    if dso.startswith("[") and "vdso" not in dso:
        return "kernel"
    if pathlib.Path(dso).name == allocator:
        return "allocator"
    return "library" if ".so" in dso or dso.startswith("[") else "program"


def read(lines, allocator):
    """The tree of calls: every sample counts once in each frame from its thread's start to where it was."""
    root = Node("program")
    stack = []

    def end_of_sample():
        if stack:
            node = root
            node.samples += 1
            for name, origin in reversed(stack):
                node = node.callees.setdefault((name, origin), Node(origin))
                node.samples += 1
            stack.clear()

    for line in lines:
        frame = FRAME.match(line)
        if frame:
            origin = origin_of(frame.group(2), allocator)
            name = frame.group(1) if frame.group(1) != "[unknown]" else f"({pathlib.Path(frame.group(2)).name})"
            if not stack or stack[-1] != (name, origin):  # recursion, and frames without a name, count as one
                stack.append((name, origin))
        elif not line.strip():
            end_of_sample()
    end_of_sample()
    return root


def depth_of(node):
    return 1 + max(map(depth_of, node.callees.values()), default=0)


def draw(name, node, x, level, height, scale, total, parts):
    width = node.samples * scale
    if width < NARROWEST:
        return
    y = height - (level + 1) * ROW
    fits = int(width / CHARACTER)
    label = name if len(name) <= fits else name[:max(fits - 1, 0)] + "…" if fits > 3 else ""
    parts.append(f'<g><title>{html.escape(name)}: {node.samples} samples, {100 * node.samples / total:.1f} %</title>'
                 f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.3):.1f}" height="{ROW - 1}"'
                 f' fill="{COLOURS[node.origin]}"/>'
                 f'<text x="{x + 3:.1f}" y="{y + ROW - 5}">{html.escape(label)}</text></g>')
    for (callee, _), child in sorted(node.callees.items()):
        draw(callee, child, x, level + 1, height, scale, total, parts)
        x += child.samples * scale


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: flame_graph.py TITLE ALLOCATOR.so < output of perf script")
    sys.setrecursionlimit(10_000)
    title = sys.argv[1]
    root = read(sys.stdin, pathlib.Path(sys.argv[2]).name)
    if root.samples == 0:
        sys.exit("flame_graph.py: no samples with a stack")
    height = depth_of(root) * ROW + 44
    parts = []
    draw(f"all ({root.samples} samples)", root, 0, 0, height - 4, WIDTH / root.samples, root.samples, parts)
    legend = "".join(f'<rect x="{500 + 120 * i}" y="8" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{518 + 120 * i}" y="19">{origin}</text>'
                     for i, (origin, colour) in enumerate(COLOURS.items()))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
          f' font-family="monospace" font-size="11"><rect width="100%" height="100%" fill="#ffffff"/>'
          f'<text x="4" y="19" font-size="13">{html.escape(title)}</text>{legend}')
    print("\n".join(parts))
    print("</svg>")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""warren top: the heap, the collector and the scheduler of a running process, once a second.

Nothing runs in the process for it: the figures are read from its memory, as a debugger would (the same rights are needed), through
the record that the library keeps of where they are.  Called by `./warren top`; python3 top.py --help.
Invariant: the process is never stopped and never written to.
"""

import argparse
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from elf_symbols import AddressSpace  # noqa: E402
from live_heap import LiveHeap, Unreadable  # noqa: E402
from occupancy import size_text  # noqa: E402


class Gone(Exception):
    pass


class Target:
    """A process, by its files in /proc."""

    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}")
        try:
            maps = (self.folder / "maps").read_text()
            self.name = (self.folder / "comm").read_text().strip()
            self.memory = os.open(self.folder / "mem", os.O_RDONLY)
        except (FileNotFoundError, ProcessLookupError):
            raise Gone(f"there is no process {pid}, or it has no memory") from None
        except PermissionError:
            raise Gone(f"process {pid} may not be read: be its user or root (and see /proc/sys/kernel/yama/ptrace_scope)") from None
        self.heap = LiveHeap(self.read, self.find_record(AddressSpace(maps), pid))
        if not self.heap.is_set_up():
            raise Gone(f"process {pid} has not used warren's heap yet")

    @staticmethod
    def find_record(space, pid):
        paths = list(dict.fromkeys(row[3] for row in space.rows if row[3].startswith("/")))
        paths.sort(key=lambda path: "libwarren" not in path)  # else the program, which may hold the library
        for path in paths:
            linked = space.file(path).address_of("wr_layout")
            if linked is not None and space.base(path) is not None:
                return space.base(path) + linked
        raise Gone(f"process {pid} does not run on warren, or on one without a layout record")

    def read(self, address, size):
        try:
            data = os.pread(self.memory, size, address)
        except OSError:
            data = b""
        if len(data) != size:
            raise Gone(f"{size} bytes at {address:#x} cannot be read: the process has ended")
        return data

    def process_figures(self):
        try:
            rows = dict(line.split(":", 1) for line in (self.folder / "status").read_text().splitlines() if ":" in line)
        except OSError:
            raise Gone("the process has ended") from None
        kib = {name: int(rows[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon") if name in rows}
        return {"rss": kib.get("VmRSS", 0), "peak_rss": kib.get("VmHWM", 0), "rss_anonymous": kib.get("RssAnon", 0),
                "threads": int(rows.get("Threads", "0"))}

    def figures(self):
        return {"time": time.time(), "process": self.process_figures(), "heap": self.heap.mem_stats(), "scheduler": self.heap.scheduler()}


def seconds(text):
    value = float(text)
    if not 0 <= value <= 86400:  # also where it is no number
        raise ValueError(text)
    return value


def rate(now, before, *names):
    """How much a figure has grown, a second; None in the first frame."""
    if before is None:
        return None
    a, b = now, before
    for name in names:
        a, b = a[name], b[name]
    return max(0, a - b) / max(now["time"] - before["time"], 1e-3)


def per_second(value, text):
    return "" if value is None else f"  (+{text(value)}/s)"


def milliseconds(ns):
    return f"{ns / 1e6:.2f} ms"


def frame(target, now, before, pid):
    heap, process, scheduler = now["heap"], now["process"], now["scheduler"]
    inuse, live = heap["heap_inuse"], heap["alloc_bytes"]
    unused = max(0, inuse - live)
    lines = [f"{target.name}, process {pid}, {time.strftime('%H:%M:%S', time.localtime(now['time']))}, {process['threads']} threads", ""]
    malloc_live = live - heap["gc_live_bytes"]
    lines.append(f"live      {size_text(live):>10}   malloc {size_text(malloc_live)} in {heap['heap_objects']:,} blocks"
                 + (f", collected {size_text(heap['gc_live_bytes'])}" if heap["gc_is_set_up"] else ""))
    lines.append(f"allocated {size_text(heap['total_alloc_bytes']):>10}   in all"
                 + per_second(rate(now, before, "heap", "total_alloc_bytes"), size_text) + f", {heap['mallocs']:,} blocks"
                 + per_second(rate(now, before, "heap", "mallocs"), lambda n: f"{n:,.0f}"))
    lines.append(f"resident  {size_text(process['rss']):>10}   of the process, {size_text(process['peak_rss'])} at most")
    lines.append(f"heap      {size_text(heap['heap_sys']):>10}   in use {size_text(inuse)}, free {size_text(heap['heap_idle'])}, of it given back "
                 f"{size_text(heap['heap_released'])}")
    lines.append(f"unused    {unused * 100 / max(inuse, 1):>9.0f}%   of the heap in use holds nothing that lives: {size_text(unused)}, "
                 f"{size_text(heap['cache_inuse'])} of it in the caches of {heap['caches']} threads")
    if heap["gc_is_set_up"]:
        ago = f", the last {now['time'] - heap['last_gc_unix_ns'] / 1e9:.1f} s ago" if heap["last_gc_unix_ns"] else ""
        state = "marking" if heap["gc_is_marking"] else "at rest"
        lines.append(f"collector {heap['num_gc']:>10,}   collections{ago}; {state}; goal {size_text(heap['next_gc'])}; stopped for "
                     f"{milliseconds(heap['pause_total_ns'])} in all, {milliseconds(heap['pause_longest_ns'])} at most")
    else:
        lines.append("collector          -   not used")
    if scheduler:
        queued = scheduler["global_queue"] + sum(scheduler["queues"])
        lines.append(f"scheduler {scheduler['fibers']:>10,}   fibers, {queued:,} waiting to run ({scheduler['global_queue']} in the global queue); "
                     f"{scheduler['ps'] - scheduler['idle_ps']} of {scheduler['ps']} P busy; {scheduler['ms']} M, {scheduler['idle_ms']} idle, "
                     f"{scheduler['spinning']} spinning")
    else:
        lines.append("scheduler          -   not used")
    lines += ["", "     size         live       blocks       allocated         /s"]
    rows = []
    for size_class, (size, mallocs, frees) in heap["by_size"].items():
        blocks = mallocs - frees
        held = blocks * size if size_class else heap["alloc_bytes"]
        rows.append((held, size_class, size, blocks, mallocs))
    small = sum(row[0] for row in rows if row[1])
    rows = [(max(0, malloc_live - small) if not row[1] else row[0], *row[1:]) for row in rows]
    for held, size_class, size, blocks, mallocs in sorted(rows, reverse=True)[:10]:
        if mallocs == 0:
            continue
        grown = "" if before is None else f"{max(0, mallocs - before['heap']['by_size'][size_class][1]) / max(now['time'] - before['time'], 1e-3):,.0f}"
        lines.append(f"{size if size_class else 'large':>9} {size_text(held):>12} {blocks:>12,} {mallocs:>15,} {grown:>10}")
    return lines


def main():
    parser = argparse.ArgumentParser(prog="warren top", description="The heap, the collector and the scheduler of a process, once a second.")
    parser.add_argument("pid", type=int)
    parser.add_argument("--once", action="store_true", help="print one frame")
    parser.add_argument("--json", action="store_true", help="print one frame for programs")
    parser.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS")
    arguments = parser.parse_args()
    try:
        target = Target(arguments.pid)
        before = None
        while True:
            now = target.figures()
            if arguments.json:
                json.dump(now, sys.stdout, indent=1)
                print()
                return
            lines = frame(target, now, before, arguments.pid)
            if arguments.once or not sys.stdout.isatty():
                print("\n".join(lines), flush=True)
                if arguments.once:
                    return
                print()
            else:
                width = os.get_terminal_size().columns
                sys.stdout.write("\x1b[H" + "".join(line[:width] + "\x1b[K\n" for line in lines) + "\x1b[J")
                sys.stdout.flush()
            before = now
            time.sleep(max(arguments.interval, 0.05))
    except (Gone, Unreadable) as error:
        sys.exit(f"warren: {error}")
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()

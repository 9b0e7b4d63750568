"""The heap of a running process, read from outside through the library's layout record (inspect/layout.h).

Callers: top.py (by /proc/PID/mem), inspect/gdb/warren-gdb.py (by the debugger).  Invariant: nothing in the process is stopped, called
or written to; what changes while it is read may be a moment old, and a list that changes is read again.
"""

import struct

RECORD = struct.Struct("<8sIIQQ")
ENTRY = struct.Struct("<QQ")
NAME_BYTES = 48
MAGIC = b"WRLAYOUT"
VERSION = 3
SPAN_STATES = ("free", "objects", "large", "collected", "being released", "hole")
DEAD, RUNNABLE, RUNNING, READIED, WAITING = range(5)
MOST_CACHES = 100000


class Unreadable(Exception):
    """The process has no record of this library's, or one that this script does not know."""


class Names(dict):
    def __missing__(self, name):
        raise Unreadable(f"the library's layout record has no {name!r}: it is not of the version of this script")


class LiveHeap:
    def __init__(self, read, record):
        """read(address, size) -> bytes; `record`: the address of wr_layout."""
        self.read = read
        magic, version, entry_bytes, begin, end = RECORD.unpack(read(record, RECORD.size))
        if magic != MAGIC:
            raise Unreadable("the library has no layout record where its file says: was the file replaced?")
        if version != VERSION or entry_bytes != ENTRY.size:
            raise Unreadable(f"the library's layout record has version {version}, this script reads version {VERSION}")
        self.address, self.number = Names(), Names()
        for name, value in ENTRY.iter_unpack(read(begin, end - begin)):
            text = read(name, NAME_BYTES).rstrip(b"\0").decode()
            (self.address if text[0] == "&" else self.number)[text[1:]] = value
        classes = self.number["class_count"]
        shape = self.number["SizeClassInfo.bytes"]
        table = read(self.address["size_classes"], classes * shape)
        self.class_sizes = [struct.unpack_from("<I", table, i * shape)[0] for i in range(classes)]
        self.class_objects = [struct.unpack_from("<H", table, i * shape + self.number["SizeClassInfo.objects"])[0] for i in range(classes)]
        self.reciprocals = [struct.unpack_from("<I", table, i * shape + 4)[0] for i in range(classes)]

    # --- words ---

    def u64(self, address):
        return struct.unpack("<Q", self.read(address, 8))[0]

    def u32(self, address):
        return struct.unpack("<I", self.read(address, 4))[0]

    def u8(self, address):
        return self.read(address, 1)[0]

    def figure(self, name):
        return self.u64(self.address[name])

    def field(self, structure, name, size=8):
        """A field of an object at an address, or of the one object of that name."""
        at = (self.address[structure] if isinstance(structure, str) else structure) + self.number[name]
        return int.from_bytes(self.read(at, size), "little")

    # --- what is counted ---

    def _caches(self):
        """(blocks in each bin, frees, figures of large blocks) of each thread's cache. The list may change meanwhile: then once more."""
        bins = self.number["bins"]
        reach = self.number["Cache.slots"]  # which are behind all else
        for _ in range(20):
            found, before, at = [], 0, self.u64(self.address["caches"])
            while at != 0 and len(found) < MOST_CACHES:
                head = self.read(at, reach)
                if struct.unpack_from("<Q", head, self.number["Cache.prev"])[0] != before:
                    break  # taken out of the list, or put in before it
                top, frees = (struct.unpack_from(f"<{bins}Q", head, self.number[name]) for name in ("Cache.top", "Cache.frees"))
                bottom, place = (struct.unpack_from(f"<{bins}H", head, self.number[name]) for name in ("Cache.bottom", "Cache.place"))
                blocks = [(top[i] - at - reach) // 8 - bottom[i] if head[self.number["Cache.batch"] + i] else 0 for i in range(bins)]
                # A bin that is being filled or moved just now reads as anything.
                large = struct.unpack_from("<4Q", head, self.number["Cache.large"])
                found.append(([count if 0 <= count <= place[i] else 0 for i, count in enumerate(blocks)], frees, large))
                before, at = at, struct.unpack_from("<Q", head, self.number["Cache.next"])[0]
            if at == 0:
                return found
        return found

    def is_set_up(self):
        return self.field("arena", "Arena.start") != 0

    def mem_stats(self):
        """The figures of wr_read_mem_stats, by their names in warren/allocator.h; by_size: {class: (size, mallocs, frees)}."""
        names = ("alloc_bytes", "total_alloc_bytes", "mallocs", "frees", "heap_objects", "cache_inuse")
        out = dict.fromkeys(names, 0)
        out["by_size"] = {}
        bins = self.number["bins"]
        page = self.number["page_bytes"]
        cached, frees = [0] * bins, list(struct.unpack(f"<{bins}Q", self.read(self.address["retired_frees"], 8 * bins)))
        caches = self._caches()
        out["caches"] = len(caches)
        for blocks, freed, _ in caches:
            for i in range(bins):
                frees[i] += freed[i]
                cached[i] += blocks[i]
        for size_class in range(1, len(self.class_sizes)):
            size = self.class_sizes[size_class]
            central = self.address["centrals"] + size_class * self.number["Central.bytes"]
            live = max(0, self.u64(central + self.number["Central.objects_out"]) - cached[size_class])
            out["by_size"][size_class] = (size, live + frees[size_class], frees[size_class])
            out["heap_objects"] += live
            out["alloc_bytes"] += live * size
            out["total_alloc_bytes"] += (live + frees[size_class]) * size
            out["cache_inuse"] += cached[size_class] * size
            out["mallocs"] += live + frees[size_class]
            out["frees"] += frees[size_class]
        large, large_frees, large_total, held = (sum(figures) for figures in zip((0, 0, 0, 0), *(cache[2] for cache in caches)))
        large += self.figure("large.uncached_mallocs")
        large_frees += self.figure("large.uncached_frees")
        out["by_size"][0] = (0, large, large_frees)
        out["heap_objects"] += large - large_frees
        out["alloc_bytes"] += max(0, self.figure("page_heap.large_pages") * page - held)
        out["total_alloc_bytes"] += self.figure("large.uncached_total_bytes") + large_total
        out["cache_inuse"] += held
        out["mallocs"] += large
        out["frees"] += large_frees
        grown = (self.field("arena", "Arena.octet_count") << self.number["octet_shift"]) - self.figure("page_heap.hole_pages") * page
        warm = self.u64(self.address["page_heap.warm"] + self.number["FreeRuns.pages"]) * page
        released = self.u64(self.address["page_heap.released"] + self.number["FreeRuns.pages"]) * page
        out.update(heap_sys=grown, heap_idle=warm + released, heap_inuse=grown - warm - released, heap_released=released,
                   scavenged_bytes=self.figure("page_heap.scavenged_pages") * page, scavenger_ns=self.figure("scavenger.ns"),
                   metadata_sys=self.figure("metadata.next") - self.figure("metadata.start"))
        out["gc_is_set_up"] = self.u8(self.address["gc.is_set_up"]) != 0
        if out["gc_is_set_up"]:
            out.update(gc_live_bytes=self.figure("gc.live_bytes"), gc_total_bytes=self.figure("gc.total_bytes"),
                       next_gc=self.figure("gc.goal_bytes"), num_gc=self.figure("gc.cycles"), gc_cpu_ns=self.figure("gc.cpu_ns"),
                       last_gc_unix_ns=self.figure("gc.last_end_unix_ns"), pause_total_ns=self.figure("gc.pause_total_ns"),
                       pause_longest_ns=self.figure("gc.pause_longest_ns"), gc_is_marking=self.u8(self.address["gc.phase"]) == 1)
            out["alloc_bytes"] += out["gc_live_bytes"]
            out["total_alloc_bytes"] += out["gc_total_bytes"]
        else:
            out.update(gc_live_bytes=0, gc_total_bytes=0, next_gc=0, num_gc=0, gc_cpu_ns=0, last_gc_unix_ns=0, pause_total_ns=0,
                       pause_longest_ns=0, gc_is_marking=False)
        return out

    def scheduler(self):
        """Figures of the run that is under way, None where none is."""
        if self.field("sched", "Scheduler.active", 1) == 0:
            return None
        count = self.field("sched", "Scheduler.p_count", 4)
        queues, live = [], self.field("sched", "Scheduler.live_elsewhere")
        for i in range(min(count, 1024)):
            p = self.u64(self.address["sched"] + self.number["Scheduler.ps"] + 8 * i)
            if p == 0:
                continue
            queue = p + self.number["P.queue"]
            length = (self.u32(queue + self.number["RunQueue.tail"]) - self.u32(queue + self.number["RunQueue.head"])) & 0xffffffff
            queues.append(min(length, 256) + (self.u64(queue + self.number["RunQueue.next"]) != 0))
            live += self.field(p, "P.live")
        live &= (1 << 64) - 1
        return {"ps": count, "idle_ps": self.field("sched", "Scheduler.idle_p_count", 4), "ms": self.field("sched", "Scheduler.m_count", 4),
                "idle_ms": self.field("sched", "Scheduler.idle_m_count", 4), "spinning": self.field("sched", "Scheduler.spinning", 4),
                "global_queue": self.field("sched", "Scheduler.global_size", 4), "queues": queues,
                "fibers": live if live < 1 << 63 else 0}

    # --- fibers ---

    def text(self, address, most=64):
        return self.read(address, most).split(b"\0", 1)[0].decode(errors="replace")

    def fibers(self):
        """Each fiber that has not ended: a dictionary; by the order of their stacks in memory."""
        generation = self.field("sched", "Scheduler.generation", 4)
        reasons = self.address["wait_reasons"]
        bytes_of_g = self.number["G.bytes"]
        for i in range(self.u32(self.address["slab_count"])):
            slab = self.u64(self.address["slabs"] + 8 * i)
            first = self.field(slab, "Slab.first")
            stack = self.number["stack.least_bytes"] << self.field(slab, "Slab.order", 4)
            for k in range(self.field(slab, "Slab.carved", 4)):
                colour = k % self.number["stack.colours"] * self.number["stack.colour_bytes"]
                g = first + (k + 1) * stack - bytes_of_g - colour
                status = self.field(g, "G.status", 1)
                if status == DEAD or self.field(g, "G.generation", 4) != generation:
                    continue
                reason = self.field(g, "G.reason", 1)
                state = {RUNNABLE: "runnable", RUNNING: "running", READIED: "running"}.get(status)
                if state is None:
                    known = reason < self.number["wait_reasons.count"]
                    state = self.text(self.u64(reasons + 8 * reason)) if known else "waiting"
                machine = self.field(g, "G.m") if status in (RUNNING, READIED) else 0
                yield {"g": g, "id": self.field(g, "G.id"), "name": self.text(g + self.number["G.name"], 32), "state": state,
                       "creator": self.field(g, "G.creator"), "low": first + k * stack, "high": first + (k + 1) * stack,
                       "sp": self.field(g, "G.sp"), "saved": status in (RUNNABLE, WAITING), "entry": self.field(g, "G.entry"),
                       "thread": self.field(machine, "M.thread_id", 4) if machine else 0}

    # --- addresses ---

    def arena_bounds(self):
        start = self.field("arena", "Arena.start")
        return start, start + (self.field("arena", "Arena.octet_count") << self.number["octet_shift"])

    def span_at(self, address):
        """The span that covers an address of the arena, None for any other address."""
        start, end = self.arena_bounds()
        if start == 0 or not start <= address < end:
            return None
        page_bytes = self.number["page_bytes"]
        page_map = self.field("arena", "Arena.page_map")
        page = (address - start) // page_bytes
        # Entries inside of free runs and large blocks may be stale: the right one lies below.
        for at in range(page, -1, -1):
            span = self.u64(page_map + 8 * at)
            if span == 0:
                continue
            first, count = self.field(span, "Span.first", 4), self.field(span, "Span.count", 4)
            if first <= page < first + count and self.u64(page_map + 8 * first) == span:
                state = self.field(span, "Span.state", 1)
                return {"span": span, "start": start + first * page_bytes, "pages": count, "bytes": count * page_bytes,
                        "state": SPAN_STATES[state] if state < len(SPAN_STATES) else str(state),
                        "size_class": self.field(span, "Span.size_class", 1) if state in (1, 3) else 0,
                        "released": bool(self.field(span, "Span.released", 1)), "noscan": bool(self.field(span, "Span.noscan", 1)),
                        "free_objects": self.field(span, "Span.free_objects", 2),
                        "swept": self.field(span, "Span.generation", 4) == self.u32(self.address["gc.generation"])}
        return None

    def _mark(self, size, block):
        """The byte of the object map where a block of malloc's starts."""
        if size <= self.number["max_small_size"]:
            octet = block >> self.number["octet_shift"]
            bits, by = self.number["region_octets_log"], self.number["rows_log"]
            mask = (1 << bits) - 1
            low = octet & mask
            place = (octet & ~mask) | (low >> by) | (low << (bits - by) & mask)
            return self.u8((self.field("arena", "Arena.fine_from_zero") + place) % (1 << 64))
        return self.u8((self.field("arena", "Arena.coarse_from_zero") + (block >> self.number["coarse_shift"])) % (1 << 64))

    def _is_collected_live(self, span, index):
        pairs = self.field("arena", "Arena.bitmap") + (span["start"] - self.arena_bounds()[0]) // self.number["page_bytes"] * \
            self.number["bitmap_bytes_per_page"]
        allocated, marked = struct.unpack("<QQ", self.read(pairs + index // 64 * 16, 16))
        bit = 1 << index % 64
        return bool(allocated & bit and (span["swept"] or marked & bit))

    def object_at(self, address):
        """(span, object) that an address lies in; the object is None where none can be, else a dictionary."""
        span = self.span_at(address)
        if span is None or span["state"] not in ("objects", "large", "collected"):
            return span, None
        size_class = span["size_class"]
        size = self.class_sizes[size_class] if size_class else span["bytes"]
        index = (address - span["start"]) * self.reciprocals[size_class] >> 32 if size_class else 0
        if size_class and index >= self.class_objects[size_class]:
            return span, None
        start = span["start"] + index * size
        if span["state"] == "collected":
            live = self._is_collected_live(span, index)
        else:
            live = self._mark(size if size_class else 1 << 30, start) != 0
        kind = "malloc" if span["state"] != "collected" else "gc noscan" if span["noscan"] else "gc"
        return span, {"address": start, "size": size, "index": index, "kind": kind, "live": live, "offset": address - start}

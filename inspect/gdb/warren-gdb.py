"""Commands of gdb for processes and core files that run on warren:

    warren heap            what the heap, the collector and the scheduler hold
    warren span ADDRESS    the run of pages that an address lies in
    warren object ADDRESS  the block of malloc's or the collected object that an address lies in, and what it looks like
    warren fibers [ID]     every fiber (or one) with its state and its stack

Load with `gdb -x inspect/gdb/warren-gdb.py` or gdb's command `source`; installed, it is PREFIX/share/warren/gdb/warren-gdb.py.  No debug
information of the library is needed.
Invariant: the process is only read; no function of it is called and no register is changed.
"""

import pathlib
import sys

import gdb
from gdb.unwinder import Unwinder, register_unwinder

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "viewer"))  # in the source tree as where it is installed

from live_heap import LiveHeap, Unreadable  # noqa: E402
from occupancy import size_text  # noqa: E402


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def live_heap():
    try:
        record = int(gdb.parse_and_eval("(unsigned long)&wr_layout"))
        return LiveHeap(read, record)
    except (gdb.error, gdb.MemoryError):
        raise gdb.GdbError("this process does not run on warren, or on one without a layout record") from None
    except Unreadable as error:
        raise gdb.GdbError(str(error)) from None


def address_of(text):
    arguments = gdb.string_to_argv(text)
    if len(arguments) != 1:
        raise gdb.GdbError("one address is wanted")
    return int(gdb.parse_and_eval(arguments[0]).cast(gdb.lookup_type("unsigned long")))


class WarrenPrefix(gdb.Command):
    """What warren's heap and scheduler hold: warren heap, span, object, fibers."""

    def __init__(self):
        super().__init__("warren", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class HeapCommand(gdb.Command):
    """What the heap, the collector and the scheduler hold."""

    def __init__(self):
        super().__init__("warren heap", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        heap = live_heap()
        stats = heap.mem_stats()
        print(f"live       {size_text(stats['alloc_bytes'])}, {stats['heap_objects']:,} blocks of malloc's"
              + (f", {size_text(stats['gc_live_bytes'])} collected" if stats["gc_is_set_up"] else ""))
        print(f"heap       {size_text(stats['heap_sys'])}, {size_text(stats['heap_inuse'])} in use, {size_text(stats['heap_idle'])} free, "
              f"{size_text(stats['heap_released'])} of it given back")
        print(f"caches     {size_text(stats['cache_inuse'])} in those of {stats['caches']} threads")
        if stats["gc_is_set_up"]:
            print(f"collector  {stats['num_gc']:,} collections, {'marking' if stats['gc_is_marking'] else 'at rest'}, "
                  f"goal {size_text(stats['next_gc'])}")
        run = heap.scheduler()
        if run:
            print(f"scheduler  {run['fibers']:,} fibers, {run['ps']} P, {run['ms']} M")
        print("     size         live       blocks")
        for size_class, (size, mallocs, frees) in sorted(stats["by_size"].items()):
            if mallocs != frees:
                held = size_text((mallocs - frees) * size) if size_class else ""
                print(f"{size if size_class else 'large':>9} {held:>12} {mallocs - frees:>12,}")


def span_line(span):
    shape = f"objects of class {span['size_class']}" if span["size_class"] else "one object" if span["state"] in ("large", "collected") else ""
    notes = [note for note, is_so in (("holds no pointers", span["noscan"] and span["state"] == "collected"),
                                      ("given back", span["released"] and span["state"] == "free"),
                                      ("to be swept", span["state"] == "collected" and not span["swept"])) if is_so]
    return (f"span {span['span']:#x}: {span['start']:#x} .. {span['start'] + span['bytes']:#x}, {span['pages']} pages, {span['state']}"
            + "".join(f", {note}" for note in [shape, *notes] if note))


class SpanCommand(gdb.Command):
    """The run of pages that an address lies in: warren span ADDRESS"""

    def __init__(self):
        super().__init__("warren span", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, text, from_tty):
        heap, address = live_heap(), address_of(text)
        span = heap.span_at(address)
        if span is None:
            low, high = heap.arena_bounds()
            print(f"{address:#x} is not in the heap ({low:#x} .. {high:#x})")
            return
        print(span_line(span))
        if span["size_class"]:
            size, count = heap.class_sizes[span["size_class"]], heap.class_objects[span["size_class"]]
            live = sum(heap.object_at(span["start"] + i * size)[1]["live"] for i in range(count))
            print(f"  {count} objects of {size} bytes: {live} live")


class ObjectCommand(gdb.Command):
    """The block or object that an address lies in: warren object ADDRESS"""

    def __init__(self):
        super().__init__("warren object", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, text, from_tty):
        heap, address = live_heap(), address_of(text)
        span, found = heap.object_at(address)
        if span is None:
            print(f"{address:#x} is not in the heap")
        elif found is None:
            print(f"{address:#x} is in no object; {span_line(span)}")
        else:
            inside = f", {found['offset']} bytes into it" if found["offset"] else ""
            state = "live" if found["live"] else "free"
            print(f"{address:#x} is in the object {found['address']:#x} of {found['size']} bytes ({found['kind']}, {state}){inside}")
            print(f"  number {found['index']} of the {span_line(span)}")
            words = min(found["size"], 64) // 8
            for i in range(words):
                word = heap.u64(found["address"] + 8 * i)
                to = heap.object_at(word)[1] if word else None
                print(f"  +{8 * i:<4} {word:#018x}" + (f"  -> {to['kind']} of {to['size']} bytes" if to and to["live"] else symbol(word)))


def symbol(address):
    if address < 4096:
        return ""
    text = gdb.execute(f"info symbol {address:#x}", to_string=True).strip()
    return "" if text.startswith("No symbol") else f"  {text}"


class FiberUnwinder(Unwinder):
    """Pretends that the innermost frame was called by the fiber `saved_sp` is of: so gdb walks a stack that does not run, without
    a register being changed, in core files as well."""

    def __init__(self):
        super().__init__("warren fiber")
        self.saved_sp = None
        self.from_sp = None

    def __call__(self, pending):
        if self.saved_sp is None or int(pending.read_register("rsp").cast(gdb.lookup_type("unsigned long"))) != self.from_sp:
            return None
        unsigned = gdb.lookup_type("unsigned long")

        class Identity:
            sp = gdb.Value(self.from_sp).cast(unsigned)
            pc = pending.read_register("rip").cast(unsigned)

        info = pending.create_unwind_info(Identity())
        # scheduler/context.h: control words, r15, r14, r13, r12, rbx, rbp, the address at which it goes on.
        for i, name in enumerate(("r15", "r14", "r13", "r12", "rbx", "rbp", "rip"), 1):
            info.add_saved_register(name, gdb.Value(int.from_bytes(read(self.saved_sp + 8 * i, 8), "little")).cast(unsigned))
        info.add_saved_register("rsp", gdb.Value(self.saved_sp + 64).cast(unsigned))
        return info


fiber_unwinder = FiberUnwinder()
register_unwinder(None, fiber_unwinder, replace=True)


def frames_from(frame, most=64):
    while frame is not None and most > 0:
        name = frame.name() or f"{frame.pc():#x}"
        place = frame.find_sal()
        where = f" at {pathlib.Path(place.symtab.filename).name}:{place.line}" if place.symtab is not None else ""
        yield f"    {name}{where}"
        try:
            frame = frame.older()
        except gdb.error:
            return
        most -= 1


def saved_frames(sp):
    """The frames of a fiber that does not run."""
    gdb.newest_frame().select()
    fiber_unwinder.from_sp = int(gdb.newest_frame().read_register("rsp").cast(gdb.lookup_type("unsigned long")))
    fiber_unwinder.saved_sp = sp
    try:
        gdb.invalidate_cached_frames()
        frame = gdb.newest_frame()
        return list(frames_from(frame.older()))
    except gdb.error as error:
        return [f"    ({error})"]
    finally:
        fiber_unwinder.saved_sp = None
        gdb.invalidate_cached_frames()


def running_frames(thread_id):
    selected = gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        if thread.ptid[1] == thread_id:
            thread.switch()
            frames = list(frames_from(gdb.newest_frame()))
            if selected is not None:
                selected.switch()
            return frames
    return ["    (its thread is not known to gdb)"]


class FibersCommand(gdb.Command):
    """Every fiber, or one, with its state and its stack: warren fibers [ID]"""

    def __init__(self):
        super().__init__("warren fibers", gdb.COMMAND_STACK)

    def invoke(self, text, from_tty):
        heap = live_heap()
        wanted = [int(argument, 0) for argument in gdb.string_to_argv(text)]
        found = 0
        for fiber in heap.fibers():
            if wanted and fiber["id"] not in wanted:
                continue
            found += 1
            name = f" {fiber['name']}" if fiber["name"] else ""
            thread = f", thread {fiber['thread']}" if fiber["thread"] else ""
            print(f"fiber {fiber['id']} [{fiber['state']}{thread}]{name}:")
            frames = saved_frames(fiber["sp"]) if fiber["saved"] else running_frames(fiber["thread"])
            print("\n".join(frames))
        if not found:
            print("no fibers" if not wanted else "no such fiber")


for command in (WarrenPrefix, HeapCommand, SpanCommand, ObjectCommand, FibersCommand):
    command()

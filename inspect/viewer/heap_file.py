"""Reads a heap dump (inspect/heap_dump_format.h) into arrays.

Callers: heap_view.py, the tests.  Invariant: nothing is kept per object but numbers in arrays: a dump of millions of
objects is read in seconds and takes little more memory than the file is long.
"""

import array
import bisect
import struct
import sys

from elf_symbols import AddressSpace, demangle

MAGIC = b"WRHEAP\r\n"
VERSION = 2
(FACTS, MAPS, COMMAND, SPANS, CLASSES, ADDRESSES, SIZES, KINDS, EDGE_COUNTS, EDGES, GROUPS, ROOTS, NAMES, SAMPLES, STACKS) = range(1, 16)
KIND_NAMES = ("malloc", "gc", "gc noscan")
DATA, RUNTIME, THREAD, FIBER, FINALIZERS = range(5)
FREE_STATE = 0
HEADER = struct.Struct("<8sII")
SECTION = struct.Struct("<IIQQ")
SPAN = struct.Struct("<QIIIBBBBQ")
GROUP = struct.Struct("<IIQQQ")
ROOT = struct.Struct("<QII")
SAMPLE = struct.Struct("<IIQQd")


class NotADump(Exception):
    pass


class HeapFile:
    def __init__(self, path):
        self.path = str(path)
        try:
            with open(path, "rb") as file:
                self._read(file)
        except (struct.error, EOFError) as error:
            raise NotADump(f"{path} is cut off: {error}") from None

    def _read(self, file):
        head = file.read(HEADER.size)
        if len(head) < HEADER.size or head[:8] != MAGIC:
            raise NotADump(f"{self.path} is not a heap dump, or not a complete one")
        _, version, count = HEADER.unpack(head)
        if version != VERSION:
            raise NotADump(f"{self.path} has version {version} of the format; this viewer reads version {VERSION}")
        sections = {}
        for _ in range(count):
            kind, item, offset, size = SECTION.unpack(file.read(SECTION.size))
            sections[kind] = (item, offset, size)

        def read_bytes(kind):
            _, offset, size = sections.get(kind, (0, 0, 0))
            file.seek(offset)
            data = file.read(size)
            if len(data) != size:
                raise NotADump(f"{self.path} is cut off")
            return data

        def read_array(kind, code):
            item, offset, size = sections[kind]
            values = array.array(code)
            if values.itemsize != item:
                raise NotADump(f"{self.path}: section {kind} has items of {item} bytes")
            file.seek(offset)
            values.fromfile(file, size // item)
            if sys.byteorder != "little":
                values.byteswap()
            return values

        self.facts = {}
        for line in read_bytes(FACTS).decode().splitlines():
            name, value = line.split()
            self.facts[name] = int(value)
        self.maps = read_bytes(MAPS).decode(errors="replace")
        self.command = [part.decode(errors="replace") for part in read_bytes(COMMAND).split(b"\0")[:-1]]
        self.classes = read_array(CLASSES, "I")
        self.addresses = read_array(ADDRESSES, "Q")
        self.sizes = read_array(SIZES, "I")
        self.kinds = read_array(KINDS, "B")
        self.edge_counts = read_array(EDGE_COUNTS, "I")
        self.edges = read_array(EDGES, "I")
        self.spans = list(SPAN.iter_unpack(read_bytes(SPANS)))
        names = read_bytes(NAMES)
        self.groups = []
        for kind, name_at, ident, low, high in GROUP.iter_unpack(read_bytes(GROUPS)):
            self.groups.append((kind, names[name_at:names.index(b"\0", name_at)].decode(errors="replace"), ident, low, high))
        self.span_firsts = None
        self.roots = read_bytes(ROOTS)
        self.samples = {number: (stack, asked, weight, age) for number, stack, asked, age, weight in SAMPLE.iter_unpack(read_bytes(SAMPLES))}
        self.stacks, words, at = {}, read_array(STACKS, "Q"), 0
        while at < len(words):
            self.stacks[words[at]] = words[at + 2:at + 2 + words[at + 1]]
            at += 2 + words[at + 1]
        self.frame_names = {}
        if not len(self.addresses) == len(self.sizes) == len(self.kinds) == len(self.edge_counts):
            raise NotADump(f"{self.path}: its sections do not fit together")
        self.space = AddressSpace(self.maps)

    def __len__(self):
        return len(self.addresses)

    def size(self, number):
        return self.sizes[number] * 8

    def oldest(self, number):
        """How old an object is, in ns, as (age, whether it is exact and not only the most that it can be). (None, False): unknown."""
        if number in self.samples:
            return self.samples[number][3], True
        if self.span_firsts is None:
            self.span_firsts = [(span[2], span[8]) for span in self.spans if span[3]]
        age = self.span_firsts[bisect.bisect_right(self.span_firsts, (number, 1 << 64)) - 1][1]
        return age or None, False

    def find(self, address):
        """The number of the object that an address lies in, or None."""
        number = bisect.bisect_right(self.addresses, address) - 1
        if number >= 0 and address < self.addresses[number] + self.size(number):
            return number
        return None

    def frames(self, stack):
        """The functions of a stack, innermost first, without the allocator's own."""
        addresses = self.stacks.get(stack, ())
        unknown = [address for address in addresses if address not in self.frame_names]
        found = [self.space.name(address) for address in unknown]
        readable = demangle(name or "" for _, name, _ in found)
        for address, name, (path, _, distance) in zip(unknown, readable, found):
            self.frame_names[address] = name or f"{path.rsplit('/', 1)[-1] or '?'}+{distance:#x}"
        return [self.frame_names[address] for address in addresses]

    def holders(self):
        """What holds roots, as (names, [(holder, object, address)]): one for each variable, thread and fiber."""
        keys, names, rows = {}, [], []
        modules = {}
        for address, group, number in ROOT.iter_unpack(self.roots):
            kind, name, ident, _, _ = self.groups[group]
            if kind == THREAD:
                key = f"thread {ident}" + (f" ({name})" if name else "")
            elif kind == FIBER:
                key = f"fiber {ident}" + (f" ({name})" if name else "")
            elif kind == FINALIZERS:
                key = "finalizers"
            else:
                path, symbol, _ = self.space.name(address)
                module = modules.get(path)
                if module is None:
                    module = modules[path] = path.rsplit("/", 1)[-1] or "memory"
                # The library's own structures count as one: what the program makes of them is on its stacks.
                key = "warren's runtime" if kind == RUNTIME else (module, symbol) if symbol else f"{module} data"
            holder = keys.get(key)
            if holder is None:
                holder = keys[key] = len(names)
                names.append(key)
            rows.append((holder, number, address))
        symbols = [name[1] for name in names if isinstance(name, tuple)]
        readable = dict(zip(symbols, demangle(symbols)))
        return [f"{readable[name[1]]} ({name[0]})" if isinstance(name, tuple) else name for name in names], rows

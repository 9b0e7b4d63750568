"""Names of addresses and addresses of names, from the symbol tables of ELF files.

Callers: heap_file.py (which variable a root word lies in), live_heap.py (where the library keeps its layout record).
Invariant: a file that is no ELF file, or has no symbols, has no names; nothing here fails because of what is in a file.
"""

import bisect
import os
import shutil
import stat
import struct
import subprocess

FUNCTION, OBJECT, NO_TYPE = 2, 1, 0
SHT_SYMTAB, SHT_DYNSYM = 2, 11
PT_LOAD = 1


class ElfFile:
    """The symbols of one file, and where its parts are loaded."""

    def __init__(self, path):
        self.segments = []  # (offset in the file, address it is linked for, bytes in the file)
        self.symbols = []   # (address, size, type, name), by address
        try:
            # A device may have no end (/dev/zero), and a database may be larger than memory.
            if stat.S_ISREG(os.stat(path).st_mode):
                with open(path, "rb") as file:
                    if file.read(5) == b"\x7fELF\x02":
                        file.seek(0)
                        self.data = file.read()
                        self._read()
        except (OSError, struct.error, IndexError, ValueError):
            self.symbols = []
        self.data = b""
        self.symbols.sort()
        self.addresses = [symbol[0] for symbol in self.symbols]

    def _read(self):
        head = struct.unpack_from("<HHIQQQIHHHHHH", self.data, 16)
        program_at, section_at = head[4], head[5]
        program_size, programs, section_size, sections = head[8:12]
        for i in range(programs):
            kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", self.data, program_at + i * program_size)
            if kind == PT_LOAD:
                self.segments.append((offset, address, in_file))
        tables = [struct.unpack_from("<IIQQQQIIQQ", self.data, section_at + i * section_size) for i in range(sections)]
        seen = set()
        for wanted in (SHT_SYMTAB, SHT_DYNSYM):
            for _, kind, _, _, offset, size, link, _, _, item in tables:
                if kind != wanted or item == 0:
                    continue
                strings = tables[link][4]
                for at in range(offset, offset + size, item):
                    name_at, info, _, section, address, length = struct.unpack_from("<IBBHQQ", self.data, at)
                    if section == 0 or info & 15 not in (FUNCTION, OBJECT, NO_TYPE) or address == 0 or (address, length) in seen:
                        continue
                    seen.add((address, length))
                    end = self.data.index(b"\0", strings + name_at)
                    name = self.data[strings + name_at:end].decode(errors="replace")
                    if name:
                        self.symbols.append((address, length, info & 15, name))

    def linked_address(self, offset):
        """What a place in the file is linked for, None where nothing of it is loaded."""
        for start, address, size in self.segments:
            if start <= offset < start + size:
                return offset - start + address
        return None

    def covering(self, address):
        """(name, distance) of the symbol that an address lies in, or None."""
        at = bisect.bisect_right(self.addresses, address)
        for i in range(at - 1, max(-1, at - 6), -1):
            start, size, _, name = self.symbols[i]
            if start <= address < start + max(size, 1):
                return name, address - start
        return None

    def address_of(self, name):
        """The linked address of a symbol, None if there is none."""
        for address, _, _, other in self.symbols:
            if other == name:
                return address
        return None


class AddressSpace:
    """What lies where in a process, from the text of its /proc/PID/maps."""

    def __init__(self, maps):
        self.rows = []  # (low, high, offset, path)
        for line in maps.splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) < 5:
                continue
            low, high = (int(part, 16) for part in fields[0].split("-"))
            self.rows.append((low, high, int(fields[2], 16), fields[5] if len(fields) > 5 else ""))
        self.rows.sort()
        self.lows = [row[0] for row in self.rows]
        self.files = {}
        self.bases = {}

    def file(self, path):
        if path not in self.files:
            self.files[path] = ElfFile(path)
        return self.files[path]

    def base(self, path):
        """What is added to a file's linked addresses: from its first mapping."""
        if path not in self.bases:
            self.bases[path] = None
            for low, _, offset, other in self.rows:
                if other == path:
                    linked = self.file(path).linked_address(offset)
                    if linked is not None:
                        self.bases[path] = low - linked
                        break
        return self.bases[path]

    def row_at(self, address):
        at = bisect.bisect_right(self.lows, address) - 1
        return self.rows[at] if at >= 0 and address < self.rows[at][1] else None

    def name(self, address):
        """(file, symbol or None, distance) of an address outside of the heap."""
        row = self.row_at(address)
        if row is None:
            return "", None, address
        path = row[3]
        if not path.startswith("/"):
            # The part of a file's data that is zero at the start lies in a mapping without a name behind it.
            before = self.row_at(row[0] - 1)
            if before is None or not before[3].startswith("/") or path not in ("", "[heap]"):
                return path, None, address - row[0]
            path = before[3]
        base = self.base(path)
        if base is None:
            return path, None, address - row[0]
        found = self.file(path).covering(address - base)
        return (path, *found) if found else (path, None, address - base)


def demangle(names):
    """The names as C++ writes them, where there is a c++filt."""
    names = list(names)
    if not any(name.startswith("_Z") for name in names) or shutil.which("c++filt") is None:
        return names
    try:
        done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True, timeout=30)
        lines = done.stdout.split("\n")
        return lines[:len(names)] if len(lines) >= len(names) else names
    except (OSError, subprocess.SubprocessError):
        return names

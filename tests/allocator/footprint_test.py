#!/usr/bin/env python3
"""Runs a small program on the library and counts how much of the library the process has in memory at its end.

Run by meson with the library's path in WARREN_LIB, for an optimised build that GNU ld has put together.  What the kernel maps depends on
where the library comes to lie, so several processes are looked at.  Invariant: preload/sections.ld keeps together what they touch.
"""

import os
import re
import subprocess
import sys

PROCESSES = 8
MOST_KIB = 124  # 120 with g++ 12; before the segments were set apart, 184 to 250


def resident_kib(smaps, library):
    """Of the file's mappings, and of what lies behind the last of them without a name: .bss."""
    total, counted, end = 0, False, None
    for line in smaps.splitlines():
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)$", line)
        if mapping:
            counted = mapping.group(3) == library or (mapping.group(3) == "" and mapping.group(1) == end)
            if counted:
                end = mapping.group(2)
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def main():
    library = os.path.realpath(os.environ["WARREN_LIB"])
    environment = {name: value for name, value in os.environ.items() if name != "WARREN_CONF"} | {"LD_PRELOAD": library}
    seen = []
    for _ in range(PROCESSES):
        smaps = subprocess.run(["cat", "/proc/self/smaps"], env=environment, check=True, capture_output=True, text=True).stdout
        seen.append(resident_kib(smaps, library))
    print(f"KiB of the library in {PROCESSES} processes: {seen} (at most {MOST_KIB})")
    if min(seen) == 0:
        print("FAILED: a process without the library")
    elif max(seen) > MOST_KIB:
        print("FAILED: a process has more of the library than it needs")
    else:
        return 0
    return 1


sys.exit(main())

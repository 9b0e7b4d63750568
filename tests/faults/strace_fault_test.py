"""A second opinion from outside: strace makes the process's own mmaps fail, whoever calls them, against the library
that ships. Beyond the loader's mmaps, a program must end by itself, never by a signal.

Run by meson, suite 'faults'. Needs strace. Invariant: only failures after the loader has finished are judged.
"""
import re
import shutil

from scene import LIBRARY, SOAK, check, finish, run, victim

STRACE = shutil.which("strace")
check(STRACE is not None, "strace is not installed")


def trace(command, options):
    return run([STRACE, "-f", "-qq", "-E", f"LD_PRELOAD={LIBRARY}", "-E", "WARREN_EXPECT=libwarren.so", *options, *command])


def first_own_mmap():
    """The number of the first mmap after the victim's main has begun."""
    process = trace([victim("workload_victim"), "--cycles=1", "--no-threads", "--no-fork"], ["-e", "trace=mmap,write"])
    before = process.stderr.split('"main\\n"')[0]
    check('"main\\n"' in process.stderr, "the victim's start under strace", process)
    return len(re.findall(r"^mmap\(", before, re.M)) + 1


if STRACE:
    first = first_own_mmap()
    for n in range(first, first + (60 if SOAK else 12)):
        for when in (f"{n}", f"{n}+"):
            inject = ["-e", "trace=mmap", "-e", f"inject=mmap:error=ENOMEM:when={when}", "-o", "/dev/null"]
            process = trace([victim("workload_victim"), "--cycles=1", "--no-threads", "--no-fork"], inject)
            check(process.returncode == 0 and "checksum=" in process.stdout, f"mmap {when} fails", process)
finish()

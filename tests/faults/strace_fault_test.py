"""A second opinion from outside: strace makes the process's own system calls fail, whoever makes them, against the
library that ships. Once the loader has finished, the workload must end by itself and well; from the library's own
mapping up to there, and in ls (whose own code may give up), nothing may end by a signal. (Before it, the loader of
glibc 2.36 itself does.)

Run by meson, suite 'faults'. Needs strace. Invariant: which calls are the loader's is found out by a run of its own.
"""
import re
import shutil

from scene import LIBRARY, SOAK, check, finish, in_parallel, run, victim

STRACE = shutil.which("strace")
WORKLOAD = [victim("workload_victim"), "--cycles=1", "--no-threads", "--no-fork"]
LOADER_GAVE_UP = ("error while loading shared libraries", "cannot allocate", "cannot map", "cannot create", "cannot apply",
                  "cannot change", "cannot enable", "out of memory", "not enough", "from LD_PRELOAD cannot be preloaded",
                  "unexpected reloc", "Cannot allocate memory")


def trace(command, options, expect="libwarren.so"):
    return run([STRACE, "--seccomp-bpf", "-f", "-qq", "-E", f"LD_PRELOAD={LIBRARY}", "-E", f"WARREN_EXPECT={expect}", *options, *command])


def calls_of(command, mark=None):
    """How often `command` makes each call, up to `mark` or in all."""
    process = trace(command, ["-e", "trace=mmap,munmap,madvise,mremap,mprotect,write"])
    text = process.stderr.split(mark)[0] if mark else process.stderr
    check(process.returncode == 0 and (mark is None or mark in process.stderr), f"{command[0]} under strace", process)
    return {call: len(re.findall(rf"^{call}\(", text, re.M)) for call in ("mmap", "munmap", "madvise", "mremap", "mprotect")}


def mapped_at():
    """How many mmaps there have been when the library is in place and the loader goes on to the next file."""
    process = trace(WORKLOAD, ["-e", "trace=mmap,openat"])
    text = process.stderr
    own = text.find(LIBRARY)
    check(own >= 0, "the library is opened under strace", process)
    return len(re.findall(r"^mmap\(", text[:text.find("openat(", own)], re.M))


def block_at(command):
    """Which mmap is the loader's for the first thread's own block; 0: none. Where it gets none, it may write to address 0 (glibc 2.36),
    depending on how large the block is; nothing of the library has run then."""
    process = trace(command, ["-e", "trace=mmap,arch_prctl"])
    before = process.stderr.split("arch_prctl(ARCH_SET_FS")[0].splitlines()
    return sum(line.startswith("mmap(") for line in before) if before and "MAP_ANONYMOUS" in before[-1] else 0


def inject(command, call, error, when):
    options = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}", "-o", "/dev/null"]
    return trace(command, options)


def workload(case):
    call, error, when, begun = case
    process = inject(WORKLOAD, call, error, when)
    what = f"the workload, {call} {when} fails with {error}"
    if begun or process.stdout.startswith("main\n"):
        check(process.returncode == 0 and "checksum=" in process.stdout and "warren:" not in process.stderr, what, process)
    else:
        check(process.returncode in (1, 127, "not preloaded") and any(text in process.stderr for text in LOADER_GAVE_UP), what, process)


def ls(when):
    process = inject(["/bin/ls", "/usr"], "mmap", "ENOMEM", when)
    own_end = process.returncode in (0, 1, 2, 127, "not preloaded") and "warren:" not in process.stderr
    check(own_end, f"ls, mmap {when} fails", process)


def main():
    attached = trace(["/bin/true"], ["-o", "/dev/null"]) if STRACE else None
    if attached is None or attached.returncode != 0:
        print("not possible here: strace", attached.stderr.strip() if attached else "is not installed")
        check(STRACE is not None, "strace is not installed")
        return
    before, whole = calls_of(WORKLOAD, '"main\\n"'), calls_of(WORKLOAD)
    print("calls before main:", before, "in all:", whole)
    cases = []
    for call in ("mmap", "munmap", "madvise", "mremap"):
        first, last = before[call] + 1, whole[call] + 1
        wanted = set(range(first, last + 1) if SOAK else [*range(first, min(first + 8, last)), (first + last) // 2, last])
        for n in sorted(wanted):
            for when in (f"{n}", f"{n}+"):
                for error in ("ENOMEM", "EAGAIN", "EINVAL") if SOAK else ("ENOMEM" if n % 2 else "EAGAIN",):
                    cases.append((call, error, when, True))
    # The heap begins inside the loader: the first mallocs are its own.
    start = mapped_at() + 1
    block = block_at(WORKLOAD)
    for n in range(start, before["mmap"] + 1, 1 if SOAK else 2):
        if n == block:
            continue
        cases.append(("mmap", "ENOMEM", f"{n}+", False))
        cases.append(("mmap", "ENOMEM", f"{n}", False))
    in_parallel(workload, cases)
    calls, block = calls_of(["/bin/ls", "/usr"])["mmap"], block_at(["/bin/ls", "/usr"])
    in_parallel(ls, [f"{n}+" for n in range(start, calls + 2, 1 if SOAK else 3) if n != block])


main()
finish()

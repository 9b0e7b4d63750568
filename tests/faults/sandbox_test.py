"""Hostile surroundings: system calls that a seccomp filter refuses, other address space layouts, closed descriptors,
and foreign mappings in the heap's way. The workload must give the checksum it gives in peace.

Run by meson, suite 'faults'. Invariant: no scene changes what the program computes.
"""
from scene import LIBRARY, check, finish, run, victim

EXPECT = {"WARREN_EXPECT": "libwarren.so"}
WORKLOAD = [victim("workload_victim"), "--cycles=1"]


def checksum(process):
    return [line.split()[0] for line in process.stdout.splitlines() if line.startswith("checksum=")]


peace = run(WORKLOAD, preload=LIBRARY, env=EXPECT)
check(peace.returncode == 0 and len(checksum(peace)) == 1, "in peace", peace)


def same(what, command=WORKLOAD, launch=(), env=None, expected=peace):
    process = run(command, preload=LIBRARY, launch=launch, env={**EXPECT, **(env or {})})
    if process.returncode == 125:
        print("not possible here:", what, process.stderr.strip())
        return
    check(process.returncode == 0 and checksum(process) == checksum(expected) and "warren:" not in process.stderr, what, process)


for call in ("madvise", "rseq", "membarrier", "getrandom", "prctl", "getcpu", "mremap", "sched_getaffinity", "clock_gettime",
             "userfaultfd", "perf_event_open", "sched_yield", "sysinfo", "mincore"):
    for error in ("ENOSYS", "EPERM"):
        threads = ["--no-threads"] if call == "rseq" else []  # glibc ends the process where a thread's rseq is refused late
        expected = run(WORKLOAD + threads, preload=LIBRARY, env=EXPECT)
        same(f"{call} refused with {error}", WORKLOAD + threads + [f"--deny={call}", f"--errno={error}"], expected=expected)
# Opening files is refused after the start: /proc cannot be read then, which the heap never needs.
for call in ("openat", "open"):
    process = run(WORKLOAD + [f"--deny={call}", "--errno=EPERM"], preload=LIBRARY, env=EXPECT)
    check(checksum(process) == checksum(peace), f"{call} refused", process)
for call in ("rseq", "membarrier", "getrandom", "sched_getaffinity", "madvise,mremap,rseq,membarrier,getrandom"):
    same(f"{call} refused from the start", launch=["--deny", call])

same("no randomisation", launch=["--no-aslr"])
same("the legacy layout", launch=["--legacy-layout"])
same("an unlimited stack", launch=["--stack", "unlimited"])
same("huge pages forbidden", launch=["--no-thp"])
same("stdin closed", launch=["--close", "0"])
for conf in ("arena=64MiB", "arena=128MiB", "arena=16TiB", "junk=1", "zero_on_free=1"):
    if conf == "arena=64MiB":  # too small for the 96 MiB block: NULLs, but everything else as ever
        process = run(WORKLOAD, preload=LIBRARY, env={**EXPECT, "WARREN_CONF": conf})
        check(process.returncode == 0 and len(checksum(process)) == 1, conf, process)
    else:
        same(conf, env={"WARREN_CONF": conf})

process = run(["/bin/sh", "-c", "exec 2>&- 1>&- 0<&-; /bin/ls /usr > /dev/null"], preload=LIBRARY)
check(process.returncode == 0, "all descriptors closed", process)
process = run([victim("neighbour_victim")], preload=LIBRARY, env=EXPECT)
check(process.returncode == 0 and process.stdout.endswith("held\n"), "foreign mappings in the heap's way", process)
finish()

"""Hostile surroundings: system calls that a seccomp filter refuses, from the start or half-way, no /proc, closed
descriptors, options of the library. The workload must give the checksum that it gives in peace.

Run by meson, suite 'faults'. Invariant: no scene changes what the program computes.
"""
import shutil

from scene import LIBRARY, check, finish, in_parallel, run, victim

EXPECT = {"WARREN_EXPECT": "libwarren.so"}
WORKLOAD = [victim("workload_victim"), "--cycles=1"]
NO_THREADS = [*WORKLOAD, "--no-threads"]
PYTHON = "/usr/bin/python3"
CALLS = ("madvise", "rseq", "membarrier", "getrandom", "prctl", "getcpu", "mremap", "sched_getaffinity", "clock_gettime",
         "userfaultfd", "perf_event_open", "sched_yield", "sysinfo", "mincore", "set_robust_list", "sigaltstack",
         "rt_sigprocmask", "openat", "open", "readlink", "newfstatat")


def checksum(process):
    return [line.split()[0] for line in process.stdout.splitlines() if line.startswith("checksum=")]


peace = {tuple(command): run(command, preload=LIBRARY, env=EXPECT) for command in (WORKLOAD, NO_THREADS)}
for process in peace.values():
    check(process.returncode == 0 and len(checksum(process)) == 1, "in peace", process)


def same(case):
    what, command, options, launch, env = case
    process = run([*command, *options], preload=LIBRARY, launch=launch, env={**EXPECT, **env})
    if process.returncode in (77, 125):
        print("not possible here:", what, process.stderr.strip())
        return
    check(process.returncode == 0 and checksum(process) == checksum(peace[tuple(command)]) and "warren:" not in process.stderr,
          what, process)


cases = []
for call in CALLS:
    # glibc itself ends the process where a thread's rseq is refused late, and aborts without rt_sigprocmask.
    command = NO_THREADS if call in ("rseq", "rt_sigprocmask", "set_robust_list") else WORKLOAD
    for error in ("ENOSYS", "EPERM"):
        cases.append((f"{call} refused with {error}", command, [f"--deny={call}", f"--errno={error}"], [], {}))
for call in ("clone,clone3",):  # no threads, and no fork either: a library's own thread cannot start
    cases.append((f"{call} refused with EPERM", NO_THREADS, ["--no-fork", f"--deny={call}", "--errno=EPERM"], [], {}))
for call in ("rseq", "membarrier", "getrandom", "prctl", "getcpu", "sched_getaffinity", "madvise", "mremap",
             "madvise,mremap,rseq,membarrier,getrandom,sched_getaffinity,prctl"):
    for error in ("ENOSYS", "EPERM"):
        cases.append((f"{call} refused from the start with {error}", WORKLOAD, [], ["--deny", call, "--errno", error], {}))
cases.append(("huge pages forbidden", WORKLOAD, [], ["--no-thp"], {}))
for closed in ("0", "2", "0,2"):
    cases.append((f"descriptors {closed} closed", WORKLOAD, [], ["--close", closed], {}))
for conf in ("arena=128MiB", "arena=1GiB", "arena=16TiB", "junk=1", "zero_on_free=1", "thp=on", "thp=off"):
    cases.append((conf, WORKLOAD, [], [], {"WARREN_CONF": conf}))
in_parallel(same, cases)

# Too small for the 96 MiB block: NULLs, but everything else as ever.
process = run(WORKLOAD, preload=LIBRARY, env={**EXPECT, "WARREN_CONF": "arena=64MiB"})
check(process.returncode == 0 and len(checksum(process)) == 1, "arena=64MiB", process)

script = "import threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join(); print(len({i: [i] for i in range(9000)}))"
for denied in ("getrandom", "membarrier", "madvise,mremap,membarrier,sched_getaffinity"):
    for command in ([PYTHON, "-c", script], ["/bin/ls", "/usr"]):
        plain = run(command, launch=["--deny", denied])
        ours = run(command, preload=LIBRARY, launch=["--deny", denied])
        if plain.returncode == 125:
            continue
        check(ours.returncode == plain.returncode and ours.stdout == plain.stdout, f"{command[0]} without {denied}", ours)

# All of stdin, stdout and stderr closed; and reports that have nowhere to go.
for conf in ("", "stats=exit", "help=1", "nonsense=1"):
    process = run(["/bin/ls", "/usr"], preload=LIBRARY, launch=["--close", "0,1,2"], env={"WARREN_CONF": conf})
    # ls itself complains (exit 2) that it cannot write; it must not be worse.
    check(process.returncode in (0, 2), f"all descriptors closed, WARREN_CONF={conf}", process)

# No /proc: a mount namespace of the test's own, where it can be had.
unshare = shutil.which("unshare")
hidden = 'mount -t tmpfs none /proc 2>/dev/null || exit 125; test ! -e /proc/self || exit 125; exec "$0" "$@"'
if unshare:
    command = [unshare, "-rm", "/bin/sh", "-c", hidden, victim("harsh_launch"), "--preload", LIBRARY, "--", *WORKLOAD]
    process = run(command, env=EXPECT)
    if process.returncode in (1, 125) and not process.stdout:
        print("not possible here: no /proc:", process.stderr.strip())
    else:
        check(process.returncode == 0 and checksum(process) == checksum(peace[tuple(WORKLOAD)]), "no /proc", process)
finish()

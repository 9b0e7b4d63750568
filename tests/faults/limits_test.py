"""Resource limits: programs start and run under them, memory runs out as NULL, and comes back when it is freed.

Run by meson, suite 'faults'. Not shown here: vm.overcommit_memory=2 and memory cgroups, which are settings of the
host. Invariant: a victim's own "held" is needed for a pass.
"""
from scene import LIBRARY, check, finish, numbers, run, victim

EXPECT = {"WARREN_EXPECT": "libwarren.so"}
PYTHON = "/usr/bin/python3"


def same_output(command, what, launch):
    plain = run(command, launch=launch)
    ours = run(command, preload=LIBRARY, launch=launch)
    check(plain.returncode == 0, f"{what}: the control run", plain)
    check(ours.returncode == 0 and ours.stdout == plain.stdout and "warren:" not in ours.stderr, what, ours)


for limit in ("30M", "60000K", "200M", "8G"):
    same_output(["/bin/ls", "/usr"], f"ls under an address space of {limit}", ["--as", limit])
for limit in ("60000K", "200M", "8G"):
    script = "d = {i: str(i) * 3 for i in range(20000)}; print(len(d), sum(map(len, d.values())))"
    same_output([PYTHON, "-c", script], f"python3 under an address space of {limit}", ["--as", limit])

# Too much for the limit: the program's own error, and it goes on.
script = "\ntry:\n    x = bytearray(10**9)\nexcept MemoryError:\n    print('MemoryError', len([0] * 1000))"
process = run([PYTHON, "-c", script], preload=LIBRARY, launch=["--as", "200M"])
check(process.stdout == "MemoryError 1000\n", "python3 beyond its limit", process)
process = run([PYTHON, "-c", "import resource\nresource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))" + script +
               "\nimport threading\nt = threading.Thread(target=print, args=('thread',)); t.start(); t.join()"], preload=LIBRARY)
check(process.stdout == "MemoryError 1000\nthread\n", "a limit set while the program runs", process)

for name, launch, options in (
        ("RLIMIT_AS 60 MB", ["--as", "60M"], []),
        ("RLIMIT_AS 200 MB", ["--as", "200M"], []),
        ("RLIMIT_DATA 64 MB", ["--data", "64M"], []),
        ("mappings used up", ["--as", "700M"], ["--maps", "--rounds=2"])):
    process = run([victim("exhaustion_victim"), *options], preload=LIBRARY, launch=launch, env=EXPECT)
    check(process.returncode == 0 and process.stdout.endswith("held\n"), name, process)
    kib = numbers(process, "kib")
    check(kib and min(kib) * 4 >= max(kib), f"{name}: every round finds memory: {kib} KiB")

for options in ([], ["--future"]):
    process = run([victim("locked_victim"), *options], preload=LIBRARY, launch=["--memlock", "8M"], env=EXPECT)
    check(process.returncode in (0, 77), f"mlockall {options} with 8 MB to lock", process)
    process = run([victim("locked_victim"), *options], preload=LIBRARY, env=EXPECT)  # as root there is no limit
    check(process.returncode in (0, 77), f"mlockall {options}", process)
finish()

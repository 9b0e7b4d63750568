"""Resource limits: programs start and run under them, memory runs out as NULL, and comes back when it is freed.

Run by meson, suite 'faults'. Not shown here: vm.overcommit_memory=2, which is a setting of the host, and memory
cgroups, since a group would have to be made below the one that the test runner itself lives in.
Invariant: a victim's own "held" is needed for a pass.
"""
from scene import LIBRARY, SOAK, check, finish, held, in_parallel, numbers, run, victim

EXPECT = {"WARREN_EXPECT": "libwarren.so"}
PYTHON = "/usr/bin/python3"


def same_output(case):
    command, what, launch = case
    plain = run(command, launch=launch)
    ours = run(command, preload=LIBRARY, launch=launch)
    check(plain.returncode == 0, f"{what}: the control run", plain)
    check(ours.returncode == 0 and ours.stdout == plain.stdout and "warren:" not in ours.stderr, what, ours)


cases = []
for limit in ("30M", "60000K", "200M", "8G"):
    cases.append((["/bin/ls", "/usr"], f"ls under an address space of {limit}", ["--as", limit]))
    script = "d = {i: str(i) * 3 for i in range(9000)}; print(len(d), sum(map(len, d.values())))"
    cases.append(([PYTHON, "-c", script], f"python3 under an address space of {limit}", ["--as", limit]))
    cases.append(([PYTHON, "-X", "dev", "-c", "print(sum(range(9)))"], f"python3 -X dev under {limit}", ["--as", limit]))
cases.append((["/bin/ls", "/usr"], "ls under RLIMIT_DATA 8 MB", ["--data", "8M"]))
cases.append(([PYTHON, "-c", "print(len([0] * 100000))"], "python3 under RLIMIT_DATA 64 MB", ["--data", "64M"]))
in_parallel(same_output, cases)
for limit in ("30M", "60000K"):  # and it was the library that ran there
    process = run(["/bin/cat", "/proc/self/maps"], preload=LIBRARY, launch=["--as", limit])
    check("libwarren.so" in process.stdout, f"the library is there under {limit}", process)

# Too much for the limit: the program's own error, and it goes on.
script = "\ntry:\n    x = bytearray(10**9)\nexcept MemoryError:\n    print('MemoryError', len([0] * 1000))"
for limit in ("60000K", "200M"):
    process = run([PYTHON, "-c", script], preload=LIBRARY, launch=["--as", limit])
    check(process.stdout == "MemoryError 1000\n", f"python3 beyond its limit of {limit}", process)
process = run([PYTHON, "-c", "import resource\nresource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))" + script +
               "\nimport threading\nt = threading.Thread(target=print, args=('thread',)); t.start(); t.join()"], preload=LIBRARY)
check(process.stdout == "MemoryError 1000\nthread\n", "a limit set while the program runs", process)


def exhaustion(case):
    name, launch, options, least_kib = case
    process = run([victim("exhaustion_victim"), *options], preload=LIBRARY, launch=launch, env=EXPECT)
    if not check(held(process), f"exhaustion under {name}", process):
        return
    kib = numbers(process, "usable")
    print(f"exhaustion under {name}: {kib} KiB, of which asked for: {numbers(process, 'kib')}")
    # Neither does a small part of the limit count as all there is, nor does any of it get lost. (A run of pages that is handed out whole
    # for a small request counts in full here: that is for metadata_test.cc, AtALimitEachFreePageIsHandedOutByItself.)
    if least_kib:
        check(kib[0] >= least_kib and min(kib) * 10 >= max(kib) * 9, f"exhaustion under {name}: {kib} KiB of at least {least_kib}", process)


rounds = [f"--rounds={12 if SOAK else 3}"]
in_parallel(exhaustion, (
    ("RLIMIT_AS 30 MB", ["--as", "30M"], rounds, 12000),
    ("RLIMIT_AS 60 MB", ["--as", "60M"], rounds, 34000),
    ("RLIMIT_AS 200 MB", ["--as", "200M"], rounds, 140000),
    ("RLIMIT_AS 8 GB", ["--as", "8G"], ["--vast", *rounds], 6500000),
    ("RLIMIT_DATA 64 MB", ["--data", "64M"], rounds, 40000),
    ("RLIMIT_AS 200 MB where the kernel chooses", ["--as", "200M", "--no-placement"], rounds, 100000),
    ("RLIMIT_AS 700 MB without mappings", ["--as", "700M"], ["--maps", "--rounds=2"], 0)))


def at_the_map_limit(launch):
    process = run([victim("map_limit_victim")], preload=LIBRARY, launch=launch, env=EXPECT)
    if process.returncode == 77:
        print("not possible here: using up vm.max_map_count")
        return
    check(held(process), f"vm.max_map_count used up {launch}", process)


in_parallel(at_the_map_limit, ([], ["--no-placement"]) if SOAK else ([],))


def locked(case):
    mode, launch = case
    process = run([victim("locked_victim"), mode], preload=LIBRARY, launch=launch, env=EXPECT)
    if process.returncode == 77:
        print("not possible here:", mode, launch, process.stdout.strip())
        return
    check(held(process), f"locked memory: {mode} {launch}", process)


in_parallel(locked, [(mode, launch) for mode in ("all", "onfault", "future", "parts")
                     for launch in ([], ["--memlock", "8M"], ["--memlock", "200K"])])
finish()

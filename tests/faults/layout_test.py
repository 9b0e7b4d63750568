"""Address spaces of other shapes, and programs that use the break, the address space and their descriptors as they like.

Run by meson, suite 'faults'. Invariant: layout_victim's own "held" is needed for a pass, and no layout changes what a
program prints.
"""
from scene import LIBRARY, SOAK, check, finish, held, in_parallel, run, victim

EXPECT = {"WARREN_EXPECT": "libwarren.so"}
PYTHON = "/usr/bin/python3"
MODES = ("brk", "reserved", "full", "walls", "kernel", "descriptors", "sandbox")
LAYOUTS = {
    "no randomisation": ["--no-aslr"],
    "the legacy layout": ["--legacy-layout"],
    "an unlimited stack": ["--stack", "unlimited"],
    "an unlimited stack, no randomisation": ["--stack", "unlimited", "--no-aslr"],
    "addresses that the kernel chooses": ["--no-placement"],
    "an address space of 2 GB": ["--as", "2G"],
}


def mode_alone(case):
    mode, launch, env = case
    process = run([victim("layout_victim"), mode], preload=LIBRARY, launch=launch, env={**EXPECT, **env})
    if process.returncode in (77, 125):
        print("not possible here:", mode, launch, process.stderr.strip())
        return
    check(held(process), f"{mode} {launch} {env}", process)


cases = [(mode, [], {}) for mode in MODES]
cases += [("walls", [], {"WARREN_CONF": "arena=256MiB"}), ("kernel", [], {"WARREN_CONF": "arena=256MiB"})]
cases += [("kernel", LAYOUTS["addresses that the kernel chooses"], {}), ("descriptors", ["--close", "0"], {}),
          ("descriptors", ["--close", "0,1,2"], {})]
if SOAK:
    # 100,000 reservations need more than an address space of 2 GB.
    cases += [(mode, launch, {}) for mode in MODES for launch in LAYOUTS.values() if mode != "reserved" or "--as" not in launch]
# With stdout closed "held" cannot be said: those cases are judged by their exit code alone.
for case in [case for case in cases if "0,1,2" in case[1]]:
    cases.remove(case)
    process = run([victim("layout_victim"), case[0]], preload=LIBRARY, launch=case[1], env={**EXPECT, **case[2]})
    check(process.returncode == 0, f"{case[0]} {case[1]}", process)
in_parallel(mode_alone, cases)


def programs(item):
    name, launch = item
    for command in (["/bin/ls", "/usr"], [PYTHON, "-c", "import json; print(len(json.dumps(list(range(50000)))))"]):
        plain = run(command, launch=launch)
        if plain.returncode == 125:
            print("not possible here:", name, plain.stderr.strip())
            return
        ours = run(command, preload=LIBRARY, launch=launch)
        check(ours.returncode == 0 and ours.stdout == plain.stdout and "warren:" not in ours.stderr,
              f"{command[0]} with {name}", ours)
    process = run([victim("workload_victim"), "--cycles=1"], preload=LIBRARY, launch=launch, env=EXPECT)
    check(process.returncode == 0 and " nulls=0 " in process.stdout, f"the workload with {name}", process)


in_parallel(programs, LAYOUTS.items())

process = run([victim("neighbour_victim")], preload=LIBRARY, env=EXPECT)
check(held(process), "foreign mappings in the heap's way", process)
finish()

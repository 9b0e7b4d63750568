"""Free memory goes back to the kernel, also when the process is idle; and a program never notices who does it.

Run by meson, suite 'scavenger', once for each group: rest, children, sealed, limit, bystander, churn. By hand: each
failure prints its command. WARREN_SOAK=1 widens. Environment: that of tests/faults/scene.py, and SCAVENGER_VICTIMS.
Invariant: a verdict needs the victim's own last line; what is not possible here is named, never silently passed over.
"""
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "faults"))
from scene import FAULTY, LIBRARY, SOAK, check, finish, held, in_parallel, run  # noqa: E402

SKIPPED, CANNOT_SET_SCENE = 77, 125


def judge(case):
    what, name, arguments, conf, options = case
    library = options.get("library", LIBRARY)
    env = {"WARREN_EXPECT": os.path.basename(library), "WARREN_CONF": conf, **options.get("env", {})}
    command = [os.path.join(os.environ["SCAVENGER_VICTIMS"], name), *arguments]
    process = run(command, preload=library, env=env, launch=options.get("launch", ()))
    no_scene = process.returncode == CANNOT_SET_SCENE and "launch" in options and os.path.exists(command[0])
    if process.returncode == SKIPPED or no_scene:
        print("not possible here:", what, (process.stdout + process.stderr).strip())
        return
    if check(held(process), what, process):
        print(what + ":", " ".join(process.stdout.split()))


def huge_pages():
    try:
        return pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().strip()
    except OSError as error:
        return str(error)


def rest():
    always = huge_pages()
    if "[always]" not in always:
        print("not possible here: huge pages always; the machine says", always)
    for size in (16, 1000, 100000, 10000000):
        yield f"512 MiB in blocks of {size}", "rest_victim", ["gives_back", str(size)], "scavenge_delay=200", {}
    yield "off", "rest_victim", ["off"], "scavenge_delay=off", {}
    yield "a program that frees little", "rest_victim", ["little"], "scavenge_delay=0", {}
    yield "the thread waits", "rest_victim", ["waits"], "scavenge_delay=3600000", {}
    yield "the counters", "rest_victim", ["counters"], "scavenge_delay=50", {}


def children():
    yield "a forked child comes to rest", "children_victim", ["rest"], "scavenge_delay=200", {}
    yield "forks in the middle", "children_victim", ["storm"], "scavenge_delay=0", {}
    yield "programs started in the middle", "children_victim", ["programs"], "scavenge_delay=0", {}
    yield "exits in the middle", "children_victim", ["exits"], "scavenge_delay=0", {}


def sealed():
    refused = {"launch": ["--deny", "clone,clone3", "--errno", "EPERM"]}
    yield "clone is refused", "sealed_victim", ["refused"], "scavenge_delay=100", refused
    yield "a limit of processes", "sealed_victim", ["nproc"], "scavenge_delay=100", {}
    yield "clone is deadly", "sealed_victim", ["deadly"], "scavenge_delay=100", {}
    yield "a sandbox", "sealed_victim", ["sealed"], "scavenge_delay=100", {}


def limit():
    yield "memlimit from the start", "limit_victim", ["start"], "memlimit=64MiB,scavenge_delay=off", {}
    yield "memlimit set live", "limit_victim", ["live"], "scavenge_delay=off", {}


def bystander():
    for scenario in ("main_leaves", "others_stay", "signals", "credentials", "single"):
        yield scenario, "bystander_victim", [scenario], "scavenge_delay=3600000", {}


def churn():
    seconds = "30" if SOAK else "3"
    for number in range(4 if SOAK else 1):
        seed = str(random.SystemRandom().getrandbits(32) if SOAK else 20261121 + number)
        arguments = ["churn", seconds, seed]
        yield f"churn, seed {seed}", "churn_victim", arguments, "scavenge_delay=0", {}
        fault = {"library": FAULTY, "env": {"WARREN_FAULT": "madvise:7:every"}}
        yield f"churn while madvise fails, seed {seed}", "churn_victim", arguments, "scavenge_delay=0", fault


GROUPS = {group.__name__: group for group in (rest, children, sealed, limit, bystander, churn)}
if len(sys.argv) != 2 or sys.argv[1] not in GROUPS:
    sys.exit("usage: scavenger_test.py " + "|".join(GROUPS))
in_parallel(judge, list(GROUPS[sys.argv[1]]()))
finish()

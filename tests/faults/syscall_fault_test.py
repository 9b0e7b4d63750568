"""Every n-th system call of the heap fails, in turn: the workload victim must never crash, must see NULL with ENOMEM
at the worst, keep every byte it was promised, and give its memory back afterwards.

Run by meson, suite 'faults'; by hand: each failure prints its command. WARREN_SOAK=1 takes every n, mode and errno;
else each of the first calls of a kind fails in every mode, each later one once, and in the other modes every eighth.
Invariant: n covers every call that the workload makes, in a scene where each kind of call is made.
"""
import os
import re

from scene import FAULTY, SOAK, check, finish, in_parallel, numbers, run, victim

EXPECT = {"WARREN_EXPECT": "libwarren_faulty.so"}
WORKLOAD = [victim("workload_victim"), "--cycles=4" if SOAK else "--cycles=2"]
CALLS = ("mmap", "munmap", "madvise", "mremap")
# The heap chooses its addresses; where it is not let, it reserves, which takes the paths with munmap.
SCENES = {"own": [], "reserved": ["--no-placement"]}
PYTHON = "/usr/bin/python3"


class Quiet:
    """The workload in a scene without faults: how often it makes each call, and what it leaves behind."""

    def __init__(self, launch):
        read_end, write_end = os.pipe()
        process = run(WORKLOAD, preload=FAULTY, launch=launch, pass_fds=(write_end,),
                      env={"WARREN_FAULT_COUNT": str(write_end), **EXPECT})
        os.close(write_end)
        text = os.read(read_end, 4096).decode()
        os.close(read_end)
        check(process.returncode == 0 and " nulls=0 " in process.stdout, f"the workload without faults {launch}", process)
        self.counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", text.splitlines()[0] if text else "")}
        check(set(CALLS) <= set(self.counts), f"call counts: {text!r}")
        self.counts["any"] = sum(self.counts.values())
        self.rss, self.vsize = numbers(process, "rss")[-1], numbers(process, "vsize")[-1]
        self.peak = numbers(process, "mid")[-1]
        self.checksum = process.stdout.split("checksum=")[-1].split()[0]


quiet = {scene: Quiet(launch) for scene, launch in SCENES.items()}
for scene, result in quiet.items():
    print(f"calls of the workload, {scene}: {result.counts}; {result.rss} KiB stay of {result.peak}")
for call in CALLS:
    check(any(result.counts.get(call) for result in quiet.values()), f"no scene makes {call} calls: their faults are not tested")


def judge(case):
    scene, fault = case
    process = run(WORKLOAD, preload=FAULTY, launch=SCENES[scene], env={"WARREN_FAULT": fault, **EXPECT})
    ended_well = process.returncode == 0 and "checksum=" in process.stdout and "warren:" not in process.stderr
    if not check(ended_well, f"WARREN_FAULT={fault}, {scene}", process):
        return
    calm = quiet[scene]
    if numbers(process, "nulls") == [0]:
        check(f"checksum={calm.checksum} " in process.stdout, f"WARREN_FAULT={fault}, {scene}: another checksum", process)
    # Memory that the kernel will not take back stays, but it is used again: no more than one cycle's worth. All
    # else goes back, at the latest when the victim trims a second time.
    refused = fault.split(":")[0] in ("madvise", "any") and ":once" not in fault
    bound = max(calm.peak, calm.rss) * 5 // 4 + 8192 if refused else calm.rss + 2048
    rss, vsize = numbers(process, "rss")[-1], numbers(process, "vsize")[-1]
    check(rss <= bound, f"WARREN_FAULT={fault}, {scene}: {rss} KiB stay, {bound} are the bound", process)
    check(vsize <= calm.vsize + 160 * 1024, f"WARREN_FAULT={fault}, {scene}: {vsize} KiB mapped, {calm.vsize} without faults", process)


FIRST = 128  # the heap has grown, moved blocks by mremap and made its last mmap of the first cycle: by its 120th call

cases = []
for call in (*CALLS, "any"):
    count = quiet["own"].counts[call]
    for n in range(1, count + 3):
        if call != "any" or SOAK:  # once for any call is once for one of the kinds
            cases.append(("own", f"{call}:{n}:once"))
        in_every_mode = SOAK or n <= FIRST or n % 8 == 0 or n > count - 8
        if n <= count + 1 and in_every_mode:
            cases.append(("own", f"{call}:{n}:from"))
        if n > 1 and (2 * n <= count or SOAK) and in_every_mode:  # beyond half of the count, every n-th is the n-th once
            cases.append(("own", f"{call}:{n}:every"))
    for error in ("EAGAIN", "EINVAL", "EPERM"):
        for n in range(1, count + 1) if SOAK else sorted({1, count // 2 + 1}):
            cases.append(("own", f"{call}:{n}:from:{error}"))
            cases.append(("own", f"{call}:{n}:once:{error}"))
# The other scene differs in how it begins: its first calls one by one, the rest in steps.
for call in (*CALLS, "any"):
    count = quiet["reserved"].counts[call]
    for n in range(1, count + 2):
        if n <= 18 or n % 8 == 0 or SOAK:
            cases.append(("reserved", f"{call}:{n}:from"))
            if call != "any":
                cases.append(("reserved", f"{call}:{n}:once"))
    cases += [("reserved", f"{call}:{n}:every") for n in (2, 3, 7)]
in_parallel(judge, cases)


def program(case):
    command, fault = case
    process = run(command, preload=FAULTY, env={"WARREN_FAULT": fault})
    # Without memory a program gives up in its own words; it is not killed, and we do not end it.
    check(isinstance(process.returncode, int) and process.returncode >= 0 and "warren:" not in process.stderr,
          f"{command[0]} with WARREN_FAULT={fault}", process)


def python_ends(case):
    """python3 may end itself by abort() ("Fatal Python error", in words of its own), but by no other signal."""
    command, fault = case
    process = run(command, preload=FAULTY, env={"WARREN_FAULT": fault})
    own_words = process.returncode == -6 and "Fatal Python error" in process.stderr
    check((process.returncode in (0, 1, 2, 127, 255) or own_words) and "warren:" not in process.stderr,
          f"{command[0]} with WARREN_FAULT={fault}", process)


last = 60 if SOAK else 16
in_parallel(program, [(["/bin/ls", "/usr"], f"mmap:{n}:{mode}") for n in range(1, last) for mode in ("once", "from")])
in_parallel(python_ends, [([PYTHON, "-c", "print(len([[i] for i in range(30000)]))"], f"mmap:{n}:once")
                          for n in range(1, last)])
finish()

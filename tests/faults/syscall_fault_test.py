"""Every n-th system call of the heap fails, in turn: the workload victim must never crash, must see NULL with ENOMEM
at the worst, keep every byte it was promised, and give its memory back afterwards.

Run by meson, suite 'faults'; by hand: see scene.py. Invariant: n covers every call that the workload makes.
"""
import os
import re

from scene import FAULTY, SOAK, check, finish, numbers, run, victim

WORKLOAD = [victim("workload_victim"), "--cycles=2"]
CALLS = ("mmap", "munmap", "madvise", "mremap")


def faulted(fault):
    return run(WORKLOAD, preload=FAULTY, env={"WARREN_FAULT": fault, "WARREN_EXPECT": "libwarren_faulty.so"})


def count_calls():
    """How often the workload makes each call when none fails."""
    read_end, write_end = os.pipe()
    process = run(WORKLOAD, preload=FAULTY, pass_fds=(write_end,),
                  env={"WARREN_FAULT_COUNT": str(write_end), "WARREN_EXPECT": "libwarren_faulty.so"})
    os.close(write_end)
    text = os.read(read_end, 4096).decode()
    os.close(read_end)
    check(process.returncode == 0 and "nulls=0 " in process.stdout, "the workload without faults", process)
    counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", text.splitlines()[0] if text else "")}
    check(set(CALLS) <= set(counts), f"call counts: {text!r}")
    return counts, numbers(process, "rss")


def judge(fault, quiet_rss):
    process = faulted(fault)
    ended_well = process.returncode == 0 and "checksum=" in process.stdout
    if not check(ended_well and "warren:" not in process.stderr, f"WARREN_FAULT={fault}", process):
        return
    rss = numbers(process, "rss")
    # What a fault left unreleased may be one large run; a leak would grow with each cycle.
    slack = 16 * 1024 if "madvise" not in fault and "any" not in fault else 200 * 1024
    check(rss[-1] <= quiet_rss + slack, f"WARREN_FAULT={fault}: {rss} KiB after the end, {quiet_rss} without faults", process)
    if ":once" in fault:
        check(rss[-1] <= rss[1] + 4096 or rss[-1] <= quiet_rss + 4096, f"WARREN_FAULT={fault}: the second cycle kept more: {rss}")


counts, quiet = count_calls()
print("calls of the workload:", counts)
for call in CALLS:
    last = counts.get(call, 0) + 1
    for mode in ("once", "from", "every"):
        for n in range(1, last + 1):
            if mode == "every" and n > 12 and not SOAK:
                break
            judge(f"{call}:{n}:{mode}", quiet[-1])
for error in ("EAGAIN", "EINVAL", "EPERM"):
    for call in CALLS:
        for n in sorted({1, 2, 3, counts.get(call, 0) // 2 + 1}):
            judge(f"{call}:{n}:from:{error}", quiet[-1])
for n in range(1, 40, 1 if SOAK else 3):
    judge(f"any:{n}:from", quiet[-1])
    judge(f"any:{n}:every", quiet[-1])
finish()

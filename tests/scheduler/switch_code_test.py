"""No function that switches fibers reads the address of its thread's thread-local block: kept in a register over the
switch, it would be another thread's. The danger comes with each new optimiser, and with link-time optimisation.

Run by meson on a program that holds the scheduler: switch_code_test.py PROGRAM. Needs objdump.
Invariant: a program in which nothing switches fails, for then the names below are out of date.
"""

import re
import subprocess
import sys

SWITCHES = re.compile(r"call.*<(warren_switch|warren::scheduler::(switch_away|park|regain_p)\()")
READS_BASE = re.compile(r"%fs:0x0\b")
# On the thread's own stack, which stays where it is.
ON_THEIR_THREAD = ["run_machine", "park_thread"]


def main():
    code = subprocess.run(["objdump", "-d", "-C", "--no-show-raw-insn", sys.argv[1]], check=True, capture_output=True, text=True).stdout
    switching, wrong = 0, []
    for function in re.split(r"\n(?=[0-9a-f]+ <)", code):
        if not SWITCHES.search(function):
            continue
        switching += 1
        name = function.split("\n", 1)[0]
        if READS_BASE.search(function) and "warren" in name and not any(own in name for own in ON_THEIR_THREAD):
            wrong.append(name)
    print(f"{switching} functions switch")
    for name in wrong:
        print(f"FAILED: reads %fs:0 and switches: {name}")
    return 1 if wrong or switching < 5 else 0


sys.exit(main())

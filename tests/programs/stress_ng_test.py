#!/usr/bin/python3 -B
"""stress-ng --verify: its malloc, thread, fork and memory-mapping stressors, each with its own self-check.

Oracle: exit code 0, "successful run completed", no failure or signal in its log. Amounts are operations; the time limit only
keeps a slow machine within the suite's budget.
The stressors themselves fork, are killed by the run-away handler, and fail on a byte that is not as written.
"""

import harness

kStressors = {
    "malloc": "--malloc 2 --malloc-bytes 4M --malloc-max 1000 --malloc-touch --malloc-ops 5000",
    "large malloc": "--malloc 1 --malloc-bytes 64M --malloc-max 200 --malloc-touch --malloc-ops 100",
    "malloc threads": "--malloc 1 --malloc-bytes 2M --malloc-pthreads 4 --malloc-thresh 16K --malloc-ops 20000",
    "processes": "--fork 1 --fork-ops 400 --vfork 1 --vfork-ops 400 --pthread 1 --pthread-ops 200 --exec 1 --exec-ops 60",
    "memory": "--tree 1 --tree-ops 2 --tree-size 30000 --list 1 --list-ops 2 --str 1 --str-ops 200 --qsort 1 --qsort-ops 2",
    "tools": "--zlib 1 --zlib-ops 40 --regs 1 --regs-ops 500 --sigsegv 1 --sigsegv-ops 500 --stack 1 --stack-ops 2 "
             "--stackmmap 1 --stackmmap-ops 2",
}


def stress_ng(trial):
    program = trial.program("/usr/bin/stress-ng", "stress-ng")
    for name, options in kStressors.items():
        argv = [program, "--verify", "--oomable", "--seed", "7", "--timeout", f"{10 * harness.kRounds}", *options.split()]
        for preloaded in False, True:
            trial.fresh_run()
            result = trial.run(argv, preloaded)
            log = (result.out + result.err).decode(errors="replace")
            bad = [line for line in log.splitlines() if any(word in line for word in
                   ("fail:", "error:", "SIGSEGV", "SIGABRT", "SIGBUS", "unsuccessful", "out of memory", "corrupt"))]
            if bad or "successful run completed" not in log:
                raise harness.Failure(f"stress-ng {name}: {bad or log}")
        trial.check_witnesses(result.witnesses, program)
        print(f"ok: {name}: preloaded {result.seconds:.2f} s, {len(result.witnesses)} programs executed", flush=True)


harness.main(stress_ng)

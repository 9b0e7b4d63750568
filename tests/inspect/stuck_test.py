#!/usr/bin/env python3
"""Runs stuck_victim.cc case by case and compares what is reported with what each case is known to have: on demand, at the end of a run
and at exit.

Run by meson: stuck_test.py VICTIM.  Invariant: a fiber that can be woken is never reported; nothing depends on how long anything
takes.
"""

import os
import re
import subprocess
import sys

VICTIM = sys.argv[1]
FAILED = 23

# case: (fibers that are stuck, fibers there are, groups of lines that the report has)
STUCK = {
    "unreachable": (1, 2, ["warren: stuck: 1 fiber at\n    (anonymous namespace)::receive_for_ever("]),
    "many": (30, 31, ["warren: stuck: 25 fibers at\n", "warren: stuck: 5 fibers at\n", "\n  and 5 more\n"]),
    "nil": (3, 4, ["[chan receive (nil chan), ", "[chan send (nil chan), ", "[select (no cases), "]),
    "for_each_other": (2, 3, ["[chan receive, "]),
    "select_lost": (1, 2, ["[select, "]),
    "slept_before": (1, 2, ["receive_for_ever("]),
    "things_lost": (6, 7, ["[sync.Mutex.Lock, ", "[sync.Cond.Wait, ", "[sync.RWMutex.RLock, ", "[sync.RWMutex.Lock, ",
                           "[sync.WaitGroup.Wait, ", "[semacquire, "]),
    "once_lost": (2, 3, ["[sync.Once.Do, ", "[chan receive (nil chan), "]),
    "own_group": (1, 4, ["[sync.WaitGroup.Wait, "]),
    "main_fiber": (1, 1, ["(anonymous namespace)::main_fiber()", "  fiber 1 [chan receive (nil chan), "]),
}

CLEAN = ["global_channel", "heap_channel", "on_stack", "coroutine_holds", "sleeper_holds", "descriptor_holds", "thread_holds", "timer_sends",
         "chain", "select_half", "things_held", "busy"]

failures = []


def expect(good, what, report=""):
    if not good:
        failures.append(what)
        print(f"FAILED: {what}\n{report}")


def run(case, conf="", status=0):
    """What the case says it found, and what was reported."""
    environment = dict(os.environ, WARREN_CONF=conf)
    done = subprocess.run([VICTIM, case], env=environment, capture_output=True, text=True, timeout=120, errors="replace")
    expect(done.returncode == status, f"{case} {conf}: status {done.returncode}, not {status}", done.stderr)
    return done.stdout.strip(), done.stderr


def summaries(report):
    """For each search: fibers that are stuck, and fibers there are."""
    found = re.findall(r"^warren: stuck: (none|\d+) of (\d+) fibers?(?: can never be woken)?; looked for with the program stopped for \d+\.\d\d ms$",
                       report, re.M)
    return [(0 if stuck == "none" else int(stuck), int(fibers)) for stuck, fibers in found]


def fibers(report):
    """The lines about single fibers: reason and name."""
    return re.findall(r"^  fiber \d+ \[(.*), \d+ (?:ms|s|minutes)\](?: (.*))?$", report, re.M)


def on_demand():
    for case, (stuck, there, texts) in STUCK.items():
        said, report = run(case)
        expect(said == str(stuck), f"{case}: returned {said}, not {stuck}", report)
        # It looks until it has found them all: what is said at last counts, and nothing may be found that is not stuck.
        expect(summaries(report)[-1:] == [(stuck, there)], f"{case}: {summaries(report)}, not {[(stuck, there)]}", report)
        expect(all(found <= stuck for found, _ in summaries(report)), f"{case}: more than there are", report)
        report = report[report.rfind("warren: stuck: ", 0, report.rfind("; looked for")):]
        groups = re.findall(r"^warren: stuck: (\d+) fibers? at\n    ", report, re.M)
        expect(sum(map(int, groups)) == stuck, f"{case}: the groups do not add up", report)
        expect(groups == sorted(groups, key=int, reverse=True), f"{case}: the groups are not in order", report)
        for text in texts:
            expect(text in report, f"{case}: the report lacks {text!r}", report)
        lines = {"unreachable": [("chan receive", "orphan")], "many": 20 * [("chan receive", "")] + 5 * [("chan send", "")]}.get(case)
        expect(lines is None or fibers(report) == lines, f"{case}: {fibers(report)}", report)


def clean():
    for case in CLEAN:
        said, report = run(case)
        expect(said == "0", f"{case}: returned {said}", report)
        expect(all(stuck == 0 for stuck, _ in summaries(report)) and summaries(report), f"{case}: {summaries(report)}", report)
        expect(" at\n" not in report, f"{case}: a stack", report)


def untraceable():
    """Stopped by a signal, threads show registers that nobody can tell from old ones: a stuck fiber may be missed."""
    said, report = run("untraceable")
    if said == "77":
        return print("skipped: untraceable")
    expect(said in ("0", "1") and summaries(report) == [(int(said), 3)], f"untraceable: returned {said}, {summaries(report)}", report)


def eventually(case, conf, status, wanted):
    """Runs the case until it ends with this status and its report is as wanted: an old word may hide a fiber from one search."""
    for _ in range(50):
        environment = dict(os.environ, WARREN_CONF=conf)
        done = subprocess.run([VICTIM, case], env=environment, capture_output=True, text=True, timeout=120, errors="replace")
        if done.returncode == status and (summaries(done.stderr), fibers(done.stderr)) == wanted:
            return
    expect(False, f"{case} {conf}: status {done.returncode}, {summaries(done.stderr)}", done.stderr)


def at_the_end():
    _, report = run("end_of_main")
    expect(report == "", "end_of_main: a report without the option", report)
    workers = ([(2, 3)], 2 * [("chan receive", "worker")])
    eventually("end_of_main", "stuck=exit", 0, workers)
    eventually("end_of_main", "stuck=fail", FAILED, workers)
    _, report = run("tidy_end", "stuck=fail")
    expect(summaries(report) == [(0, 1)], f"tidy_end: {summaries(report)}", report)
    # In the middle of a run; the program's own status is kept, unless the option says otherwise.
    orphan = ([(1, 2)], [("chan receive", "orphan")])
    eventually("exit_inside", "stuck=exit", 5, orphan)
    eventually("exit_inside", "stuck=fail", FAILED, orphan)
    # No run, no report.
    done = subprocess.run([VICTIM, "none"], env=dict(os.environ, WARREN_CONF="stuck=fail"), capture_output=True, text=True, timeout=120)
    expect(done.returncode == 99 and done.stderr == "no such case\n", "a report without a run", done.stderr)


for step in (on_demand, clean, untraceable, at_the_end):
    step()
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)

#!/usr/bin/env python3
"""Runs leaks_victim.cc case by case and compares what is reported with what each case is known to leak; then whole programs that
leak nothing, and the command `warren leaks`.

Run by meson: leaks_test.py VICTIM MODULE COMMAND, the library's path in WARREN_LIB.  Invariant: a case that leaks is found to the
block and the byte, one that does not is found clean; nothing depends on how long anything takes.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

VICTIM, MODULE, COMMAND = sys.argv[1:4]
LIBRARY = os.environ["WARREN_LIB"]
LEAKED = 23

# case: (bytes and blocks of direct leaks, bytes and blocks of indirect ones, functions that their stacks must name)
LEAKS = {
    "direct": (144, 3, 0, 0, ["leak_direct"]),
    "indirect": (48, 1, 144, 3, ["leak_indirect", "make_node"]),
    "ring": (48, 1, 192, 4, ["leak_ring"]),
    "rings": (48, 1, 244, 4, ["leak_rings"]),
    "rings_inner_first": (48, 1, 144, 3, ["leak_rings_inner_first"]),
    "shared": (96, 2, 48, 1, ["leak_shared"]),
    "freed": (48, 1, 0, 0, ["leak_freed"]),
    "sizes": (5470055, 14, 44, 1, ["leak_sizes"]),
    "specific": (200, 1, 0, 0, ["leak_specific"]),
    "module": (136, 2, 0, 0, ["leak_module"]),
    "dead_stack": (5120, 64, 0, 0, ["make_block"]),
    "dead_detached": (800, 10, 0, 0, ["make_block"]),
    "unmapped": (60, 1, 0, 0, ["leak_unmapped"]),
}

CLEAN = [
    "global", "interior", "interior_large", "static", "containers", "mapped", "unforked", "empty_array", "brk", "epoll", "kept_module", "environment", "result",
    "on_stack", "thread_local", "module_thread_local", "kept_specific", "argument", "closure", "register", "vector_register",
    "exception", "context", "below_handler",
]

# Programs that leak nothing, also by valgrind's account.
PROGRAMS = [
    ["git", "--version"],
    ["git", "config", "--list"],
    [sys.executable, "-c", "import json, threading; t = threading.Thread(target=lambda: json.dumps({'a': [1] * 1000})); t.start(); t.join()"],
    ["ls", "-l", "/"],
    ["sort", "--version"],
    ["make", "--version"],
    ["openssl", "version"],
]

failures = []


def expect(good, what, report=""):
    if not good:
        failures.append(what)
        print(f"FAILED: {what}\n{report}")


def run(*command, conf="gc=leaks", status=None, **more):
    """The command on warren: its result, and its report."""
    environment = dict(os.environ, LD_PRELOAD=LIBRARY, WARREN_CONF=conf)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, errors="replace", **more)
    if status is not None:
        expect(done.returncode == status, f"{' '.join(command)}: status {done.returncode}, not {status}", done.stderr)
    return done, done.stderr


def summary(report):
    """The last line's numbers: bytes and blocks, direct and indirect. None: no such line."""
    lines = [line for line in report.splitlines() if line.startswith("warren: leaks: ")]
    if not lines:
        return None
    if lines[-1].startswith("warren: leaks: none"):
        return (0, 0, 0, 0)
    found = re.match(r"warren: leaks: (\d+) bytes? in (\d+) blocks? \(direct\), (\d+) bytes? in (\d+) blocks? \(indirect\)", lines[-1])
    return tuple(int(number) for number in found.groups()) if found else None


def known_leaks():
    for case, (*amounts, functions) in LEAKS.items():
        _, report = run(VICTIM, case, MODULE, status=LEAKED)
        expect(summary(report) == tuple(amounts), f"{case}: {summary(report)}, not {tuple(amounts)}", report)
        for function in functions:
            expect(function in report, f"{case}: no stack names {function}", report)
        groups = re.findall(r"warren: leaked (\d+) bytes? in (\d+) blocks? \(direct\)", report)
        expect(sum(int(blocks) for _, blocks in groups) == amounts[1], f"{case}: the groups do not add up", report)


def clean_cases():
    for case in CLEAN:
        _, report = run(VICTIM, case, MODULE, status=0)
        expect(summary(report) == (0, 0, 0, 0), f"{case}: {summary(report)}", report)


def acts():
    for case, status, amounts in [
        ("system_calls", 0, (0, 0, 0, 0)),
        ("busy", 0, (0, 0, 0, 0)),
        ("counts", LEAKED, (192, 4, 144, 3)),
        ("children", LEAKED, (144, 3, 0, 0)),
        ("untraceable", LEAKED, (144, 3, 0, 0)),
        ("untraceable_collecting", LEAKED, (144, 3, 0, 0)),
        ("own_handler", 0, (0, 0, 0, 0)),
    ]:
        _, report = run(VICTIM, case, MODULE, status=status)
        expect(summary(report) == amounts, f"{case}: {summary(report)}, not {amounts}", report)
    # The stack of the first thread is searched: a word that was left there may hide a block.
    _, report = run(VICTIM, "on_first_thread", MODULE, status=LEAKED)
    expect(summary(report) is not None and 98 <= summary(report)[1] <= 100, f"on_first_thread: {summary(report)}", report)
    # So is that of the thread that ends the program, which is the one that the leaking thread had.
    _, report = run(VICTIM, "exit_in_thread", MODULE, status=LEAKED)
    expect(summary(report) is not None and 1 <= summary(report)[1] <= 3, f"exit_in_thread: {summary(report)}", report)
    done, report = run(VICTIM, "unflushed", MODULE, status=LEAKED)
    expect(done.stdout == "unflushed", f"unflushed: {done.stdout!r}", report)
    # Each signal that finds no search under way begins one; the last at exit.
    _, report = run(VICTIM, "by_signal", MODULE, status=LEAKED)
    expect(2 <= report.count("warren: leaks: 144 bytes") <= 4, "by_signal: not one report by signal and one at exit", report)
    # With the option off there is nothing of this.
    done, report = run(VICTIM, "direct", MODULE, conf="gc=off", status=0)
    expect(report == "", "off: a report", report)


def sudden_ends():
    for case, status, amounts in [
        ("by_exit_call", LEAKED, (144, 3, 0, 0)),
        ("by_quick_exit", LEAKED, (144, 3, 0, 0)),
        ("by_clean_exit_call", 4, (0, 0, 0, 0)),
        ("after_vfork", LEAKED, (144, 3, 0, 0)),
        ("by_two_threads", LEAKED, (144, 3, 0, 0)),
    ]:
        _, report = run(VICTIM, case, MODULE, status=status)
        expect(summary(report) == amounts, f"{case}: {summary(report)}, not {amounts}", report)
        expect(report.count("warren: leaks: ") == 1, f"{case}: not one report", report)
        run(VICTIM, case, MODULE, conf="gc=off", status=4)
    # Wherever the handler came: it ends, and with its own status.
    for case in ("by_handler_in_heap", "by_handler_in_search"):
        for _ in range(8):
            run(VICTIM, case, MODULE, status=4)
    # A program that another takes the place of has not ended.
    _, report = run("/bin/sh", "-c", f"exec {VICTIM} direct {MODULE}", status=LEAKED)
    expect(report.count("warren: leaks: ") == 1 and summary(report) == (144, 3, 0, 0), "exec: not one report", report)


def forked_children():
    for conf, reports in (("gc=leaks", 1), ("gc=leaks,leak_forks=1", 3)):
        _, report = run(VICTIM, "forked_children", MODULE, conf=conf, status=0)
        expect(report.count("warren: leaks: ") == reports, f"forked_children, {conf}: not {reports} reports", report)
        expect(report.count("warren: leaks: 144 bytes in 3 blocks (direct)") == reports - 1, f"forked_children, {conf}", report)
        expect(summary(report) == (0, 0, 0, 0), f"forked_children, {conf}: the parent leaks", report)


def by_signal_from_outside():
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "report")
        environment = dict(os.environ, LD_PRELOAD=LIBRARY, WARREN_CONF=f"gc=leaks,leaks={out}")
        with subprocess.Popen(["sleep", "600"], env=environment) as sleeper:
            for _ in range(600):
                handler = re.search(r"^SigCgt:\s*(\w+)", pathlib.Path(f"/proc/{sleeper.pid}/status").read_text(), re.M)
                if int(handler.group(1), 16) >> (signal.SIGUSR2 - 1) & 1:
                    break
                time.sleep(0.05)
            sleeper.send_signal(signal.SIGUSR2)
            for _ in range(600):
                if out.exists() and "\n" in out.read_text():
                    break
                time.sleep(0.05)
            expect(out.exists() and summary(out.read_text()) == (0, 0, 0, 0), "sleep: no report on SIGUSR2")
            sleeper.kill()


def suppressions():
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "list")
        for text, hidden in [
            ("leak:leak_indirect\n", True), ("# leak:leak_indirect\n", False), ("leak:^leak_indirect$\n", False),
            ("leak:leak*direct\n", True), ("leak:leaks_victim$\n", True), ("leak:^victim\nleak:other\n", False), ("race:leak_indirect\n", False),
            ("\nleak:none\nleak:make_node", True),
        ]:
            file.write_text(text)
            _, report = run(VICTIM, "indirect", MODULE, conf=f"gc=leaks,leak_suppressions={file}", status=0 if hidden else LEAKED)
            expect(summary(report) == ((0, 0, 0, 0) if hidden else (48, 1, 144, 3)), f"suppressions {text!r}: {summary(report)}", report)
            expect(("suppressed 192 bytes in 4 blocks" in report) == hidden, f"suppressions {text!r}: not counted", report)
        _, report = run(VICTIM, "indirect", MODULE, conf=f"gc=leaks,leak_suppressions={folder}/none", status=LEAKED)
        expect(summary(report) == (48, 1, 144, 3), "suppressions: a missing file hides leaks", report)
        expect("cannot read" in report, "suppressions: a missing file goes unnoticed", report)


def programs():
    for program in PROGRAMS:
        path = shutil.which(program[0])
        if path is None or pathlib.Path(path).read_bytes()[:2] == b"#!":
            print(f"skipped: {program[0]} is not there, or is a script")
            continue
        _, report = run(path, *program[1:], status=0)
        expect(summary(report) == (0, 0, 0, 0), f"{' '.join(program)}: {summary(report)}", report)


def against_valgrind():
    """The g++ command does leak: what valgrind says, and no more."""
    valgrind = shutil.which("valgrind")
    for program in (["g++", "-dumpversion"],):
        path = shutil.which(program[0])
        if valgrind is None or path is None:
            print(f"skipped: valgrind or {program[0]} is not there")
            continue
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        other = subprocess.run([valgrind, "--leak-check=full", path, *program[1:]], env=environment, capture_output=True, text=True, timeout=300).stderr
        lost = [int(re.search(rf"{kind} lost: [\d,]+ bytes in ([\d,]+) blocks", other).group(1).replace(",", "")) if f"{kind} lost:" in other else 0
                for kind in ("definitely", "indirectly")]
        _, report = run(path, *program[1:])
        found = summary(report)
        expect(found is not None and [found[1], found[3]] == lost, f"{program[0]}: {found}, and valgrind finds {lost} blocks", report)


def command():
    def warren(*arguments, status):
        done = subprocess.run([COMMAND, "leaks", *arguments], capture_output=True, text=True, timeout=300)
        expect(done.returncode == status, f"warren leaks {' '.join(arguments)}: status {done.returncode}, not {status}", done.stderr)
        return done.stderr

    report = warren("--", VICTIM, "direct", MODULE, status=LEAKED)
    expect(summary(report) == (144, 3, 0, 0), f"warren leaks: {summary(report)}", report)
    # Of what the program starts only with --children. (The last command of a script takes the script's place.)
    script = f"{VICTIM} direct {MODULE}; exit 3"
    expect("direct" not in warren("bash", "-c", script, status=3), "warren leaks: looks into children")
    expect(summary(warren("--children", "bash", "-c", script, status=3).split("warren: leaks: none")[0]) == (144, 3, 0, 0),
           "warren leaks --children: does not look into them")
    with tempfile.TemporaryDirectory() as folder:
        hidden, out = pathlib.Path(folder, "hidden"), pathlib.Path(folder, "out")
        hidden.write_text("leak:leak_direct\n")
        expect(warren("--suppressions", str(hidden), "--output", str(out), VICTIM, "direct", MODULE, status=0) == "", "warren leaks: --output is not all")
        expect("suppressed 144 bytes" in out.read_text(), "warren leaks: --output lacks the report")
        warren("--suppressions", f"{folder}/none", VICTIM, "direct", status=2)
        # A program that the library is not loaded into looks like one without leaks, but for this.
        static = pathlib.Path(folder, "static")
        image = bytearray(pathlib.Path("/bin/true").read_bytes())
        headers, count = int.from_bytes(image[32:40], "little"), int.from_bytes(image[56:58], "little")
        for at in range(headers, headers + 56 * count, 56):
            if image[at] == 3:  # PT_INTERP
                image[at] = 0
        static.write_bytes(image)
        static.chmod(0o755)
        done = subprocess.run([COMMAND, "leaks", str(static)], capture_output=True, text=True, timeout=300)
        expect("is statically linked" in done.stderr, "warren leaks: a static program goes unnoticed", done.stderr)
    expect("statically" not in warren("true", status=0), "warren leaks: says that true is static")
    warren(status=2)


STEPS = [known_leaks, clean_cases, acts, sudden_ends, forked_children, by_signal_from_outside, suppressions, programs, against_valgrind, command]
for step in STEPS:
    began = time.monotonic()
    step()
    print(f"{step.__name__}: {time.monotonic() - began:.1f} s")
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)

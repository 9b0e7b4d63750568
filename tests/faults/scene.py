"""Runs a program in a prepared scene and judges how it ended. Used by the *_test.py files here.

Environment (set by meson): WARREN_LIB, WARREN_FAULTY_LIB, and VICTIMS, the folder of the victim programs.
WARREN_SOAK=1 widens. Each failure is printed with the command that reproduces it in a shell.
Invariant: a verdict of "held" needs the victim's own last line, so that a victim that never ran is a failure.
"""
import concurrent.futures
import os
import re
import shlex
import subprocess
import sys

LIBRARY = os.environ["WARREN_LIB"]
FAULTY = os.environ.get("WARREN_FAULTY_LIB", "")
VICTIMS = os.environ["VICTIMS"]
SOAK = os.environ.get("WARREN_SOAK") == "1"

failures = []
checks = 0


def victim(name):
    return os.path.join(VICTIMS, name)


def run(command, preload=None, env=None, launch=(), timeout=120, stdin=subprocess.DEVNULL, pass_fds=()):
    """The finished process, with text in stdout and stderr; returncode is negative for a signal."""
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "WARREN_CONF", "WARREN_FAULT")}
    environment["LC_ALL"] = "C"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    environment.update(env or {})
    full = list(command)
    if launch or preload:
        full = [victim("harsh_launch"), *launch, *(["--preload", preload] if preload else []), "--", *full]
    try:
        process = subprocess.run(full, env=environment, capture_output=True, text=True, errors="replace",
                                 timeout=timeout, stdin=stdin, pass_fds=pass_fds)
    except subprocess.TimeoutExpired as late:
        process = subprocess.CompletedProcess(full, "timeout", _text(late.stdout), _text(late.stderr))
    process.shell = " ".join([f"{k}={shlex.quote(v)}" for k, v in (env or {}).items()] + [shlex.join(full)])
    if "from LD_PRELOAD cannot be preloaded" in process.stderr:
        process.returncode = "not preloaded"  # the loader only warns: the program would have run without us
    return process


def _text(captured):
    return captured.decode(errors="replace") if isinstance(captured, bytes) else captured or ""


def in_parallel(function, cases):
    """function(case) for each, two at a time: the cases are processes of their own."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in pool.map(function, cases):
            pass


def held(process):
    return process.returncode == 0 and process.stdout.endswith("held\n") and "warren:" not in process.stderr


def check(holds, what, process=None):
    global checks
    checks += 1
    if holds:
        return True
    text = what
    if process is not None:
        text += f"\n    ended with {process.returncode}\n    out: {process.stdout[-600:]!r}\n    err: {process.stderr[-600:]!r}"
        text += f"\n    again: {process.shell}"
    failures.append(text)
    return False


def numbers(process, key):
    return [int(found) for found in re.findall(rf"\b{key}=(\d+)", process.stdout)]


def finish():
    for failure in failures[:20]:
        print("FAILED:", failure)
    print(f"{checks} checks, {len(failures)} failed")
    sys.exit(1 if failures or not checks else 0)

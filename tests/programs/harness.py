"""Runs a real, unmodified program twice, on the C library's malloc and on warren, and compares all it does.

Each `<program>_test.py` here defines one function and hands it to main(); meson runs those files (suite
"programs"), and each runs by hand as well:

    WARREN_LIB=/path/to/libwarren.so /usr/bin/python3 tests/programs/git_test.py

  WARREN_LIB      the library under test, required
  WARREN_WITNESS  witness.cc compiled; built on the spot when unset
  WARREN_CONF     handed on to the programs
  WARREN_CONTROL  1: the second run is on the C library too. It must pass: it shows that a test is deterministic
  WARREN_SOAK     1: each second run is done 20 times, on the same inputs (with meson test -t 20)
  WARREN_KEEP     1: the working directory is kept and named

Invariant: a run counts only when it exits as expected, writes what the control wrote, prints no line of the
allocator, and every process it executed had its malloc from the library under test (witness.cc says so).
A program that is missing is a failure that names its package, never a skip.
"""

import ctypes
import dataclasses
import fnmatch
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

kHere = os.path.dirname(os.path.abspath(__file__))
kControl = os.environ.get("WARREN_CONTROL") == "1"
kSoak = os.environ.get("WARREN_SOAK") == "1"
kRounds = 20 if kSoak else 1
kWatchdogSeconds = 150 * kRounds  # below meson's timeout, so that a hang is reported and cleaned up by us
kSubreaper, kParentDeathSignal = 36, 1  # prctl(2)
kPath = "/usr/bin:/bin:/usr/sbin:/sbin"
libc = ctypes.CDLL(None)


class Failure(Exception):
    """What the test says when it fails; the text is all a reader gets."""


@dataclasses.dataclass
class Result:
    """One finished run."""

    code: int  # negative: the signal that ended it
    out: bytes
    err: bytes
    files: dict  # name -> (size, sha256)
    witnesses: list  # (pid, executable, provider of malloc)
    seconds: float
    peak_kib: int


def tail(text, lines=15):
    return b"\n".join(text.splitlines()[-lines:]).decode(errors="replace")


def first_difference(name, control, warren):
    a, b = control.splitlines(), warren.splitlines()
    i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    show = lambda lines: lines[i][:300].decode(errors="replace") if i < len(lines) else "<end>"
    return f"{name} differs at line {i + 1}:\n  control: {show(a)}\n  warren:  {show(b)}"


def read(path):
    with open(path, "rb") as file:
        return file.read()


def descendants():
    """Pids of every process below this one: orphans come back to us (subreaper), so none gets away."""
    parent = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent[int(pid)] = int(read(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()[1])
        except (OSError, IndexError):
            pass
    found, front = [], [os.getpid()]
    while front:
        front = [pid for pid, up in parent.items() if up in front]
        found += front
    return found


class Trial:
    """The working directory of one test, and the runs in it.

    inputs/  what the test generates, kept for all runs; read-only by convention
    run/     the current directory of the run in progress, empty at its start. Control and preloaded runs have the
             same one after the other, so a path that leaks into an output is the same in both
    """

    def __init__(self, directory):
        self.directory = directory
        self.inputs = os.path.join(directory, "inputs")
        self.cwd = os.path.join(directory, "run")
        self.witness_log = os.path.join(directory, "witness.log")
        self.doing = "setting up"
        self.preload = []
        self.library = self.witness = None
        os.chmod(directory, 0o755)  # another user may have to get in (postgres, su)
        os.mkdir(self.inputs)

    def prepare_libraries(self):
        """Copies of library and witness, because a user other than root may not reach the build directory."""
        source = os.environ.get("WARREN_LIB", "")
        if not os.path.isfile(source):
            raise Failure(f"WARREN_LIB={source!r} is not a file: set it to the library under test")
        self.library = os.path.join(self.directory, os.path.basename(source))
        shutil.copy(source, self.library)
        self.witness = os.path.join(self.directory, "libwitness.so")
        if os.environ.get("WARREN_WITNESS"):
            shutil.copy(os.environ["WARREN_WITNESS"], self.witness)
        else:
            compiler = self.program("/usr/bin/g++", "g++")
            subprocess.run([compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-Wl,-z,now", "-o",
                            self.witness, os.path.join(kHere, "witness.cc")], check=True, env={"PATH": kPath})
        for path in self.library, self.witness:
            os.chmod(path, 0o755)
        self.preload = [self.library, self.witness]

    # Inputs

    def program(self, path, package):
        """The path of a program (or a file it needs), or a failure that names the Debian package it comes from."""
        listed = read(os.path.join(kHere, "packages")).decode().split()
        if package not in listed:
            raise Failure(f"package {package} is not listed in tests/programs/packages")
        if not os.path.exists(path):
            raise Failure(f"missing program {path}: install the Debian package {package}")
        return path

    def write(self, name, text):
        """Writes a file below inputs/ and returns its absolute path."""
        path = os.path.join(self.inputs, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def environment(self, preloaded, extra):
        result = {"PATH": kPath, "HOME": self.directory, "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
                  "WITNESS_LOG": self.witness_log}
        if "WARREN_CONF" in os.environ:
            result["WARREN_CONF"] = os.environ["WARREN_CONF"]
        result.update(extra or {})
        if preloaded and not kControl:
            result["LD_PRELOAD"] = ":".join(self.preload)
        return result

    # Runs

    def start(self, argv, preloaded, env=None, stdin=None, user=None, name="program"):
        """Starts argv in run/; output goes to files, so that no pipe is kept open by a grandchild."""
        def in_child():
            libc.prctl(kParentDeathSignal, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])

        self.doing = f"{'preloaded' if preloaded else 'control'}: {' '.join(argv)}"
        identity = {"user": user, "group": user_group(user), "extra_groups": []} if user else {}
        with open(stdin or os.devnull, "rb") as source, \
                open(os.path.join(self.directory, name + ".out"), "wb") as out, \
                open(os.path.join(self.directory, name + ".err"), "wb") as err:
            child = subprocess.Popen(argv, stdin=source, stdout=out, stderr=err, cwd=self.cwd, umask=0o022,
                                     env=self.environment(preloaded, env), preexec_fn=in_child,
                                     start_new_session=True, **identity)
        child.started, child.name = time.monotonic(), name
        return child

    def finish(self, child, outputs=()):
        """Waits for a started program and collects what it left."""
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - child.started
        child.returncode = os.waitstatus_to_exitcode(status)
        files = {}
        for parent, _, names in os.walk(self.cwd):
            for name in names:
                path = os.path.join(parent, name)
                relative = os.path.relpath(path, self.cwd)
                if any(fnmatch.fnmatch(relative, pattern) for pattern in outputs):
                    content = read(path)
                    files[relative] = (len(content), hashlib.sha256(content).hexdigest())
        return Result(child.returncode, self.output(child, "out"), self.output(child, "err"), files,
                      self.witnesses(), seconds, usage.ru_maxrss)

    def output(self, child, stream):
        return read(os.path.join(self.directory, f"{child.name}.{stream}"))

    def fresh_run(self, user=None):
        """Empties run/ and the witness log."""
        shutil.rmtree(self.cwd, ignore_errors=True)
        os.mkdir(self.cwd)
        open(self.witness_log, "wb").close()
        os.chmod(self.witness_log, 0o666)
        if user:
            shutil.chown(self.cwd, user)

    def run(self, argv, preloaded, env=None, stdin=None, user=None, outputs=(), code=0, name="program"):
        """One run to its end; fails when it ends otherwise than expected."""
        result = self.finish(self.start(argv, preloaded, env, stdin, user, name), outputs)
        side = "preloaded" if preloaded else "control"
        if result.code != code:
            ended = signal.Signals(-result.code).name if result.code < 0 else f"exit code {result.code}"
            raise Failure(f"{side} run: {ended}, expected {code}\n  {' '.join(argv)}\n"
                          f"--- stdout\n{tail(result.out)}\n--- stderr\n{tail(result.err)}")
        if preloaded:
            self.check_silent(result.err, "stderr")
        return result

    def same(self, argv, *, env=None, stdin=None, user=None, outputs=(), code=0, compare_err=True,
             compare_out=True, normalise=lambda text: text):
        """Control and preloaded run of argv: same exit code, stdout, stderr and output files, all on the library."""
        self.fresh_run(user)
        control = self.run(argv, False, env, stdin, user, outputs, code)
        for pattern in outputs:
            if not any(fnmatch.fnmatch(name, pattern) for name in control.files):
                raise Failure(f"control run left no file {pattern}")
        for _ in range(kRounds):
            self.fresh_run(user)
            warren = self.run(argv, True, env, stdin, user, outputs, code)
            if compare_out and normalise(control.out) != normalise(warren.out):
                raise Failure(first_difference("stdout", normalise(control.out), normalise(warren.out)))
            if compare_err and normalise(control.err) != normalise(warren.err):
                raise Failure(first_difference("stderr", normalise(control.err), normalise(warren.err)))
            for name in sorted(control.files.keys() | warren.files.keys()):
                a, b = control.files.get(name), warren.files.get(name)
                if a != b:
                    raise Failure(f"output file {name} differs (size, sha256):\n  control: {a}\n  warren:  {b}")
            self.check_witnesses(warren.witnesses, argv[0])
        self.report(control, warren)
        return control, warren

    def same_script(self, text, **options):
        """same() for a shell script: shell and children all run preloaded."""
        return self.same(["/bin/sh", "-eu", self.write("script.sh", text)], **options)

    def report(self, control, warren):
        """Numbers for the reader of the log; nothing is asserted about time and memory here."""
        outputs = f", {len(warren.files)} output files" if warren.files else ""
        print(f"ok: {self.doing}\n    control {control.seconds:.2f} s {control.peak_kib >> 10} MiB, preloaded "
              f"{warren.seconds:.2f} s {warren.peak_kib >> 10} MiB, {len(warren.witnesses)} programs executed"
              f"{outputs}", flush=True)

    # Checks

    def check_silent(self, text, where):
        for line in text.splitlines():
            if line.startswith((b"warren:", b"ERROR: ld.so:")):
                raise Failure(f"{where} has a line of the allocator or the loader: {line.decode(errors='replace')}")

    def witnesses(self):
        return [tuple(line.split("\t")) for line in read(self.witness_log).decode().splitlines()]

    def check_witnesses(self, witnesses, program=None, at_least=1):
        """Every program executed had its malloc from the library, and `program` was one of them."""
        if kControl:
            return
        for pid, executable, provider in witnesses:
            if provider != self.library:
                raise Failure(f"process {pid} ({executable}) has its malloc from {provider}, not the library under test")
        executables = [executable for _, executable, _ in witnesses]
        if program and os.path.realpath(program) not in executables:
            raise Failure(f"{program} ran without the library; seen: {sorted(set(executables))}")
        if len(witnesses) < at_least:
            raise Failure(f"the library was seen in {len(witnesses)} programs, expected {at_least} or more")

    def check_mapped(self, pid):
        """The library is mapped by a live process (forked workers have no line of their own in the witness log)."""
        for _ in range(5):
            maps = read(f"/proc/{pid}/maps").decode()
            if not maps:  # on its way out, its memory is gone already, or half of it while we read
                raise ProcessLookupError(pid)
            if kControl or self.library in maps:
                return
        raise Failure(f"the library is not mapped in process {pid}")

    # Servers

    def wait_until(self, condition, what, server=None):
        """Polls until condition() is true; the watchdog ends it, and so does the end of the server."""
        self.doing = f"waiting until {what}"
        while not condition():
            if server is not None and server.poll() is not None:
                raise Failure(f"server ended ({server.returncode}) before: {what}\n--- stdout\n"
                              f"{tail(self.output(server, 'out'))}\n--- stderr\n{tail(self.output(server, 'err'))}")
            time.sleep(0.01)

    def stop(self, child, number, code=0):
        """Asks a server to end and checks how it did."""
        self.doing = f"stopping {child.args[0]}"
        child.send_signal(number)
        child.wait()
        self.check_silent(self.output(child, "err"), f"stderr of {child.args[0]}")
        if child.returncode != code:
            raise Failure(f"{child.args[0]} ended with {child.returncode}, expected {code}\n"
                          f"{tail(self.output(child, 'err'))}")


def user_id(user):
    return pwd.getpwnam(user).pw_uid


def user_group(user):
    return pwd.getpwnam(user).pw_gid


def free_port():
    """A TCP port nobody has now; a server that loses the race for it fails to start, and the caller tries another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url):
    """Body of an HTTP answer, None while nobody listens; any status but 2xx is a failure."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Failure(f"{url}: HTTP status {error.code}") from error
    except OSError:
        return None


def describe_hang():
    """State of all children, with stacks where gdb can get them."""
    for pid in descendants():
        try:
            command = read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")[:150]
            for task in os.listdir(f"/proc/{pid}/task"):
                fields = read(f"/proc/{pid}/task/{task}/stat").rsplit(b")", 1)[1].split()
                waits = read(f"/proc/{pid}/task/{task}/wchan").decode()
                print(f"  {pid}/{task} state {fields[0].decode()} wchan {waits} {command}")
            if os.access("/usr/bin/gdb", os.X_OK):
                subprocess.run(["/usr/bin/gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 14"], timeout=10,
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": kPath})
        except (OSError, IndexError, subprocess.SubprocessError):
            pass


def clean_up(directory):
    """Ends every process below this one, whatever session it moved to, and removes the directory."""
    signal.alarm(0)
    while left := descendants():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.005)
    if os.environ.get("WARREN_KEEP") == "1":
        print(f"kept: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


def main(body, watchdog=kWatchdogSeconds):
    """Runs body(trial); exit status 0 passed, 1 failed."""
    def on_signal(number, _):
        if number == signal.SIGALRM:
            describe_hang()
            raise Failure(f"hang: no end within {watchdog} s")
        raise Failure(f"ended by {signal.Signals(number).name}")

    for number in signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
        signal.signal(number, on_signal)
    libc.prctl(kSubreaper, 1)
    directory = tempfile.mkdtemp(prefix="warren-")
    trial = Trial(directory)
    signal.alarm(watchdog)
    status = 1
    try:
        trial.prepare_libraries()
        body(trial)
        status = 0
        print("passed" + (" (control only: WARREN_CONTROL=1)" if kControl else ""))
    except Failure as failure:
        print(f"FAILED while {trial.doing}\n{failure}\nto repeat one run: LD_PRELOAD={os.environ.get('WARREN_LIB')} "
              f"and the command above; WARREN_KEEP=1 keeps {directory}")
    finally:
        clean_up(directory)
    sys.exit(status)

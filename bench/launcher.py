"""Starts one program on one allocator and says what it used.

Called by run.py and measure.py. Invariant: a run starts from a fixed environment in an empty directory of its own, and
the allocator is put in by LD_PRELOAD alone: nothing of this process reaches what is measured except WARREN_CONF.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
# Name -> file names, the first that exists is taken. The C library's own malloc is preloaded like the others: some
# programs are linked with an allocator of their own, and without it that one would run under glibc's name.
PEERS = {
    "glibc": ["libc.so.6"],
    "jemalloc": ["libjemalloc.so.2"],
    "mimalloc": ["libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"],
    "tcmalloc": ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"],
    "snmalloc": ["libsnmallocshim.so"],
}
BASELINE = "glibc"  # every other allocator has to print what a program prints on this one
REFERENCE = "jemalloc"
UNDER_TEST = "warren"
TIME_LIMIT_S = 300
METRICS = ("wall_s", "user_s", "sys_s", "peak_rss_kib", "minor_faults", "major_faults")


def find_peers():
    """Name -> shared object, of those that are installed."""
    found = {}
    for name, files in PEERS.items():
        path = next((LIBRARIES / file for file in files if (LIBRARIES / file).exists()), None)
        if path:
            found[name] = path
    return found


def find_allocators(library, scratch):
    """The one under test comes first, as a copy: a build during the run does not change it. Then its peers."""
    tested = {UNDER_TEST: pathlib.Path(shutil.copy2(library, scratch))} if library and library.exists() else {}
    return {**tested, **find_peers()}


def environment(library, extra=None):
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C", **(extra or {})}
    if library:
        variables["LD_PRELOAD"] = str(library)
    if "WARREN_CONF" in os.environ:
        variables["WARREN_CONF"] = os.environ["WARREN_CONF"]
    return variables


class Watch(threading.Thread):
    """Reads a process's resident memory at a steady rate until it is gone: points of [seconds, KiB]."""

    def __init__(self, launcher_pid, every_s):
        super().__init__(daemon=True)
        self.children = pathlib.Path(f"/proc/{launcher_pid}/task/{launcher_pid}/children")
        self.every_s = every_s
        self.points = []

    def run(self):
        page_kib = os.sysconf("SC_PAGE_SIZE") // 1024
        start = time.monotonic()
        turn = 0
        while True:
            try:
                pids = self.children.read_text().split()
                if pids:
                    pages = int(pathlib.Path(f"/proc/{pids[0]}/statm").read_text().split()[1])
                    if pages > 0:  # a process that is dead and not yet waited for has none
                        self.points.append([round(time.monotonic() - start, 3), pages * page_kib])
            except (FileNotFoundError, ProcessLookupError):
                if not self.children.exists():
                    return
            turn += 1
            time.sleep(max(0.0, start + turn * self.every_s - time.monotonic()))


class Launcher:
    def __init__(self, program):
        self.program = program

    def run(self, argv, library, env=None, stdin=None, client=None, watch_every_s=None, time_limit_s=TIME_LIMIT_S):
        """Runs argv on the allocator and returns its sample: METRICS, "cpu_s", "status" and "output".

        client(directory), if given, talks to the program, ends it and returns the output to be compared. With
        watch_every_s the sample has "rss_over_time" too.
        """
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch, \
                open(stdin or os.devnull, "rb") as source:
            result = pathlib.Path(scratch) / "result"
            process = subprocess.Popen([str(self.program), str(result), *argv], env=environment(library, env),
                                       stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=scratch,
                                       start_new_session=True)
            watch = Watch(process.pid, watch_every_s) if watch_every_s else None
            answers = None
            try:
                if watch:
                    watch.start()
                if client:
                    answers = client(pathlib.Path(scratch))
                output, _ = process.communicate(timeout=time_limit_s)
            except (subprocess.TimeoutExpired, OSError) as problem:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
                return {"status": str(problem), "output": output}
            except BaseException:  # interrupted: leave nothing running
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            finally:
                if watch:
                    watch.join()
            if process.returncode != 0 or not result.exists():
                return {"status": f"launch: {process.returncode}", "output": output}
            status, *numbers = result.read_text().split()
        sample = {name: float(number) for name, number in zip(METRICS, numbers, strict=True)}
        sample["cpu_s"] = sample["user_s"] + sample["sys_s"]
        if watch:
            sample["rss_over_time"] = watch.points
        if answers is not None and int(status) == 0:
            output = answers
        return {**sample, "status": int(status), "output": output}

    def check_in_use(self, name, library):
        output = self.run(["/bin/cat", "/proc/self/maps"], library)["output"].decode(errors="replace")
        if str(library.resolve()) not in output:
            sys.exit(f"bench: {name}: {library} is not mapped into a program it is preloaded into:\n{output}")

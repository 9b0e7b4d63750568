"""What looks at a process from outside: warren top, and the commands of gdb.

Run by meson, suite 'inspect'. Environment: KNOWN_GRAPH, the program; INSPECT, the folder of that name.
"""
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ["KNOWN_GRAPH"]
INSPECT = pathlib.Path(os.environ["INSPECT"])
TOP = INSPECT / "viewer" / "top.py"
GDB_SCRIPT = str(INSPECT / "gdb" / "warren-gdb.py")
CLEAN = {k: v for k, v in os.environ.items() if k not in ("WARREN_CONF", "LD_PRELOAD")}


def top(*arguments):
    return subprocess.run([sys.executable, "-B", TOP, *arguments], capture_output=True, text=True, timeout=60)


class Waiting:
    """The program, after it has told of its heap and until it is left."""

    def __enter__(self):
        self.process = subprocess.Popen([PROGRAM, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=CLEAN)
        self.made = {}
        for line in self.process.stdout:
            name, value, _ = line.split()
            if name == "waiting":
                break
            self.made[name] = int(value, 0)
        return self

    def __exit__(self, *_):
        self.process.communicate(timeout=60)


class Top(unittest.TestCase):
    def figures(self, pid):
        shown = top("--json", str(pid))
        if "may not be read" in shown.stderr:
            self.skipTest(shown.stderr)
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        return json.loads(shown.stdout)

    def test_the_figures_are_those_of_the_process_itself(self):
        with Waiting() as program:
            seen = self.figures(program.process.pid)
        heap = seen["heap"]
        for name in ("alloc_bytes", "heap_sys", "heap_objects", "num_gc"):
            self.assertEqual(heap[name], program.made[name], name)
        self.assertEqual(heap["heap_idle"], program.made["free_bytes"])
        self.assertGreaterEqual(heap["by_size"]["5"][1] - heap["by_size"]["5"][2], 1000)  # the list's nodes, 48 bytes
        self.assertGreater(seen["process"]["rss"], 1 << 20)
        self.assertIsNone(seen["scheduler"])

    def test_a_frame_as_text(self):
        with Waiting() as program:
            self.figures(program.process.pid)
            shown = top("--once", str(program.process.pid))
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        self.assertRegex(shown.stdout, r"(?m)^live +1\.3 MiB   malloc 1\.3 MiB in [\d,]+ blocks, collected 8 KiB$")
        for row in ("allocated", "resident", "heap", "unused", "collector", "scheduler"):
            self.assertRegex(shown.stdout, rf"(?m)^{row} ")

    def test_processes_that_have_nothing_to_show(self):
        process = subprocess.Popen(["/bin/sleep", "60"], env=CLEAN)
        try:
            shown = top("--once", str(process.pid))
        finally:
            process.kill()
            process.wait()
        self.assertEqual((shown.returncode, shown.stdout), (1, ""))
        self.assertRegex(shown.stderr, "does not run on warren|may not be read")
        shown = top("--once", str(process.pid))
        self.assertEqual((shown.returncode, shown.stdout), (1, ""))
        self.assertIn("there is no process", shown.stderr)


    def test_a_mapped_device_is_not_read(self):
        code = ("import mmap, os, time; zeros = mmap.mmap(os.open('/dev/zero', os.O_RDWR), 4096, mmap.MAP_PRIVATE); "
                "print(flush=True); time.sleep(60)")
        process = subprocess.Popen(["/usr/bin/python3", "-c", code], env=CLEAN, stdout=subprocess.PIPE)
        try:
            process.stdout.readline()
            limited = subprocess.run([sys.executable, "-B", TOP, "--once", str(process.pid)], capture_output=True, text=True, timeout=60,
                                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
        finally:
            process.kill()
            process.communicate()
        self.assertRegex(limited.stderr, "does not run on warren|may not be read")

    def test_a_reader_that_is_gone_and_an_interval_that_is_none(self):
        with Waiting() as program:
            self.figures(program.process.pid)
            gone, closed = os.pipe()
            os.close(gone)
            shown = subprocess.run([sys.executable, "-B", TOP, "--interval", "0", str(program.process.pid)], stdout=closed,
                                   stderr=subprocess.PIPE, text=True, timeout=60)
            os.close(closed)
            self.assertEqual(shown.stderr, "")
            for interval in ("nan", "-1", "inf"):
                shown = top("--interval=" + interval, str(program.process.pid))
                self.assertEqual((shown.returncode, shown.stdout), (2, ""))
                self.assertNotIn("Traceback", shown.stderr)


@unittest.skipIf(shutil.which("gdb") is None, "no gdb")
class Debugger(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            questions = ["source " + GDB_SCRIPT, "warren heap", "warren span *(long*)&list_head", "warren object *(long*)&list_head+10",
                         "warren object &list_head", "warren fibers", "warren fibers 12345"]
            cls.live = cls.gdb(["break wr_heap_dump", f"run fibers {folder}/heap > {out}", *questions, "kill"], PROGRAM)
            cls.made = cls.told(pathlib.Path(out).read_text())
            cls.core_made, cls.core = cls.crash(folder, questions)

    @staticmethod
    def told(text):
        return {line.split()[0]: int(line.split()[1], 0) for line in text.splitlines() if line.count(" ") == 2}

    @classmethod
    def crash(cls, folder, questions):
        """What gdb says of a core file that the kernel has written; None where it writes none here. (gdb's own leave out mappings
        that have guard pages in them, as fibers' stacks do.)"""
        def allow():
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        try:
            done = subprocess.run([PROGRAM, "crash"], capture_output=True, text=True, env=CLEAN, cwd=folder, preexec_fn=allow, timeout=60)
        except (subprocess.SubprocessError, ValueError):
            return None, None
        cores = list(pathlib.Path(folder).glob("core*"))
        return (cls.told(done.stdout), cls.gdb(questions, PROGRAM, cores[0])) if cores else (None, None)

    def seen(self):
        yield self.live, self.made
        if self.core is not None:
            yield self.core, self.core_made

    @staticmethod
    def gdb(commands, *files):
        arguments = ["gdb", "-q", "-batch", "-nx", "-iex", "set debuginfod enabled off", "-iex", "set pagination off"]
        for command in commands:
            arguments += ["-ex", command]
        done = subprocess.run([*arguments, *files], capture_output=True, text=True, env=CLEAN, stdin=subprocess.DEVNULL, timeout=120)
        return done.stdout + done.stderr

    def setUp(self):
        if "hit Breakpoint" not in self.live:
            self.skipTest("gdb cannot run programs here: " + self.live)

    def test_the_heap(self):
        for text, made in self.seen():
            self.assertRegex(text, r"(?m)^live       1\.3 MiB, [\d,]+ blocks of malloc's, 8 KiB collected$")
            self.assertRegex(text, r"(?m)^scheduler  2 fibers, ")
            self.assertRegex(text, r"(?m)^ +208 +\S+ \S+ +1,000$")

    def test_a_span_and_an_object(self):
        for text, made in self.seen():
            node = made["list_head"]
            self.assertRegex(text, rf"(?m)^span 0x\w+: 0x\w+ .. 0x\w+, \d+ pages, objects, objects of class 5$")
            self.assertIn(f"{node + 10:#x} is in the object {node:#x} of 48 bytes (malloc, live), 10 bytes into it", text)
            self.assertIn(f"+24   {made['list_shared']:#018x}  -> malloc of 3072 bytes", text)
            self.assertRegex(text, r"0x\w+ is not in the heap\n")

    def test_fibers_and_their_stacks(self):
        for text, made in self.seen():
            blocks = re.split(r"(?m)^(?=fiber \d)", text)[1:]
            self.assertEqual(len(blocks), 2, text)
            self.assertRegex(blocks[0], r"\Afiber 1 \[running, thread \d+\] main:\n(    .*\n)+")
            self.assertRegex(blocks[0], r"(?m)^    (wr_heap_dump|.*abort)")
            self.assertIn("warren_fiber_main", blocks[0])
            self.assertRegex(blocks[1], r"\Afiber 2 \[sleep\] keeper:\n(    .*\n)+")
            self.assertIn("wr_sleep_until_ns", blocks[1])
            self.assertIn("on_fibers", blocks[1])
            self.assertIn("warren_fiber_start", blocks[1])
            self.assertIn("no such fiber", text)


if __name__ == "__main__":
    unittest.main()

"""Whole processes under the preload: options and their texts, the table at exit, programs that are not
position-independent, blocks of other heaps, the library's own shape.

Run by meson, suite 'unit'. Environment: WARREN_LIB, WARREN_FAULTY_LIB, and PROGRAMS, the folder of the test programs.
"""
import json
import os
import re
import subprocess
import unittest

LIBRARY = os.environ["WARREN_LIB"]
FAULTY_LIBRARY = os.environ["WARREN_FAULTY_LIB"]
PROGRAMS = os.environ["PROGRAMS"]


def run(command, conf=None, library=LIBRARY, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("WARREN_CONF", "LD_PRELOAD")}
    environment |= {"LD_PRELOAD": library, "KEPT": "1", **variables}
    if conf is not None:
        environment["WARREN_CONF"] = conf
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def program(name):
    return [os.path.join(PROGRAMS, name)]


class ReplacedOperators(unittest.TestCase):
    """A main program with some operators new and delete of its own."""

    def test_the_others_end_in_the_programs_own(self):
        for kind in ("1", "2", "3", "4"):
            command = program("replaced_operators_" + kind)
            without = subprocess.run(command, env={"KEPT": "1"}, capture_output=True, text=True, timeout=60)
            self.assertRegex(without.stdout, r"\A(\d+) taken, \1 given\n\Z")
            for conf in (None, "prof=/dev/null,prof_rate=1"):
                process = run(command, conf)
                self.assertEqual((process.returncode, process.stdout, process.stderr), (0, without.stdout, ""), (kind, conf))


class DeepBinding(unittest.TestCase):
    """Libraries opened with RTLD_DEEPBIND find libc's malloc before any other."""
    text = "made by the constructor\nexchanged\n"

    def test_blocks_go_both_ways(self):
        without = subprocess.run(program("deep_program"), capture_output=True, text=True, timeout=60)
        self.assertEqual(without.stdout, self.text)
        for conf in (None, "foreign=forward", "prof=/dev/null,prof_rate=1", "junk=1"):
            process = run(program("deep_program"), conf)
            self.assertEqual((process.returncode, process.stdout, process.stderr), (0, self.text, ""), conf)

    def test_where_libcs_heap_is_in_use(self):
        process = run([*program("deep_program"), "used"])
        self.assertEqual((process.returncode, process.stdout, process.stderr), (0, self.text, ""))

    def test_where_nothing_or_not_all_can_be_written(self):
        # The six that were written before the seventh failed are written back.
        for fault, writes in (("open:1:from:EPERM", 0), ("pwrite:1:from:EPERM", 1), ("pwrite:7:once:EPERM", 13)):
            process = run(program("deep_program"), library=FAULTY_LIBRARY, WARREN_FAULT=fault, WARREN_FAULT_COUNT="2")
            self.assertEqual((process.returncode, process.stdout), (0, self.text), fault)
            self.assertRegex(process.stderr, rf"\Acalls .* pwrite={writes}\n\Z", fault)


class Forwarder(unittest.TestCase):
    """A library before ours that defines malloc and passes the calls on."""

    def test_programs_run_under_both(self):
        forwarder = os.path.join(PROGRAMS, "libforwarder.so")
        for command in (program("deep_program"), ["/bin/bash", "-c", "echo $(for i in 1 2 3; do (echo $i); done)"],
                        ["/usr/bin/python3", "-c", "import threading; t = [threading.Thread(target=lambda: [str(i) for i in range(9999)])"
                                                   " for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]; print(len(t))"]):
            without = subprocess.run(command, capture_output=True, text=True, timeout=60)
            for order in ([forwarder, LIBRARY], [LIBRARY, forwarder]):
                process = run(command, library=":".join(order))
                self.assertEqual((process.returncode, process.stdout, process.stderr), (0, without.stdout, ""), (command, order))


class Options(unittest.TestCase):
    def test_a_mistake_prints_one_line_and_the_program_goes_on(self):
        for conf, line in (
                ("nonsense=1", "warren: WARREN_CONF: nonsense=1: there is no such key; ignored (help=1 lists the keys)"),
                ("junk=2", "warren: WARREN_CONF: junk=2: expected 0|1; keeping 0"),
                ("arena=5KiB", "warren: WARREN_CONF: arena=5KiB: expected 64MiB to 16TiB; keeping 1TiB"),
                ("stats", "warren: WARREN_CONF: stats: expected key=value; ignored"),
                ("gogc=-3", "warren: WARREN_CONF: gogc=-3: expected 1 to 1000000, or off; keeping 100")):
            process = run(["/bin/echo", "goes on"], conf)
            self.assertEqual((process.returncode, process.stdout, process.stderr), (0, "goes on\n", line + "\n"))

    def test_good_values_are_silent(self):
        process = run(["/bin/true"], "arena=2GiB,abort_on_error=0,junk=1,zero_on_free=1,gogc=off,memlimit=1GiB,prof=/dev/null,")
        self.assertEqual((process.returncode, process.stderr), (0, ""))

    def test_help_lists_every_key(self):
        keys = re.findall(r"^  (\w+) = ", run(["/bin/true"], "help=1").stderr, re.M)
        for key in ("stats", "gctrace", "schedtrace", "scheddetail", "gogc", "memlimit", "gc", "scavenge_delay", "thp", "arena",
                    "maxprocs", "prof", "prof_rate", "abort_on_error", "junk", "zero_on_free"):
            self.assertIn(key, keys)

    def test_the_statistics_at_exit_for_programs(self):
        process = run(["/bin/ls", "/"], "stats=json")
        figures = json.loads(process.stderr)
        self.assertGreater(figures["mallocs"], figures["frees"])
        self.assertEqual(sum(row["mallocs"] for row in figures["by_size"]), figures["mallocs"])
        self.assertEqual(figures["heap_sys"], figures["heap_idle"] + figures["heap_inuse"])
        self.assertEqual(figures["num_gc"], 0)

    def test_what_is_given_back_is_traced(self):
        code = "import ctypes; x = [bytearray(100000) for _ in range(300)]; del x; ctypes.CDLL(None).malloc_trim(0)"
        process = run(["/usr/bin/python3", "-c", code], "scavtrace=1,scavenge_delay=off")
        self.assertRegex(process.stderr, r"\Ascav 0 KiB work \(bg\), \d{4,} KiB work \(eager\), \d{4,} KiB now, \d+% util\n\Z")

    def test_the_table_at_exit(self):
        process = run(["/bin/ls", "/"], "stats=exit")
        rows = dict((name, int(value)) for value, name in re.findall(r"^ +(\d+)  (\w+)$", process.stderr, re.M))
        self.assertRegex(process.stderr, r"^warren: statistics of process \d+ ")
        self.assertGreater(rows["mallocs"], 10)
        self.assertGreaterEqual(rows["mallocs"], rows["frees"])
        self.assertEqual(rows["heap_sys"], rows["heap_idle"] + rows["heap_inuse"])


class OtherHeaps(unittest.TestCase):
    def test_a_program_that_is_not_pie_runs_on_warren(self):
        process = run(program("not_pie"))
        self.assertEqual((process.returncode, process.stdout), (0, "112\n"))

    def test_foreign_blocks_stop_the_program(self):
        process = run(program("other_heap"))
        self.assertEqual(process.returncode, -6)
        self.assertRegex(process.stderr, r"^warren: fatal error: foreign pointer: malloc_usable_size\(0x[0-9a-f]+\): "
                                         r"this address is not in warren's heap; aborting\n$")

    def test_foreign_blocks_can_go_to_their_own_heap(self):
        process = run(program("other_heap"), "foreign=forward")
        self.assertEqual((process.returncode, process.stdout, process.stderr), (0, "1\ntheirs\nfreed\n", ""))

    def test_abort_on_error_can_be_switched_off(self):
        process = run(program("other_heap"), "abort_on_error=0")
        self.assertEqual(process.stderr.count("; ignored\n"), process.stderr.count("\n"))
        self.assertIn("warren: error: foreign pointer: realloc(0x", process.stderr)


class Misuse(unittest.TestCase):
    def test_every_process_of_a_tree_is_on_warren(self):
        process = run(["/bin/sh", "-c", "grep -c libwarren.so /proc/self/maps | tr -d '\\n'; cat /proc/self/maps | grep -c libwarren.so"])
        self.assertEqual(process.returncode, 0)
        self.assertNotIn("0", process.stdout[:1])


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The option gc=collect: forgotten blocks come back, no other is touched, and programs say the same with it as without.

Run by meson: reclaim_test.py VICTIM, the library's path in WARREN_LIB.  Invariant: a case passes when the victim says "held".
"""

import os
import re
import subprocess
import sys
import unittest

VICTIM = sys.argv[1]
LIBRARY = os.environ["WARREN_LIB"]


def run(command, conf, preload=None):
    environment = {k: v for k, v in os.environ.items() if k not in ("WARREN_CONF", "LD_PRELOAD")}
    if conf:
        environment["WARREN_CONF"] = conf
    if preload:
        environment["LD_PRELOAD"] = preload
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)


class Reclaim(unittest.TestCase):
    def held(self, case, conf):
        process = run([VICTIM, case], conf)
        self.assertEqual((process.returncode, process.stdout.splitlines()[-1:]), (0, ["held"]), (case, conf, process))
        return process

    def test_what_is_reachable_stays(self):
        for conf in ("gc=collect,gogc=5", "gc=collect,gogc=20,junk=1", "gc=collect,gogc=50,prof=/dev/null,prof_rate=1000"):
            process = self.held("churn", conf + ",gctrace=1")
            self.assertGreater(len(re.findall(r"(?m)^gc malloc ", process.stderr)), 4, process)

    def test_what_is_forgotten_comes_back(self):
        self.held("bounded", "gc=collect")
        process = self.held("bounded", "gc=collect,gctrace=1")
        self.assertRegex(process.stderr, r"(?m)^gc malloc 1: \d+ ms, \d+->\d+ MB, \d+ MB live, \d+ blocks freed, \d+ MB$")

    def test_when_the_program_asks(self):
        self.held("asked", "gc=collect,gogc=off")

    def test_when_it_is_switched_on_late(self):
        self.held("switched", "gc=collect,gogc=off")

    def test_in_a_forked_child(self):
        self.held("forked", "gc=collect")

    def test_only_with_the_option(self):
        self.assertIn("came back", run([VICTIM, "asked"], None).stdout)

    def test_programs_say_the_same(self):
        for command in ([sys.executable, "-c", "import json; t = {str(i): [i] * (i % 30) for i in range(60000)}; print(len(json.dumps(t)))"],
                        ["/usr/bin/perl", "-e", "my %h; $h{$_ % 5000} .= $_ x 9 for 1..400000; print length(join '', map { $h{$_} } sort keys %h)"]):
            without = run(command, None)
            process = run(command, "gc=collect,gogc=10,gctrace=1", LIBRARY)
            traced = re.compile(r"gc malloc .*\n")
            self.assertEqual((process.returncode, process.stdout, traced.sub("", process.stderr)), (0, without.stdout, without.stderr), command)
            self.assertGreater(len(traced.findall(process.stderr)), 1, command)


del sys.argv[1:]
unittest.main()

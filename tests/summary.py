#!/usr/bin/env python3
"""Counts what `./warren test` ran, names each failed case, and ends with one line: N passed, N failed[, N skipped].

Run by ./warren test with --phase=NAME=pass|fail for each build that is a test by itself, and with
--log=LABEL=DIRECTORY=STATUS for each run of meson test (DIRECTORY holds testlog.json and testlog.junit.xml, STATUS is
meson's exit status). Exit status 0 only if something passed and nothing failed.

Invariant: a test program that meson did not call OK is never counted as passed only. testlog.json is the authority on
programs; testlog.junit.xml only splits a gtest program into its cases (meson's JUnit file shows a program that timed
out as passed, and knows nothing of one that crashed before it wrote its report).
"""

import argparse
import collections
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

PASSED = {"OK", "EXPECTEDFAIL"}


class Tally:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def add(self, name, outcome, detail=""):
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skips.append(name)
        else:
            self.failures.append(f"{name}: {detail}" if detail else name)


def gtest_cases(junit_file):
    """Test, named as in testlog.json -> [(case, outcome, how it failed)]."""
    cases = collections.defaultdict(list)
    if not junit_file.exists():
        return cases
    for suite in ElementTree.parse(junit_file).getroot().iter("testsuite"):
        parts = suite.get("name", "").split(".")  # PROJECT.TEST.GTEST_SUITE
        if len(parts) < 3:
            continue  # the suite of plain programs, which testlog.json knows better
        test = ".".join(parts[1:-1])
        for case in suite.iter("testcase"):
            broken = case.find("failure")
            broken = case.find("error") if broken is None else broken
            name = f"{parts[-1]}.{case.get('name')}"
            if broken is not None:
                lines = (broken.get("message") or broken.text or "").strip().splitlines()
                cases[test].append((name, "failed", " | ".join(line.strip() for line in lines[:4])))
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                cases[test].append((name, "skipped", ""))
            else:
                cases[test].append((name, "passed", ""))
    return cases


def gtest_programs(build_directory):
    tests = json.loads((build_directory / "meson-info" / "intro-tests.json").read_text())
    return {test["name"] for test in tests if test["protocol"] == "gtest"}


def count_program(tally, label, record, cases, gtests):
    test = record["name"].rsplit(" / ", 1)[-1]
    name = f"{label}: {test}"
    result = record["result"]
    how = f"{result}, exit status {record.get('returncode')}"
    for case, outcome, detail in cases:
        tally.add(f"{name}: {case}", outcome, detail)
    if result == "SKIP":
        if not cases:
            tally.add(name, "skipped")
    elif result not in PASSED:
        if not any(outcome == "failed" for _, outcome, _ in cases):
            tally.add(name, "failed", how)
    elif test in gtests and not cases:
        tally.add(name, "failed", "it left no report, or ran no case")
    elif test not in gtests:
        tally.add(name, "passed")


def count_log(tally, label, directory, status):
    log = directory / "testlog.json"
    before = len(tally.failures)
    programs = 0
    if log.exists():
        cases = gtest_cases(directory / "testlog.junit.xml")
        gtests = gtest_programs(directory.parent)
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            record = json.loads(line)
            count_program(tally, label, record, cases.pop(record["name"], []), gtests)
            programs += 1
    if programs == 0:
        tally.add(f"{label}: meson test", "failed", f"it ran nothing (status {status})")
    elif status != 0 and len(tally.failures) == before:
        tally.add(f"{label}: meson test", "failed", f"it ended with status {status}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phase", action="append", default=[], metavar="NAME=pass|fail")
    parser.add_argument("--log", action="append", default=[], metavar="LABEL=DIRECTORY=STATUS")
    arguments = parser.parse_args()

    tally = Tally()
    for phase in arguments.phase:
        name, _, result = phase.rpartition("=")
        tally.add(name, "passed" if result == "pass" else "failed")
    for entry in arguments.log:
        label, _, rest = entry.partition("=")
        directory, _, status = rest.rpartition("=")
        count_log(tally, label, pathlib.Path(directory), int(status))

    for skip in tally.skips:
        print(f"SKIPPED {skip}")
    for failure in tally.failures:
        print(f"FAILED  {failure}")
    line = f"{tally.passed} passed, {len(tally.failures)} failed"
    if tally.skips:
        line += f", {len(tally.skips)} skipped"
    print(line)
    return 0 if tally.passed and not tally.failures else 1


if __name__ == "__main__":
    sys.exit(main())

"""The heap profile of programs whose allocations are known: sums, shares, names, forks, loaders, signals; and what pprof itself makes
of the file where Go is installed.

Run by meson, suite 'inspect'. Environment: WARREN_LIB, PROGRAMS (the folder of the test programs), WARREN (the command).
Invariant: profiles are read by pprof_file.py, so that the format is checked against its definition and not against the writer.
"""
import glob
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import unittest

from pprof_file import Profile

LIBRARY = os.environ["WARREN_LIB"]
PROGRAMS = pathlib.Path(os.environ["PROGRAMS"])
VICTIM = str(PROGRAMS / "profile_victim")
ALL = "prof_rate=1"  # every allocation of more than a few bytes


def truth_of(text):
    rows = re.findall(r"^(site_\w+) (\d+) (\d+) (\d+) (\d+)$", text, re.M)
    return {name: [int(n) for n in numbers] for name, *numbers in rows}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "heap")

    def run_victim(self, *arguments, conf=ALL, status=0, prof=True):
        environment = {k: v for k, v in os.environ.items() if k not in ("WARREN_CONF", "LD_PRELOAD")}
        environment["LD_PRELOAD"] = LIBRARY
        environment["WARREN_CONF"] = f"prof={self.path},{conf}" if prof else conf
        process = subprocess.run([VICTIM, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual((process.returncode, process.stderr), (status, ""), process.stdout)
        return process.stdout

    def expect(self, profile, truth, within, columns=range(4)):
        for site, wanted in truth.items():
            found = profile.of(site)
            for i in columns:
                self.assertLessEqual(abs(found[i] - wanted[i]), within * wanted[i] + 100, f"{site} {profile.types[i]}: {found[i]} for {wanted[i]}")


class EveryAllocation(Case):
    def test_each_site_and_kind_of_call(self):
        truth = truth_of(self.run_victim("sites", "2000"))
        profile = Profile(self.path)
        self.assertEqual(profile.types, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"])
        self.assertEqual((profile.period, profile.default), (1, "alloc_space"))
        self.assertEqual(len([t for t in truth.values() if t[0]]), 8)
        self.expect(profile, truth, 0.001)

    def test_realloc(self):
        truth = truth_of(self.run_victim("realloc"))
        profile = Profile(self.path)
        found, wanted = profile.of("site_realloc"), truth["site_realloc"]
        # In place, where a block of a class has room, nothing is counted; all other calls are.
        self.assertLessEqual(found[0], wanted[0])
        self.assertGreaterEqual(found[0], wanted[0] * 0.9)
        self.assertEqual(found[2], wanted[2])
        self.assertLess(abs(found[3] - wanted[3]), wanted[3] * 0.01)

    def test_threads(self):
        truth = truth_of(self.run_victim("threads"))
        self.expect(Profile(self.path), truth, 0.001)

    def test_threads_that_allocate_once(self):
        truth = truth_of(self.run_victim("short_threads"))
        self.expect(Profile(self.path), truth, 0.001)

    def test_with_every_block_filled(self):
        truth = truth_of(self.run_victim("sites", "300", conf=ALL + ",junk=1"))
        self.expect(Profile(self.path), truth, 0.001)

    def test_stacks_reach_main_and_begin_at_the_caller(self):
        self.run_victim("sites", "300")
        stacks = [stack for stack, _ in Profile(self.path).samples if stack[0] == "site_new"]
        self.assertTrue(stacks)
        for stack in stacks:
            self.assertIn("main", stack)
            self.assertEqual(stack[-1], "_start")

    def test_stacks_are_whole_whichever_way_they_go_through_the_library(self):
        self.run_victim("frames")
        stacks = [stack for stack, _ in Profile(self.path).samples if stack[0] == "below_frames"]
        # Each call of below_frames has a return address of its own, and tells its sizes apart by nothing.
        self.assertEqual(len(stacks), 12)
        for stack in stacks:
            self.assertEqual([f for f in stack if f != "frames"][:3], ["below_frames", "outer_of_frames", "main"])  # it may be inlined
            self.assertEqual(stack[-1], "_start")

    def test_mappings_name_files_and_build_ids(self):
        self.run_victim("sites", "10")
        profile = Profile(self.path)
        files = {profile.strings[m[5][0]]: m for m in profile.mappings.values()}
        self.assertIn(VICTIM, files)
        self.assertIn(LIBRARY, files)
        notes = subprocess.run(["readelf", "-n", LIBRARY], capture_output=True, text=True).stdout
        build_id = re.search(r"Build ID: (\w+)", notes)
        if build_id:
            self.assertEqual(profile.strings[files[LIBRARY][6][0]], build_id.group(1))


class Sampled(Case):
    def test_sums_are_within_five_percent(self):
        truth = truth_of(self.run_victim("sites", "30000", conf="prof_rate=8KiB"))
        profile = Profile(self.path)
        wanted = [sum(numbers[i] for numbers in truth.values()) for i in range(4)]
        sums = [sum(profile.of(site)[i] for site in truth) for i in range(4)]
        for i in (1, 3):
            self.assertLess(abs(sums[i] - wanted[i]), 0.05 * wanted[i], profile.types[i])
        # Single sites of which there are some thousand samples.
        large = {site: numbers for site, numbers in truth.items() if numbers[1] > 2000 * 8192}
        self.assertGreaterEqual(len(large), 3)
        self.expect(profile, large, 0.12, columns=(0, 1))

    def test_shares_are_right_at_a_coarse_rate(self):
        truth = truth_of(self.run_victim("sites", "60000", conf="prof_rate=64KiB"))
        profile = Profile(self.path)
        total = sum(numbers[1] for numbers in truth.values())
        for site, numbers in truth.items():
            self.assertLess(abs(profile.of(site)[1] / profile.total()[1] - numbers[1] / total), 0.03, site)


class Collected(Case):
    """Objects of the collector's: allocated, and gone when they are swept or released."""

    def expect_collected(self, truth, most_stale):
        profile = Profile(self.path)
        for site, wanted in truth.items():
            found = profile.of(site)
            self.assertEqual(found[:2], wanted[:2], site)
            # An old word somewhere may keep what the program has forgotten, never the other way round.
            self.assertTrue(wanted[2] <= found[2] <= wanted[2] + most_stale, (site, found, wanted))
            self.assertGreaterEqual(found[3], wanted[3], site)
        self.assertEqual(profile.of("site_gc_freed")[2:], [0, 0])

    def test_each_object(self):
        self.expect_collected(truth_of(self.run_victim("collected", "6000", conf=ALL + ",gc_verify=1")), 20)

    def test_each_object_of_threads(self):
        # Those that end leave their stacks to libc, which keeps some for threads to come.
        self.expect_collected(truth_of(self.run_victim("collected_threads", "3000")), 200)

    def test_sampled_sums_are_within_five_percent(self):
        truth = truth_of(self.run_victim("collected", "30000", conf="prof_rate=4KiB,gc_poison=1"))
        profile = Profile(self.path)
        for i in (1, 3):
            wanted, found = (sum(of(site)[i] for site in truth) for of in (truth.get, profile.of))
            self.assertLess(abs(found - wanted), 0.05 * wanted, profile.types[i])


class Processes(Case):
    def test_forked_children_go_on_by_themselves(self):
        text = self.run_victim("forks")
        child, parent = text.split("parent\n")
        number = re.search(r"child (\d+)", child).group(1)
        self.assertEqual(sorted(os.path.basename(p) for p in glob.glob(self.path + "*")), ["heap", "heap." + number])
        self.expect(Profile(self.path), truth_of(parent), 0.001)
        # The child has its parent's past as well.
        self.expect(Profile(self.path + "." + number), truth_of(child), 0.001)

    def test_only_the_named_process_writes_the_file_itself(self):
        self.run_victim("sites", "10", conf=ALL + ",prof_pid=1")
        names = [os.path.basename(p) for p in glob.glob(self.path + "*")]
        self.assertEqual(len(names), 1)
        self.assertRegex(names[0], r"^heap\.\d+$")

    def test_off_names_no_process(self):
        self.run_victim("sites", "10", conf=ALL + ",prof_pid=off")
        self.assertEqual([os.path.basename(p) for p in glob.glob(self.path + "*")], ["heap"])

    def test_libraries_come_and_go_while_threads_are_sampled(self):
        self.run_victim("loading", str(PROGRAMS / "libplugin_module.so"))
        self.assertGreater(Profile(self.path).total()[0], 1000)

    def test_a_handler_that_allocates(self):
        truth = truth_of(self.run_victim("handler"))
        profile = Profile(self.path)
        self.expect(profile, truth, 0.001)
        self.assertGreater(profile.total()[0], sum(numbers[0] for numbers in truth.values()))

    def test_files_by_signal(self):
        self.run_victim("dumps_by_signal", conf=f"{ALL},prof_signal={int(signal.SIGUSR1)}")
        numbered = glob.glob(self.path + ".*")
        self.assertGreaterEqual(len(numbered), 21)
        for path in numbered:
            self.assertEqual(Profile(path).default, "inuse_space")

    def test_files_from_time_to_time(self):
        self.run_victim("sites", "100000", conf="prof_rate=64KiB,prof_interval=20")
        self.assertGreaterEqual(len(glob.glob(self.path + ".*")), 2)
        Profile(self.path + ".1")

    def test_a_path_that_cannot_be_written_is_told_and_nothing_else_happens(self):
        environment = {**os.environ, "LD_PRELOAD": LIBRARY, "WARREN_CONF": "prof=/nowhere/heap"}
        process = subprocess.run([VICTIM, "sites", "1"], env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual((process.returncode, process.stderr), (0, "warren: cannot write the heap profile to /nowhere/heap: error 2\n"))

    def test_a_write_that_raises_a_signal_does_not_end_the_program(self):
        def none():
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

        environment = {**os.environ, "LD_PRELOAD": LIBRARY, "WARREN_CONF": f"prof={self.path},prof_rate=1"}
        process = subprocess.run(["/bin/true"], env=environment, capture_output=True, text=True, timeout=60, preexec_fn=none)
        self.assertEqual((process.returncode, process.stderr), (0, f"warren: cannot write the heap profile to {self.path}: error 27\n"))
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        gone, closed = os.pipe()
        os.close(gone)
        environment["WARREN_CONF"] = "prof=/dev/stdout,prof_rate=1"
        process = subprocess.run(["/bin/true"], env=environment, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60,
                                 restore_signals=True)
        os.close(closed)
        self.assertEqual((process.returncode, process.stderr), (0, "warren: cannot write the heap profile to /dev/stdout: error 32\n"))


class ByHand(Case):
    @unittest.skipIf(os.geteuid() != 0, "only root may change its root")
    def test_without_proc_there_are_addresses(self):
        folder = os.path.dirname(self.path)
        self.path = "/at_exit"
        self.run_victim("jailed", folder)
        for name in "by_hand", "at_exit":
            profile = Profile(os.path.join(folder, name))
            self.assertEqual(profile.mappings, {})
            self.assertGreaterEqual(sum(values[0] for _, values in profile.samples), 1000)
            self.assertGreaterEqual(sum(values[1] for _, values in profile.samples), 1000 * 1000)

    def test_start_stop_and_dump(self):
        self.run_victim("by_hand", self.path, conf="stats=off", prof=False)
        first, second = Profile(self.path + ".first"), Profile(self.path + ".second")
        self.assertEqual(first.of("site_malloc"), [1000, 1000000, 1000, 1000000])
        self.assertEqual(first.of("site_tiny"), [0] * 4)
        self.assertEqual(second.of("site_new"), [500, 1500000, 0, 0])
        self.assertEqual(second.of("site_array"), [0] * 4)
        self.assertGreater(Profile(self.path + ".third").of("site_large")[0], 99)


class Command(Case):
    def run_command(self, *arguments):
        return subprocess.run([os.environ["WARREN"], "profile", *arguments], capture_output=True, text=True, timeout=300,
                              env={k: v for k, v in os.environ.items() if k not in ("WARREN_CONF", "LD_PRELOAD")})

    def test_profile(self):
        if not os.path.samefile(os.path.dirname(LIBRARY), os.path.join(os.path.dirname(os.environ["WARREN"]), "build")):
            self.skipTest("the command runs the library of build/")
        process = self.run_command("-o", self.path, "--rate", "1", "--", VICTIM, "sites", "100")
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn(f"go tool pprof -top {self.path}", process.stderr)
        self.expect(Profile(self.path), truth_of(process.stdout), 0.001)

    def test_wrong_usage(self):
        for arguments in ((), ("-o",), ("--nonsense", "--", "true"), ("-o", "a,b", "true")):
            self.assertEqual(self.run_command(*arguments).returncode, 2, arguments)


@unittest.skipUnless(shutil.which("go"), "Go is not installed")
class Pprof(Case):
    def test_top_names_the_sites_with_their_shares(self):
        truth = truth_of(self.run_victim("sites", "3000"))
        environment = {**os.environ, "HOME": os.path.dirname(self.path)}
        process = subprocess.run(["go", "tool", "pprof", "-top", "-nodecount=20", self.path], capture_output=True, text=True, timeout=120, env=environment)
        self.assertEqual(process.returncode, 0, process.stderr)
        shares = {name: float(share) for share, name in re.findall(r"^\s*\S+\s+([\d.]+)%\s.*?(site_\w+)", process.stdout, re.M)}
        total = sum(numbers[1] for numbers in truth.values())
        for site, numbers in truth.items():
            if numbers[1] > 0.02 * total:
                self.assertAlmostEqual(shares[site], 100 * numbers[1] / total, delta=1.5, msg=process.stdout)


if __name__ == "__main__":
    unittest.main()

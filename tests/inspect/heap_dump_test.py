"""Heap dumps of a program whose heap is known, and what the viewer says of them.

Run by meson, suite 'inspect'. Environment: KNOWN_GRAPH, the program; WARREN_LIB; WARREN, the command; INSPECT, the folder of that name.
"""
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ["KNOWN_GRAPH"]
VIEWER = pathlib.Path(os.environ["INSPECT"]) / "viewer"
sys.path.insert(0, str(VIEWER))
from dominators import Dominators  # noqa: E402
from heap_file import FREE_STATE, HeapFile, NotADump  # noqa: E402
from array import array  # noqa: E402

NOBODY = "held by nothing that was found"


def environment(conf=None):
    kept = {k: v for k, v in os.environ.items() if k not in ("WARREN_CONF", "LD_PRELOAD")}
    if conf is not None:
        kept["WARREN_CONF"] = conf
    return kept


def told(text):
    return {name: (int(address, 0), int(size)) for name, address, size in re.findall(r"^(\w+) (\w+) (\d+)$", text, re.M)}


def view(*arguments):
    return subprocess.run([sys.executable, "-B", VIEWER / "heap_view.py", *arguments], capture_output=True, text=True, timeout=120)


def built_beside_the_command():
    return os.path.samefile(os.path.dirname(os.environ["WARREN_LIB"]), os.path.join(os.path.dirname(os.environ["WARREN"]), "build"))


class Dump(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "heap")
        self.addCleanup(self.folder.cleanup)

    def run_program(self, what, conf=None):
        process = subprocess.run([PROGRAM, what, self.path], capture_output=True, text=True, env=environment(conf), timeout=120)
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        return told(process.stdout)

    def figures(self, *addresses):
        arguments = [part for address in addresses for part in ("--why", hex(address))]
        shown = view(self.path, "--json", *arguments)
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        return json.loads(shown.stdout)


class KnownGraph(Dump):
    def test_what_retains_what(self):
        made = self.run_program("dump")
        why = self.figures(*(address for address, _ in made.values()))["why"]

        def of(name):
            return why[hex(made[name][0])]

        nodes = 1000 * (48 + 208) + 3072
        for name, size, retained, objects in (
                ("list_head", 48, nodes, 2001), ("list_last", 48, 48 + 208, 2), ("list_shared", 3072, 3072, 1),
                ("left", 64, 64, 1), ("right", 64, 64, 1), ("bottom", 64, 64 + 4096, 2), ("bottom_block", 4096, 4096, 1),
                ("ring", 64, 192, 3), ("large", 1 << 20, (1 << 20) + 512, 2), ("in_large", 512, 512, 1),
                ("collected", 64, 64 + 320 + 2048, 3), ("collected_block", 320, 320, 1), ("collected_noscan", 2048, 2048, 1),
                ("thread_block", 896, 896, 1), ("finalizer_block", 2048, 2048, 1)):
            found = of(name)
            self.assertEqual((found["address"], found["size"], found["retained"], found["objects"]),
                             (made[name][0], size, retained, objects), name)
        self.assertEqual([of(name)["kind"] for name in ("left", "collected", "collected_noscan")], ["malloc", "gc", "gc noscan"])

        # The last of a list is below all the others, what all of them share below the first only.
        self.assertEqual(len(of("list_last")["chain"]), 1001)
        self.assertEqual(of("list_last")["chain"][-2:], [made["list_head"][0], "list_head (known_graph)"])
        self.assertEqual(of("list_shared")["chain"], [made["list_shared"][0], made["list_head"][0], "list_head (known_graph)"])
        self.assertEqual(of("list_shared")["path"], ["list_head (known_graph)", made["list_head"][0], made["list_shared"][0]])
        self.assertEqual(len(of("list_shared")["referrers"]), 1000)
        # Two holders: neither of them retains it.
        self.assertEqual(of("bottom")["chain"], [made["bottom"][0]])
        self.assertEqual(of("bottom")["referrers"], sorted([made["left"][0], made["right"][0]]))
        self.assertEqual(of("left")["chain"], [made["left"][0], "left_pair (known_graph)"])
        # Nobody, a stack, a pointer in the middle of a large block.
        self.assertEqual(of("ring")["chain"], [made["ring"][0], NOBODY])
        self.assertRegex(of("thread_block")["chain"][-1], r"^thread \d+ \(holder\)$")
        self.assertEqual(of("finalizer_block")["chain"][-1], "finalizers")
        self.assertRegex(of("collected")["chain"][-1], r"^thread \d+ \(known_graph\)$")
        self.assertEqual(of("in_large")["chain"], [made["in_large"][0], made["large"][0], "large_block (known_graph)"])

    def test_an_address_inside_of_an_object_and_one_that_is_in_none(self):
        made = self.run_program("dump")
        address = made["bottom_block"][0]
        why = self.figures(address + 100, 0x1000)["why"]
        self.assertEqual(why[hex(address + 100)]["address"], address)
        self.assertIsNone(why["0x1000"])
        text = view(self.path, "--why", hex(address + 100)).stdout
        self.assertIn(f"100 bytes into the object {address:#x}", text)

    def test_the_spans_account_for_the_arena(self):
        self.run_program("dump")
        heap = HeapFile(self.path)
        page = heap.facts["page_bytes"]
        self.assertEqual(sum(span[1] for span in heap.spans) * page, heap.facts["arena_bytes"] - page)
        self.assertEqual(sum(span[3] for span in heap.spans), len(heap))
        self.assertEqual(sum(heap.edge_counts), len(heap.edges))
        self.assertTrue(any(span[4] == FREE_STATE for span in heap.spans))

    def test_what_only_a_fiber_holds(self):
        made = self.run_program("fibers")
        why = self.figures(made["fiber_block"][0])["why"]
        self.assertRegex(why[hex(made["fiber_block"][0])]["chain"][-1], r"^fiber \d+ \(keeper\)$")

    def test_what_only_a_running_fiber_holds(self):
        made = self.run_program("fibers")
        why = self.figures(made["running_block"][0])["why"]
        self.assertRegex(why[hex(made["running_block"][0])]["chain"][-1], r"^thread \d+")

    def test_memory_that_forked_children_do_not_get(self):
        made = self.run_program("unforked")
        why = self.figures(made["in_unforked"][0])["why"][hex(made["in_unforked"][0])]
        self.assertEqual((why["referrers"], why["chain"][1]), ([made["unforked"][0]], made["unforked"][0]))

    def test_what_the_program_closes_meanwhile_is_closed(self):
        self.assertEqual(self.run_program("pipe")["pipe_closed"], (1, 0))

    def test_children_that_fork_while_others_dump(self):
        self.run_program("forks")
        self.assertIsNotNone(HeapFile(self.path))

    def test_dumps_while_threads_allocate_and_collections_run(self):
        made = self.run_program("churn")
        # Not what retains it: threads begin with the vector registers of who made them, and those may hold anything.
        why = self.figures(made["list_shared"][0], made["collected_block"][0])["why"]
        self.assertEqual(len(why[hex(made["list_shared"][0])]["referrers"]), 1000)
        self.assertEqual(why[hex(made["collected_block"][0])]["referrers"], [made["collected"][0]])

    def test_a_million_objects(self):
        made = self.run_program("many")
        heap = HeapFile(self.path)
        self.assertGreater(len(heap), 1_001_000)
        self.assertIsNotNone(heap.find(made["many"][0]))
        shown = view(self.path, "--map")
        self.assertEqual(shown.returncode, 0)
        self.assertGreater(shown.stdout.count("T"), 100)


class Ages(Dump):
    UNIT = 10 ** 7  # of the coarsest clock

    def bounds(self, made, i):
        return made["before_dump"][0] - made[f"after{i}"][0] - self.UNIT, made["after_dump"][0] - made[f"before{i}"][0] + self.UNIT

    def test_sampled_objects_say_when_they_were_allocated(self):
        made = self.run_program("ages", f"heap_dump={self.path}.end,prof_rate=1")
        why = self.figures(*(made[f"block{i}"][0] for i in range(8)))["why"]
        ages = [why[hex(made[f"block{i}"][0])]["age_ns"] for i in range(8)]
        for i in range(8):
            low, high = self.bounds(made, i)
            self.assertTrue(low <= ages[i] <= high, (i, low, ages[i], high))
            self.assertTrue(why[hex(made[f"block{i}"][0])]["age_is_exact"])
        self.assertEqual(ages, sorted(ages, reverse=True))
        self.assertEqual(len(set(ages)), 8)

    def test_others_how_old_they_are_at_most(self):
        # One of a few of the large ones is sampled, and each of them has pages of its own.
        made = self.run_program("ages", f"heap_dump={self.path}.end,prof_rate=4MiB")
        heap = HeapFile(self.path)
        bounded = 0
        for i in range(8):
            number = heap.find(made[f"block{i}"][0])
            age, exact = heap.oldest(number)
            self.assertEqual(exact, number in heap.samples)
            self.assertGreaterEqual(age, self.bounds(made, i)[0])
            # Not older than the program.
            self.assertLessEqual(age, self.bounds(made, 0)[1] + 60 * 10 ** 9)
            bounded += not exact
            if not exact:
                self.assertIn("allocated at most ", view(self.path, "--why", hex(made[f"block{i}"][0])).stdout)
        self.assertGreater(bounded, 0)

    def test_unknown_while_nobody_samples(self):
        made = self.run_program("ages")
        why = self.figures(made["block0"][0], made["block7"][0])["why"].values()
        self.assertEqual([row["age_ns"] for row in why], [None, None])

    def test_tables_of_ages(self):
        self.run_program("ages", f"heap_dump={self.path}.end,prof_rate=1")
        text = view(self.path).stdout
        self.assertRegex(text, r"(?m)^by age, estimated likewise\n( .*%.* (younger than 1 s|1 to 10 s|10 s to 1 min)\n)+")
        self.assertRegex(text, r"(?m)^ .*\d (ms|s)( to [\d.]+ (ms|s))?  \(anonymous namespace\)::zeroed")
        page = os.path.join(self.folder.name, "page.html")
        self.assertEqual(view(self.path, "--html", page).returncode, 0)
        data = json.loads(re.search(r"const data = (.*);\n", pathlib.Path(page).read_text(encoding="utf-8")).group(1))
        self.assertTrue(data["ages"] and all(re.search(r"\d (ms|s)$", row[3]) for row in data["stacks"]))


class Asked(Dump):
    def wait_for_dump(self, path):
        for _ in range(600):
            try:
                return HeapFile(path)
            except (NotADump, OSError):
                time.sleep(0.1)
        self.fail(f"no dump in {path}")

    def test_by_a_signal_and_at_the_end(self):
        process = subprocess.Popen([PROGRAM, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment(f"heap_dump={self.path},prof_rate=1"))
        text = ""
        while "waiting" not in text:
            text += process.stdout.readline()
        for number in (1, 2):
            process.send_signal(signal.SIGUSR2)
            self.wait_for_dump(f"{self.path}.{number}")
        rest = process.communicate(timeout=60)
        self.assertEqual((process.returncode, rest), (0, ("", "")))
        made = told(text)
        for name in ("heap", "heap.1", "heap.2"):
            heap = HeapFile(os.path.join(self.folder.name, name))
            number = heap.find(made["list_head"][0])
            self.assertEqual(heap.size(number), 48)
            self.assertGreater(heap.facts["stop_ns"], 0)
            frames = heap.frames(heap.samples[number][0])  # at this rate every allocation is sampled
            self.assertTrue(any("make_list" in frame for frame in frames), frames)
            self.assertEqual(heap.samples[number][1:3], (48, 1.0))
        shown = view(os.path.join(self.folder.name, "heap"), "--why", hex(made["list_last"][0])).stdout
        self.assertRegex(shown, r"allocated [\d.]+ \w+ ago \(48 bytes were asked for\) by\n(  .*\n)*?  .*make_list")

    def test_no_file_stays_incomplete_when_the_program_ends(self):
        for _ in range(5):
            process = subprocess.Popen([PROGRAM, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                       env=environment(f"heap_dump={self.path}"))
            while "waiting" not in process.stdout.readline():
                pass
            for _ in range(100):
                process.send_signal(signal.SIGUSR2)
            process.communicate(timeout=60)
            self.assertEqual([name for name in os.listdir(self.folder.name) if "writing" in name], [])
            HeapFile(self.path)

    def test_of_a_program_made_for_nothing_of_the_kind_and_of_its_child(self):
        code = "import os; child = os.fork(); child and os.waitpid(child, 0); print(child, end=' ')"
        process = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, timeout=60,
                                 env={**environment(f"heap_dump={self.path}"), "LD_PRELOAD": os.environ["WARREN_LIB"]})
        self.assertEqual((process.returncode, process.stderr), (0, ""))
        child = max(map(int, process.stdout.split()))
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["heap", f"heap.pid{child}"])
        for name, is_child in (("heap", False), (f"heap.pid{child}", True)):
            heap = HeapFile(os.path.join(self.folder.name, name))
            self.assertGreater(len(heap), 0)
            self.assertEqual(heap.facts["process"] == child, is_child)
            self.assertEqual(heap.command[:2], ["/usr/bin/python3", "-c"])

    def test_a_place_where_no_file_can_be(self):
        process = subprocess.run([PROGRAM, "dump", "/nonexistent/heap"], capture_output=True, text=True, env=environment(), timeout=60)
        self.assertEqual(process.returncode, 2)  # ENOENT
        process = subprocess.run([PROGRAM, "dump", "/dev/full"], capture_output=True, text=True, env=environment(), timeout=60)
        self.assertEqual(process.returncode, 28)  # ENOSPC

    def test_a_file_that_is_no_dump(self):
        with open(self.path, "wb") as file:
            file.write(b"WRHEAP\r\n\1\0\0\0")
        shown = view(self.path)
        self.assertEqual((shown.returncode, shown.stdout), (1, ""))
        self.assertIn("is not a heap dump, or not a complete one", shown.stderr)


class Command(Dump):
    """./warren heap."""

    def command(self, *arguments):
        return subprocess.run([os.environ["WARREN"], "heap", *arguments], capture_output=True, text=True, timeout=300,
                              cwd=self.folder.name, env=environment())

    def test_runs_a_program_and_shows_its_heap(self):
        if not built_beside_the_command():
            self.skipTest("the command runs the library of build/")
        done = self.command("-o", "it", "--", "/bin/sh", "-c", "echo out; exit 7")
        # A shell may end without its destructors, and then no dump was written.
        self.assertEqual((done.returncode, done.stdout), (7, "out\n"))
        done = self.command("-o", "it", "--", PROGRAM, "dump", "other")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("large_block (known_graph)", done.stderr)  # a stale word at the end may hold parts of the list
        self.assertIn("list_head", told(done.stdout))
        self.assertIn("it", os.listdir(self.folder.name))
        self.assertIn("it.html", os.listdir(self.folder.name))

    def test_what_is_no_regular_file_is_left_alone(self):
        fifo, link, target = (os.path.join(self.folder.name, name) for name in ("fifo", "link", "target"))
        os.mkfifo(fifo)
        for path in (fifo, self.folder.name):
            done = self.command("-o", path, "--", "true")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("is not a regular file", done.stderr)
        self.assertTrue(stat.S_ISFIFO(os.stat(fifo).st_mode))
        pathlib.Path(target).write_text("of an earlier run")
        os.symlink("target", link)
        self.command("-o", link, "--", "/bin/sh", "-c", "kill -9 $$")
        self.assertTrue(os.path.islink(link))
        self.assertEqual(pathlib.Path(target).read_bytes(), b"")

    def test_the_status_is_that_of_the_program_whoever_reads(self):
        if not built_beside_the_command():
            self.skipTest("the command runs the library of build/")
        gone, closed = os.pipe()
        os.close(gone)
        arguments = [os.environ["WARREN"], "heap", "-o", self.path, "--", "/bin/sh", "-c", "exit 7"]
        for how in ({"stderr": closed}, {"preexec_fn": lambda: os.close(2)}):
            done = subprocess.run(arguments, stdout=subprocess.PIPE, timeout=300, env=environment(), **how)
            self.assertEqual(done.returncode, 7)
        os.close(closed)

    def test_a_path_that_is_no_value_of_an_option(self):
        for path in ("a,b", "x" * 300):
            self.assertEqual(self.command("-o", path, "--", "true").returncode, 2, path)

    def test_shows_a_dump(self):
        made = self.run_program("dump")
        done = self.command("--why", hex(made["left"][0]), self.path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("left_pair (known_graph)", done.stdout)
        done = self.command(self.path, "--map")
        self.assertRegex(done.stdout, r"(?m)^  0x\w+  [A-Za-z_. ]{64}$")


class Page(Dump):
    def test_it_holds_everything_and_asks_the_network_for_nothing(self):
        made = self.run_program("dump")
        page = os.path.join(self.folder.name, "page.html")
        self.assertEqual(view(self.path, "--html", page).returncode, 0)
        text = pathlib.Path(page).read_text(encoding="utf-8")
        self.assertNotRegex(text, r"https?:|//[a-z]+\.|src=|@import|url\(")
        data = json.loads(re.search(r"const data = (.*);\n", text).group(1))
        self.assertEqual(data["tree"][0][1], "everything")
        names = [row[1] for row in data["tree"]]
        self.assertIn("list_head (known_graph)", names)
        self.assertTrue(any(name.startswith(hex(made["list_last"][0])) for name in names))
        for row in data["tree"][1:]:
            self.assertLessEqual(row[3], data["tree"][row[0]][3])
        self.assertIn('<svg class="map"', text)

    def test_a_command_line_cannot_end_its_script(self):
        words = "</script><!--<script>"
        run = subprocess.run(["/usr/bin/python3", "-c", "pass", words], timeout=60,
                             env={**environment(f"heap_dump={self.path}"), "LD_PRELOAD": os.environ["WARREN_LIB"]})
        self.assertEqual(run.returncode, 0)
        page = os.path.join(self.folder.name, "page.html")
        self.assertEqual(view(self.path, "--html", page).returncode, 0)
        text = pathlib.Path(page).read_text(encoding="utf-8")
        self.assertEqual([text.lower().count(part) for part in ("<script", "</script", "<!--")], [1, 1, 0])
        self.assertIn(words, json.loads(re.search(r"const data = (.*);\n", text).group(1))["command"])


class Tree(unittest.TestCase):
    """The dominators of small graphs, against their definition."""

    def test_random_graphs(self):
        import random
        for seed in range(300):
            source = random.Random(seed)
            n = source.randint(1, 14)
            out = [[source.randrange(n) for _ in range(source.choice([0, 1, 1, 2, 3]))] for _ in range(n)]
            held = [[source.randrange(n) for _ in range(source.randint(1, 3))] for _ in range(source.randint(0, 3))]
            sizes = [source.randint(1, 9) for _ in range(n)]
            tree = Dominators(array("I", map(len, out)), array("I", [to for row in out for to in row]), array("I", sizes), held)

            def reached(without=None, without_holder=None):
                seen, edge = set(), [to for i, row in enumerate(held) if i != without_holder for to in row]
                while edge:
                    at = edge.pop()
                    if at not in seen and at != without:
                        seen.add(at)
                        edge += out[at]
                return seen

            whole = reached()
            for node in whole:
                lost = whole - reached(without=node)
                self.assertEqual(tree.retained_by(node), (sum(sizes[at] for at in lost), len(lost)), (seed, node))
            for i in range(len(held)):
                lost = whole - reached(without_holder=i)
                self.assertEqual(tree.retained_by(n + i), (sum(sizes[at] for at in lost), len(lost)), (seed, i))
            self.assertEqual(tree.retained_by(tree.nobody)[1], n - len(whole), seed)
            for node in range(n):
                self.assertEqual(tree.shortest_path(node)[-1], node)


if __name__ == "__main__":
    unittest.main()

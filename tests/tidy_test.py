#!/usr/bin/env python3
"""Reads the source tree and checks what no compiler does: who may include whom, that every file is built, and that what
is written in two places is the same in both.

Run by meson, or by hand from anywhere: python3 tests/tidy_test.py.  Python 3.11, standard library only.
Invariant: each rule is first tried on a small tree that breaks it and on one that does not; a rule that lets the first
pass, or complains about the second, fails the test as much as a complaint about the real tree.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Lowest first; nobody includes upwards. include/ holds the public headers, which include nothing of ours but each other.
LADDER = ["include", "allocator/base", "allocator", "gc", "scheduler", "inspect", "preload"]
BELOW_PRELOAD = LADDER[1:6]
BANNED_HEADERS = {"string", "vector", "mutex", "iostream", "map", "memory", "functional"}
BANNED_WORDS = ["util", "common", "misc", "manager", "helper"]
MAX_LINES = 700
MARKS = ["TO" + "DO", "FIX" + "ME"]

# Files of the library that may hold #if, #ifdef and #ifndef, and why. base/os_*: platforms.
CONDITIONAL = {
    "allocator/base/annotations.h": "compilers",
    "allocator/base/check.h": "debug builds",
    "allocator/base/log.h": "compilers",
    "allocator/base/log.cc": "compilers",
    "allocator/base/tls.h": "compilers",
    "scheduler/stack_tools.h": "sanitizers and valgrind",
}

SOURCES = {".cc", ".c", ".h", ".inc", ".def", ".py", ".map", ".sh", ".pl", ".sql"}
BUILT = {".cc", ".c"}
SKIPPED = {".git", "__pycache__", ".cache"}


class Tree:
    """The files below a directory, without what is built or not ours."""

    def __init__(self, root):
        self.root = root
        self.files = []
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not path.is_symlink() and not SKIPPED & set(parts) and not re.match(r"build(-|$)", parts[0]):
                self.files.append("/".join(parts))

    def read(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def sources(self):
        return [name for name in self.files if pathlib.PurePath(name).suffix in SOURCES or name == "warren"]

    def library(self):
        return [name for name in self.sources() if rung(name) is not None]


def rung(name):
    """The place of a file on the ladder, None for one that is not on it."""
    place = None
    for i, folder in enumerate(LADDER):
        if name.startswith(folder + "/") and (place is None or len(folder) > len(LADDER[place])):
            place = i
    return place


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


def includes(tree, name):
    """Paths in the tree that a file includes with quotes."""
    found = []
    for path in re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', without_comments(tree.read(name)), re.M):
        beside = str(pathlib.PurePosixPath(name).parent / path)
        for candidate in (path, "include/" + path, beside):
            if candidate in tree.files:
                found.append(candidate)
                break
    return found


# --- the rules: each yields complaints ---

def ladder(tree):
    for name in tree.library():
        for other in includes(tree, name):
            if rung(other) is None:
                yield f"{name} includes {other}, which is not part of the library"
            elif rung(other) > rung(name):
                yield f"{name} includes {other}: upwards from {LADDER[rung(name)]} to {LADDER[rung(other)]}"


def cycles(tree):
    graph = {name: includes(tree, name) for name in tree.files if pathlib.PurePath(name).suffix in (".h", ".cc", ".c", ".inc", ".def")}
    done = set()

    def walk(name, above):
        if name in above:
            yield "include cycle: " + " -> ".join(above[above.index(name):] + [name])
            return
        if name in done:
            return
        for other in graph.get(name, []):
            yield from walk(other, above + [name])
        done.add(name)

    for name in graph:
        yield from walk(name, [])


def listed_in(text):
    """File names in a meson.build, with `prefix + variable + 'suffix'` in a foreach spelled out."""
    lists = {variable: re.findall(r"'([^']*)'", body) for variable, body in re.findall(r"^(\w+) = (?:files\(|\[)(.*?)[\])]", text, re.M | re.S)}
    names = []
    for variable, literal, named, body in re.findall(r"foreach (\w+) : (?:\[(.*?)\]|(\w+))\n(.*?)endforeach", text, re.S):
        values = re.findall(r"'([^']*)'", literal) if literal else lists.get(named, [])
        for prefix, suffix in re.findall(r"(?:'([^']*)' \+ )?\b" + variable + r" \+ '([^']*\.\w+)'", body):
            names += [prefix + value + suffix for value in values]
    built_up = set(re.findall(r"\+ '([^']*)'", text))
    for name in re.findall(r"'([^'\s@]+\.(?:cc|c|py|h|map))'", text):
        if name not in built_up and not name.startswith("/"):
            names.append(name)
    return names


def build_lists(tree):
    listed = set()
    folders = set()
    for build in (name for name in tree.files if name.endswith("meson.build")):
        folder = pathlib.PurePosixPath(build).parent
        folders.add(str(folder))
        for name in listed_in(re.sub(r"#[^\n]*", "", tree.read(build))):
            path = re.sub(r"[^/]+/\.\./", "", str(folder / name))
            listed.add(path)
            if path not in tree.files:
                yield f"{build} lists {name}, which does not exist"
    for name in tree.files:
        suffix = pathlib.PurePath(name).suffix
        belongs = any(str(above) in folders for above in pathlib.PurePosixPath(name).parents if str(above) != ".")
        if belongs and (suffix in BUILT or name.endswith("_test.py")) and name not in listed:
            yield f"{name} is in no meson.build"


def file_names(tree):
    for name in tree.files:
        for word in BANNED_WORDS:
            if word in name.lower():
                yield f"{name}: a name with '{word}' says nothing"


def public_headers(tree):
    """warren.h is all of them: each is included there, or by one that is."""
    def included_by(name):
        return ["include/" + path for path in re.findall(r"^[ \t]*#[ \t]*include[ \t]+<(warren/[^>]+)>", without_comments(tree.read(name)), re.M)]

    found, ahead = set(), ["include/warren/warren.h"]
    while ahead:
        name = ahead.pop()
        if name in tree.files and name not in found:
            found.add(name)
            ahead += included_by(name)
    for name in tree.files:
        if name.startswith("include/warren/") and name.endswith(".h") and name not in found:
            yield f"{name} is not in include/warren/warren.h"


def headers(tree):
    for name in tree.library():
        if LADDER[rung(name)] not in BELOW_PRELOAD:
            continue
        for header in re.findall(r"^[ \t]*#[ \t]*include[ \t]+<([^>]+)>", tree.read(name), re.M):
            if header in BANNED_HEADERS:
                yield f"{name} includes <{header}>, which allocates or needs libstdc++"


def conditionals(tree):
    for name in tree.library():
        if name in CONDITIONAL or name.startswith("include/") or re.match(r"allocator/base/os_\w+\.(cc|h)$", name):
            continue
        for line, text in enumerate(tree.read(name).splitlines(), 1):
            if re.match(r"[ \t]*#[ \t]*(if|ifdef|ifndef)\b", text):
                yield f"{name}:{line}: conditional compilation outside base/os_* and the files listed in this test"


def lengths(tree):
    for name in tree.sources():
        lines = len(tree.read(name).splitlines())
        if lines > MAX_LINES:
            yield f"{name} has {lines} lines, more than {MAX_LINES}"


def opening_comments(tree):
    opens = {".py": ('"""', "#"), ".sh": ("#",), ".pl": ("#",), ".sql": ("--",), "": ("#",)}
    for name in tree.sources():
        lines = tree.read(name).splitlines() or [""]
        if lines[0].startswith("#!"):
            lines = lines[1:] or [""]
        if not lines[0].startswith(opens.get(pathlib.PurePath(name).suffix, ("//", "/*"))):
            yield f"{name} does not open with a comment that says what it is"


def white_space(tree):
    for name in tree.sources() + [name for name in tree.files if name.endswith((".md", "meson.build", ".yml"))]:
        text = tree.read(name)
        for line, content in enumerate(text.split("\n"), 1):
            if content != content.rstrip():
                yield f"{name}:{line}: white space at the end"
            if any(re.search(rf"\b{mark}\b", content) for mark in MARKS):
                yield f"{name}:{line}: a note to self"
        if text and not text.endswith("\n"):
            yield f"{name}: no newline at the end"
        if str(tree.root) in text:
            yield f"{name} names the directory that this copy of the tree lies in"


def size_classes(tree):
    if "allocator/gen_size_classes.py" not in tree.files:
        return
    generated = subprocess.run([sys.executable, "-B", tree.root / "allocator/gen_size_classes.py"], check=True, capture_output=True, text=True).stdout
    if generated != tree.read("allocator/size_class_table.inc"):
        yield "allocator/size_class_table.inc is not what allocator/gen_size_classes.py prints"


def split_arguments(text):
    """The arguments of a macro call, with quoted commas left alone."""
    return [argument.strip() for argument in re.findall(r'((?:"(?:[^"\\]|\\.)*"|\{[^}]*\}|[^,])+)(?:,|$)', text)]


def number_of(expression, constants):
    expression = re.sub(r"\b(?:uint64_t|size_t)\{(.*?)\}", r"(\1)", expression)
    for name, value in constants.items():
        expression = re.sub(rf"\b{name}\b", str(value), expression)
    return int(eval(expression, {"__builtins__": {}}, {"true": 1, "false": 0}))


def bytes_text(value, limit):
    if value == limit:
        return "off"
    for suffix, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value and value % (1 << shift) == 0:
            return f"{value >> shift}{suffix}"
    return f"{value}B"


def option_rows(tree):
    """The rows that README.md's table must have, from options.def, worded as the help text."""
    limit = (1 << 64) - 1
    constants = {"kNoLimit": limit}
    for name, value in re.findall(r"inline constexpr size_t (\w+) = ([^;]+);", tree.read("allocator/base/config.h")):
        if re.fullmatch(r"size_t\{\d+\} << \d+", value):
            constants[name] = number_of(value, {})
    rows = []
    for kind, body in re.findall(r"^(FLAG|NUMBER|BYTES|CHOICE|TEXT)\((.*)\)$", tree.read("allocator/base/options.def"), re.M):
        arguments = split_arguments(body)
        key, live, meaning = arguments[0], arguments[-2], arguments[-1].strip('"')
        initial = number_of(arguments[1], constants) if kind != "TEXT" else 0
        if kind == "FLAG":
            default, allowed = str(initial), "0|1"
        elif kind == "CHOICE":
            allowed = arguments[2].strip('"')
            default = allowed.split("|")[initial]
        elif kind == "TEXT":
            default, allowed = "(none)", "at most 255 characters"
        else:
            least, most = number_of(arguments[2], constants), number_of(arguments[3], constants)
            shown = bytes_text if kind == "BYTES" else lambda value, _: "off" if value == limit else str(value)
            default = shown(initial, limit)
            allowed = f"{shown(least, limit)} to {shown(most, limit)}" if most != limit else f"{shown(least, limit)} or more, or off"
            if kind == "NUMBER":
                allowed += ", or off"
        rows.append((key, default, allowed, "yes" if live == "true" else "no", meaning))
    return rows


def options_table(tree):
    if "allocator/base/options.def" not in tree.files:
        return
    table = re.search(r"^\| key \|.*\n\|[-| :]+\|\n((?:\|.*\n)+)", tree.read("README.md") if "README.md" in tree.files else "", re.M)
    if not table:
        yield "README.md has no table of options (a header row that starts with '| key |')"
        return
    shown = []
    for line in table.group(1).splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        shown.append((cells[0].strip("`"), *cells[1:]))
    wanted = option_rows(tree)
    for row in wanted:
        if row not in shown:
            yield "README.md: the table of options lacks the row: | `" + "` | ".join((row[0], " | ".join(row[1:]).replace("|", "\\|").replace(" \\| ", " | "))) + " |"
    for row in shown:
        if row not in wanted:
            yield f"README.md: the table's row of {row[0]} is not what options.def says"
    if not set(shown) ^ set(wanted) and shown != wanted:
        yield "README.md: the rows of the table are in another order than in options.def"


def fatal_texts(tree):
    if "allocator/base/fatal.cc" not in tree.files:
        return
    tests = "\n".join(tree.read(name) for name in tree.files if name.startswith("tests/") and name != "tests/tidy_test.py")
    text = tree.read("allocator/base/fatal.cc")
    for function, body in re.findall(r"^(?:WARREN_COLD )?void (\w+)\([^)]*\) \{(.*?)^\}", text, re.M | re.S):
        literals = re.findall(r'"((?:[^"\\]|\\.)*)"', body)
        if not literals:
            continue
        phrase = max((literal.removeprefix("warren: fatal error: ").removesuffix(": ") for literal in literals), key=len)
        if phrase not in tests:
            yield f"no test expects the text of fatal::{function}: '{phrase}'"


COLLECTOR_SCENARIOS = "tests/gc/SCENARIOS.md"


def collector_scenarios(tree):
    """The collector's table, by number."""
    name = COLLECTOR_SCENARIOS
    if name not in tree.files:
        return
    tests, parts = set(), set()
    for file in tree.files:
        if file.startswith("tests/") and file.endswith(".cc"):
            text = tree.read(file)
            tests |= {".".join(found) for found in re.findall(r"^TEST(?:_[FP])?\((\w+), (\w+)\)", text, re.M)}
            if file == "tests/gc/stress_test.cc":
                parts |= set(re.findall(r'\{"(\w+)", \w+\}', text))
    rows = re.findall(r"^\| (G\d+) \|.*\| ([^|]*) \|$", tree.read(name), re.M)
    if [number for number, _ in rows] != [f"G{i}" for i in range(1, len(rows) + 1)] or not rows:
        yield f"{name}: the rows are not G1, G2, ... in their order"
    for number, shown in rows:
        named = re.findall(r"`(\w+\.\w+)`", shown)
        played = re.findall(r"`gc_stress (\w+)`", shown)
        if not named and not played and not shown.startswith("not shown: "):
            yield f"{name}: {number} names no test, and gives no reason that begins with 'not shown: '"
        for test in named:
            if test not in tests:
                yield f"{name}: {number}: there is no test {test}"
        for part in played:
            if part not in parts:
                yield f"{name}: {number}: tests/gc/stress_test.cc has no part {part}"


def scenarios(tree):
    """A table of scenarios names tests of its folder and of those below it: they must exist."""
    for table in (name for name in tree.files if name.endswith("SCENARIOS.md") and name != COLLECTOR_SCENARIOS):
        folder = table.removesuffix("SCENARIOS.md")
        text = "\n".join(tree.read(name) for name in tree.files if name.startswith(folder) and name.endswith("_test.cc"))
        exist = {".".join(test) for test in re.findall(r"^(?:TASK_)?TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)", text, re.M)}
        for row, line in enumerate(tree.read(table).splitlines(), 1):
            for test in re.findall(r"`([A-Z]\w*\.[A-Z]\w*)`", line):
                if test not in exist:
                    yield f"{table}:{row}: there is no test {test}"


RULES = [ladder, cycles, build_lists, file_names, public_headers, headers, conditionals, lengths, opening_comments, white_space, size_classes,
         options_table, fatal_texts, collector_scenarios, scenarios]

# --- the rules, tried out: (rule, files of a tree, how many complaints) ---

TABLE_HEAD = "| key | default | allowed | live | meaning |\n| --- | --- | --- | --- | --- |\n"
OPTIONS = {
    "allocator/base/config.h": "inline constexpr size_t kOne = size_t{1} << 40;\n",
    "allocator/base/options.def": 'CHOICE(stats, 1, "off|exit", true, "a, b")\nBYTES(arena, kOne, 1, uint64_t{2} << 40, false, "c")\n',
}
GOOD_TABLE = TABLE_HEAD + "| `stats` | exit | off\\|exit | yes | a, b |\n| `arena` | 1TiB | 1B to 2TiB | no | c |\n"
FATAL = {"allocator/base/fatal.cc": 'WARREN_COLD void boom(int n) {\n  say("short") << "a long phrase";\n}\n'}

SCENARIOS = {
    "tests/gc/SCENARIOS.md": "| # | x | y | z |\n| G1 | a | b | `A.One`, `gc_stress big` |\n| G2 | a | b | not shown: because |\n",
    "tests/gc/stress_test.cc": 'kParts[] = {{"small", small}, {"big", by_size}};\n',
}

TRIALS = [
    (ladder, {"allocator/base/a.h": '#include "allocator/b.h"\n', "allocator/b.h": '#include "preload/c.h"\n', "preload/c.h": ""}, 2),
    (ladder, {"preload/c.h": '#include "allocator/b.h"\n', "allocator/b.h": '#include "allocator/base/a.h"\n', "allocator/base/a.h": ""}, 0),
    (ladder, {"gc/a.cc": '#include "tests/t.h"\n', "tests/t.h": ""}, 1),
    (cycles, {"gc/a.h": '#include "gc/b.h"\n', "gc/b.h": '#include "gc/c.h"\n', "gc/c.h": '#include "gc/a.h"\n'}, 1),
    (cycles, {"gc/a.h": '#include "gc/b.h"\n#include "gc/c.h"\n', "gc/b.h": '#include "gc/c.h"\n', "gc/c.h": '// #include "gc/a.h"\n'}, 0),
    (build_lists, {"gc/meson.build": "files('a.cc', 'gone.cc')\n", "gc/a.cc": "", "gc/b.cc": "", "gc/c_test.py": ""}, 3),
    (build_lists, {"gc/meson.build": "foreach n : ['a', 'b']\n  x('old_' + n + '_t.cc')\nendforeach\n", "gc/old_a_t.cc": "", "gc/old_b_t.cc": "", "x/y.cc": ""}, 0),
    (file_names, {"gc/string_utils.h": "", "gc/MemoryManager.cc": "", "gc/marker.cc": ""}, 2),
    (public_headers, {"include/warren/warren.h": "#include <warren/a.h>\n", "include/warren/a.h": "", "include/warren/b.h": ""}, 1),
    (public_headers, {"include/warren/warren.h": "#include <warren/a.h>\n", "include/warren/a.h": "#include <warren/b.h>\n", "include/warren/b.h": ""}, 0),
    (headers, {"gc/a.cc": "#include <vector>\n#include <cstring>\n", "preload/b.cc": "#include <memory>\n"}, 1),
    (conditionals, {"gc/a.cc": "#ifdef X\n", "preload/b.h": "  # if 1\n", "allocator/base/os_memory.cc": "#if 1\n", "tests/a.cc": "#if 1\n", "include/w/a.h": "#if 1\n"}, 2),
    (lengths, {"gc/a.cc": "\n" * 700, "gc/b.cc": "\n" * 701}, 1),
    (opening_comments, {"gc/a.cc": "int a;\n", "gc/b.cc": "// b\n", "gc/c.py": "#!/x\nimport c\n", "gc/d.py": '#!/x\n"""d"""\n', "gc/e.h": ""}, 3),
    (white_space, {"gc/a.cc": "int a; \n", "gc/b.cc": "// " + MARKS[0] + "\n", "gc/c.cc": "int c;", "README.md": "fine\n"}, 3),
    (size_classes, {"allocator/gen_size_classes.py": "print(1)\n", "allocator/size_class_table.inc": "2\n"}, 1),
    (size_classes, {"allocator/gen_size_classes.py": "print(1)\n", "allocator/size_class_table.inc": "1\n"}, 0),
    (options_table, OPTIONS, 1),
    (options_table, {**OPTIONS, "README.md": GOOD_TABLE}, 0),
    (options_table, {**OPTIONS, "README.md": GOOD_TABLE.replace("yes", "no")}, 2),
    (options_table, {**OPTIONS, "README.md": GOOD_TABLE.replace("| `arena`", "| `area`")}, 2),
    (fatal_texts, {**FATAL, "tests/t.cc": "short\n"}, 1),
    (fatal_texts, {**FATAL, "tests/t.cc": "a long phrase\n"}, 0),
    (collector_scenarios, {**SCENARIOS, "tests/a.cc": "TEST_F(A, One) {\n"}, 0),
    (collector_scenarios, {**SCENARIOS, "tests/a.cc": "TEST(A, Two) {\n"}, 1),
    (collector_scenarios, {**SCENARIOS, "tests/gc/stress_test.cc": ""}, 2),
    (collector_scenarios, {"tests/gc/SCENARIOS.md": "| G1 | a | b | why not |\n| G3 | a | b | not shown: because |\n"}, 2),
    (scenarios, {"t/SCENARIOS.md": "| `A.One`, `A.Two` |\n", "t/m/a_test.cc": "TEST(A, One) {\n"}, 1),
    (scenarios, {"t/SCENARIOS.md": "| `A.One`, `A.Two` |\n", "t/a_test.cc": "TEST(A, One) {\nTASK_TEST(A, Two) {\n"}, 0),
]


def try_rules():
    for rule, files, expected in TRIALS:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            complaints = list(rule(Tree(pathlib.Path(folder))))
            if len(complaints) != expected:
                yield f"rule {rule.__name__}: {len(complaints)} complaints where {expected} were due, in {sorted(files)}: {complaints}"
    for rule in {rule for rule in RULES} - {rule for rule, _, expected in TRIALS if expected}:
        yield f"rule {rule.__name__} has not been tried"


def main():
    failures = list(try_rules())
    tree = Tree(ROOT)
    for rule in RULES:
        failures += rule(tree)
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"{len(tree.files)} files, {len(RULES)} rules, {len(failures)} complaints")
    return 1 if failures else 0


sys.exit(main())

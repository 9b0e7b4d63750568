#!/usr/bin/env python3
"""Reads the built library: how long the fast paths of malloc and free are, and what the shared object asks of a process.

Run by meson with the library's path in WARREN_LIB; --shape leaves the instructions out (builds without optimisation).
Needs objdump and readelf.  Invariant: a path is counted as the processor takes it on a hit, from the exported symbol's
address along every branch not taken to the first ret; whatever cannot be followed that way is a failure.
"""

import os
import pathlib
import re
import subprocess
import sys

# symbol: (instructions, conditional branches) of the hit path, with g++ 12. Lower them when they have become lower.
BUDGETS = {
    "malloc": (17, 2),
    # With the class expected by the page's hint, or the size known, the processor need not wait for the mark: longer, and quicker.
    "free": (24, 3),
    "_Znwm": (17, 2),
    "_ZdlPv": (24, 3),
    "_ZdlPvm": (26, 4),
}

# Functions that ask for memory ahead of its use. g++ takes calls of a function that only prefetches for dead, and no result shows it.
PREFETCHING = {"_ZN6warren7Central9give_backEPKPvm"}

# The code's sections: what every process runs, and all else (preload/sections.ld; other linkers make one of it).
CODE = (".heap_text", ".text")

# What every program that allocates runs.
SLOW_PATHS = {"_ZN6warren13allocate_slowEm", "_ZN6warren12release_slowEPvPKc", "_ZN6warren5Cache6refillEj", "_ZN6warren5Cache4pushEjPv",
              "_ZN6warren7Central5fetchEPPvmj", "_ZN6warren7Central9give_backEPKPvm", "_ZN6warren9page_heap4freeEPNS_4SpanE",
              "_ZN6warren10reallocateEPvmPKc", "_ZN6warren11CacheAccessC1Ev", "_ZN6warren11CacheAccessD1Ev"}
MAX_EVERYDAY_CODE = (60 << 10) - 128  # 15 pages, with .init and .plt

FEWEST = 12  # fewer, and what was counted is not the hit path

NEEDED = {"libc.so.6", "ld-linux-x86-64.so.2"}
ALSO_ALLOWED = {"libgcc_s.so.1"}
DYNAMIC_FLAGS = {"INITFIRST", "NODELETE", "NOW"}
MAX_TLS_BYTES = 128
MAX_TLS_RELOCATIONS = 10
SMALL_VARIABLE = 4096  # bytes; all that are smaller lie at the start of .bss, or start-up touches a page for each file's
MAX_SMALL_VARIABLES_BYTES = 48 << 10  # of which the collector's and the reports' are the most
CONSTRUCTORS = 2  # the compiler's own and preload/start.cc's; a third is a variable that is set up at run time
EXPORTS_MAP = pathlib.Path(__file__).resolve().parents[2] / "preload" / "exports.map"

# What a compiler or linker adds by itself, without a version and weak.
WEAK_IMPORTS = {"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__cxa_finalize",
                # of libstdc++, where the program has it: exceptions that travel with a fiber
                "__cxa_get_globals"}

PREFIXES = {"lock", "rep", "repz", "repnz", "notrack", "bnd", "data16", "cs"}
FORBIDDEN = re.compile(r"call|syscall|int\b|[lms]fence|cmpxchg|xadd|div|idiv|push|pop|enter|leave|rep\b|std|cld")


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ, LC_ALL="C")).stdout


def defined_symbols(library):
    """name -> address of the dynamic symbols that the library defines, and the undefined ones with their versions."""
    defined, undefined = {}, set()
    for line in output_of("readelf", "--dyn-syms", "-W", library).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        address, binding, section, name = fields[1], fields[4], fields[6], fields[7]
        if section == "UND":
            undefined.add((name, binding))
        elif binding in ("GLOBAL", "WEAK"):
            defined[name.split("@")[0]] = int(address, 16)
    return defined, undefined


def code_sections():
    return [argument for section in CODE for argument in ("-j", section)]


def instructions(library):
    """address -> (mnemonic with its prefixes, operands, address of the next one)."""
    code, previous = {}, None
    for line in output_of("objdump", "-d", "--no-show-raw-insn", "-w", *code_sections(), library).splitlines():
        match = re.match(r"\s*([0-9a-f]+):\t(.*)", line)
        if not match:
            continue
        address = int(match.group(1), 16)
        words = match.group(2).split("#")[0].split(None, 1)
        mnemonic, operands = words[0], words[1].strip() if len(words) > 1 else ""
        while mnemonic.split()[-1] in PREFIXES and operands:
            words = operands.split(None, 1)
            mnemonic, operands = f"{mnemonic} {words[0]}", words[1].strip() if len(words) > 1 else ""
        if previous is not None:
            code[previous] = (*code[previous][:2], address)
        code[address] = (mnemonic, operands, None)
        previous = address
    return code


def hit_path(code, start):
    """The instructions from `start` to the first ret, no conditional branch taken, and what is wrong with the path."""
    path, problems, at = [], [], start
    while len(path) < 200:
        if at not in code:
            return path, problems + [f"leaves .text at {at:#x}"]
        mnemonic, operands, following = code[at]
        path.append((mnemonic, operands))
        if mnemonic.split()[-1] == "ret":
            return path, problems
        if mnemonic == "jmp":
            target = re.match(r"([0-9a-f]+)", operands)
            if operands.startswith("*") or not target or int(target.group(1), 16) <= at:
                return path, problems + [f"jumps away to {operands}"]
            at = int(target.group(1), 16)
            continue
        if mnemonic.startswith("lock") or (mnemonic == "xchg" and "(" in operands):
            problems.append(f"locks the bus: {mnemonic} {operands}")
        if FORBIDDEN.match(mnemonic):
            problems.append(f"holds {mnemonic} {operands}")
        at = following
    return path, problems + ["does not end"]


def is_conditional(mnemonic):
    return mnemonic.startswith("j") and mnemonic != "jmp"


def check_fast_paths(library, fail):
    defined, _ = defined_symbols(library)
    code = instructions(library)
    for symbol, (most, most_branches) in BUDGETS.items():
        if symbol not in defined:
            fail(f"{symbol} is not exported")
            continue
        path, problems = hit_path(code, defined[symbol])
        branches = sum(is_conditional(mnemonic) for mnemonic, _ in path)
        print(f"{symbol}: {len(path)} instructions (budget {most}), {branches} conditional branches (budget {most_branches})")
        for problem in problems:
            fail(f"{symbol}: the hit path {problem}")
        if len(path) < FEWEST:
            fail(f"{symbol}: {len(path)} instructions cannot be the hit path")
        if len(path) > most:
            fail(f"{symbol}: {len(path)} instructions on the hit path, {len(path) - most} over budget")
        if branches > most_branches:
            fail(f"{symbol}: {branches} conditional branches on the hit path, {branches - most_branches} over budget")
        if problems or len(path) > most or branches > most_branches:
            for mnemonic, operands in path:
                print(f"    {mnemonic} {operands}")


def code_of_functions(library):
    """symbol -> the lines of its code."""
    lines_of, name = {}, None
    for line in output_of("objdump", "-d", "--no-show-raw-insn", "-w", *code_sections(), library).splitlines():
        match = re.match(r"[0-9a-f]+ <(.*)>:", line)
        if match:
            name = match.group(1)
        elif name:
            lines_of.setdefault(name, []).append(line)
    return lines_of


def everyday_code(library):
    """Where the code that every process runs begins and ends; None where another linker has not set it apart."""
    match = re.search(r" \.heap_text\s+PROGBITS\s+(\w+) \w+ (\w+)", output_of("readelf", "-SW", library))
    if not match:
        return None
    start, size = (int(digits, 16) for digits in match.groups())
    return range(start, start + size)


def check_everyday_code(library, lines_of, fail):
    code = everyday_code(library)
    if code is None:
        print("what every process runs lies where the linker put it")
        return
    print(f"what every process runs: {len(code)} bytes (at most {MAX_EVERYDAY_CODE})")
    if len(code) > MAX_EVERYDAY_CODE:
        fail(f"{len(code)} bytes of code are said to be run by every process, {len(code) - MAX_EVERYDAY_CODE} too many")
    for symbol in sorted(SLOW_PATHS):
        if symbol not in lines_of:
            print(f"{symbol}: not to be seen")
        elif any(int(line.split(":")[0], 16) not in code for line in lines_of[symbol] if ":" in line):
            fail(f"{symbol} does not lie with what every process runs: preload/sections.ld")


def check_prefetches(lines_of, fail):
    for symbol in sorted(PREFETCHING):
        if symbol not in lines_of:  # stripped
            print(f"{symbol}: not to be seen")
        elif not any("prefetch" in line for line in lines_of[symbol]):  # or calls a function with that in its name
            fail(f"{symbol} has lost its prefetches")


def check_variables(library, fail):
    start = int(re.search(r" \.bss\s+NOBITS\s+(\w+)", output_of("readelf", "-SW", library)).group(1), 16)
    end = start
    for line in output_of("readelf", "-sW", library).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[3] == "OBJECT" and int(fields[1], 16) >= start and int(fields[2], 0) < SMALL_VARIABLE:
            end = max(end, int(fields[1], 16))
    if end - start > MAX_SMALL_VARIABLES_BYTES:
        fail(f"small variables lie up to {end - start} bytes behind the start of .bss: is a large one before them not WARREN_LARGE_TABLE?")


def exported_names():
    text = re.sub(r"/\*.*?\*/", "", EXPORTS_MAP.read_text(), flags=re.S)
    public = text[text.index("global:") + len("global:"):text.index("local:")]
    return {name.strip() for name in public.split(";") if name.strip()}


def check_shape(library, fail):
    dynamic = output_of("readelf", "-dW", library)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    if needed - NEEDED - ALSO_ALLOWED:
        fail(f"needs {', '.join(sorted(needed - NEEDED - ALSO_ALLOWED))}")
    if "libc.so.6" not in needed:
        fail("does not need libc.so.6, which it calls")
    flags = set(" ".join(re.findall(r"\(FLAGS(?:_1)?\)\s+(.*)", dynamic)).replace("Flags:", " ").split())
    for flag in sorted(DYNAMIC_FLAGS - flags):
        fail(f"is linked without {flag}")
    if "TEXTREL" in dynamic:
        fail("has text relocations")

    segments = output_of("readelf", "-lW", library)
    if set(re.findall(r"^\s+LOAD\s.*\s(0x[0-9a-f]+)$", segments, re.M)) != {"0x1000"}:
        fail("has a segment that is aligned to more than a page: three more system calls at each start")
    tls = re.search(r"^\s+TLS\s+(.*)$", segments, re.M)
    tls_bytes = int(tls.group(1).split()[4], 16) if tls else 0
    print(f"TLS segment: {tls_bytes} bytes (at most {MAX_TLS_BYTES})")
    if tls_bytes > MAX_TLS_BYTES:
        fail(f"takes {tls_bytes} bytes of every thread, {tls_bytes - MAX_TLS_BYTES} too many")
    stack = re.search(r"GNU_STACK.*", segments)
    if not stack or "RWE" in stack.group(0):
        fail("asks for an executable stack")

    constructors = int(re.search(r" \.init_array\s+INIT_ARRAY\s+\w+ \w+ (\w+)", output_of("readelf", "-SW", library)).group(1), 16) // 8
    if constructors > CONSTRUCTORS:
        fail(f"runs {constructors} constructors, {CONSTRUCTORS} expected: a variable is set up at run time, after it may have been used")

    check_variables(library, fail)
    relocations = re.findall(r"R_X86_64_\w+", output_of("readelf", "-rW", library))
    tls_relocations = relocations.count("R_X86_64_TPOFF64")
    print(f"TLS relocations: {tls_relocations} (at most {MAX_TLS_RELOCATIONS})")
    if tls_relocations > MAX_TLS_RELOCATIONS:
        fail(f"has {tls_relocations} words of TLS in its GOT, {tls_relocations - MAX_TLS_RELOCATIONS} too many")
    for kind in ("R_X86_64_DTPMOD64", "R_X86_64_DTPOFF64", "R_X86_64_TLSDESC"):
        if kind in relocations:
            fail(f"has {kind}: a TLS access that may call, and allocate")

    defined, undefined = defined_symbols(library)
    promised = exported_names()
    for name in sorted(promised - defined.keys()):
        fail(f"does not export {name}, which exports.map promises")
    for name in sorted(defined.keys() - promised):
        fail(f"exports {name}, which is not in exports.map")
    for name, binding in sorted(undefined):
        bare = name.split("@")[0]
        if bare in WEAK_IMPORTS and (binding == "WEAK" or "@GLIBC" in name):
            continue
        if "@GLIBC_" not in name or bare.startswith(("_Z", "__cxa", "__gxx", "_Unwind")):
            fail(f"imports {name}: not of libc")


def main():
    library = os.environ["WARREN_LIB"]
    failures = []
    check_shape(library, lambda text: failures.append(f"{os.path.basename(library)} {text}"))
    if "--shape" not in sys.argv[1:]:
        check_fast_paths(library, failures.append)
        lines_of = code_of_functions(library)
        check_prefetches(lines_of, failures.append)
        check_everyday_code(library, lines_of, failures.append)
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


sys.exit(main())

#!/usr/bin/python3 -B
"""clang++: the largest C++ program in the suite, one process per compilation; object files byte-identical.

Oracle: sha256 of everything written. libLLVM's constructors call malloc some thousand times before a preloaded
library's constructor had its turn, and clang frees little: it shows start-up order and growth.
"""

import cxx_source
import harness

kScript = r"""
big=$1; program=$2
clang++ -std=c++20 -O2 -c "$big" -o big.o
clang++ -std=c++20 -O1 -g -pthread "$program" -o program
./program > program.txt
if clang++ -std=c++20 -fsyntax-only -DWITH_ERRORS "$program" 2> errors.txt; then exit 1; fi
clang++ --version > version.txt
"""


def clangxx(trial):
    compiler = trial.program("/usr/bin/clang++", "clang")
    trial.program("/usr/bin/g++", "g++")  # brings the standard library's headers
    big, program = trial.write("big.cc", cxx_source.big()), trial.write("program.cc", cxx_source.program())
    _, warren = trial.same(["/bin/sh", "-eu", trial.write("script.sh", kScript), big, program], outputs=["*"])
    trial.check_witnesses(warren.witnesses, compiler, at_least=8)


harness.main(clangxx)

#!/usr/bin/python3 -B
"""g++: driver, cc1plus, as, collect2, ld and lto1 on warren; object files and executables byte-identical.

Oracle: sha256 of everything written. Compiler output depends on the order of hash tables and on every byte the
compiler reads back from its heap, so this is a strong one. cc1plus also brings an operator new of its own.
"""

import cxx_source
import harness

kScript = r"""
big=$1; program=$2
g++ -std=c++20 -O2 -c "$big" -o big.o
g++ -std=c++20 -O1 -g -pipe -pthread "$program" -o program
./program > program.txt
printf '#include <stdio.h>\nint twice(int);\nint main(void) { printf("%%d\\n", twice(21)); }\n' > main.c
printf 'int twice(int x) { return 2 * x; }\n' > twice.c
gcc -O2 -flto=2 main.c twice.c -o lto
./lto > lto.txt
if g++ -std=c++20 -fsyntax-only -DWITH_ERRORS "$program" 2> errors.txt; then exit 1; fi
nm -C big.o | sha256sum; strip -o stripped program
"""


def gxx(trial):
    trial.program("/usr/bin/g++", "g++")
    trial.program("/usr/bin/nm", "binutils")
    big, program = trial.write("big.cc", cxx_source.big()), trial.write("program.cc", cxx_source.program())
    _, warren = trial.same(["/bin/sh", "-eu", trial.write("script.sh", kScript), big, program], outputs=["*"])
    trial.check_witnesses(warren.witnesses, at_least=15)
    for name in "cc1plus", "as", "ld", "lto1":
        if not harness.kControl and not any(name in executable for _, executable, _ in warren.witnesses):
            raise harness.Failure(f"{name} did not run on the library")


harness.main(gxx)

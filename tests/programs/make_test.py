#!/usr/bin/python3 -B
"""make -j2 over a generated C project of 60 files: some 230 short processes, vfork, exec, pipes, job server.

Oracle: sha256 of every object file, archive and executable equal to the control's, and the program built says the
same. What is under test is start-up and exit of the library, 230 times, under a parallel parent.
"""

import harness

kMakefile = """
SOURCES := $(sort $(wildcard part*.c))
OBJECTS := $(SOURCES:.c=.o)
CFLAGS := -O1 -Wall -g0
generated := $(shell for i in 1 2 3 4 5; do echo $$i; done)
all: program sub/answer shared.so
\t@echo built with $(generated) and $(words $(OBJECTS)) objects
program: main.o libparts.a
\tgcc -o $@ $^
libparts.a: $(OBJECTS)
\tar rcD $@ $(OBJECTS)
\tranlib -D $@
shared.so: $(OBJECTS)
\tgcc -shared -Wl,--build-id=sha1 -o $@ part1.c -fPIC
%.o: %.c parts.h
\t@gcc $(CFLAGS) -c -o $@ $<
parts.h: Makefile
\t@for i in $$(seq 1 60); do echo "int part$$i(int);"; done > $@
sub/answer:
\t+@mkdir -p sub && printf 'answer:\\n\\techo 42 > answer\\n' > sub/Makefile && $(MAKE) -s -C sub
$(foreach n,$(shell seq 1 200),$(eval target$(n): ; @echo $(n)))
"""

kPart = """
#include "parts.h"
#include <stdlib.h>
#include <string.h>
static int table_@[64];
static int order_@(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int part@(int x) {
  char text[@ + 8];
  memset(text, 'a' + @ % 26, sizeof text);
  for (int i = 0; i < 64; i++) table_@[i] = (x * (i + @) * 2654435761u) >> 7;
  qsort(table_@, 64, sizeof table_@[0], order_@);
  switch (x % 7) { case 0: return table_@[3]; case 1: return table_@[@ % 64] ^ text[2]; case 4: return (int)strlen("part @"); }
  return x > 100 ? part%(x / 2) + table_@[9] : x;
}
"""


def make(trial):
    program = trial.program("/usr/bin/make", "make")
    trial.program("/usr/bin/gcc", "g++")
    trial.write("project/Makefile", kMakefile)
    for i in range(1, 61):
        trial.write(f"project/part{i}.c", kPart.replace("@", str(i)).replace("%(x", f"{i % 60 + 1}(x").replace("% 7", "%7"))
    calls = " ".join(f"sum = sum * 31 + part{i}({i} + n);" for i in range(1, 61))
    trial.write("project/main.c", '#include "parts.h"\n#include <stdio.h>\nint main(void) { unsigned sum = 0;\n'
                f'for (int n = 0; n < 300; n++) {{ {calls} }}\nprintf("%u\\n", sum); return 0; }}\n')
    _, warren = trial.same_script(f"""
cp -r {trial.inputs}/project/. .
make -s -j2
./program > program.txt
make -s target1 target100 target200
touch part7.c
make -j2 > again.txt
make -n clean 2> error.txt || echo no clean
""", outputs=["*.o", "*.a", "*.so", "program", "*.txt", "sub/answer"])
    trial.check_witnesses(warren.witnesses, program, at_least=220)


harness.main(make)

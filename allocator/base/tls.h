// How the heap declares thread-local words.
// Initial-exec: one load from the GOT and one from fs, no call that could allocate. The words must
// stay few: they are carved out of every thread's stack mapping, and a library with much static TLS
// cannot be opened late. Invariant: all of them start as zero, so that they work before the loader has
// copied the TLS image (an IFUNC resolver of the main program may call malloc then).
#pragma once

#define WARREN_TLS __attribute__((tls_model("initial-exec"))) __thread

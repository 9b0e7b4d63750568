// The values of WARREN_CONF. Read once at the heap's start; live ones change through set().
// Callers: everything that has a knob; preload/ for wr_conf_get and wr_conf_set.
// Invariant: every value is inside the range its row of options.def states.
#pragma once

#include "allocator/base/config.h"

#include <atomic>

namespace warren {

// Not a literal: literals lie with the texts of reports, of which a process that makes none has nothing mapped (preload/sections.ld).
inline constexpr char kOptionsVariable[] = "WARREN_CONF";

inline constexpr uint64_t kNoLimit = ~uint64_t{0};  // the word `off` for numbers and sizes

// What the words of the option gc stand for.
enum GcOption : uint64_t { kGcOff, kGcLeaks, kGcCollect };

struct Options {
  // relaxed throughout: each value stands alone.
#define FLAG(key, initial, live, text) std::atomic<uint64_t> key{initial};
#define NUMBER(key, initial, min, max, live, text) std::atomic<uint64_t> key{initial};
#define BYTES(key, initial, min, max, live, text) std::atomic<uint64_t> key{initial};
#define CHOICE(key, initial, words, live, text) std::atomic<uint64_t> key{initial};
#define TEXT(key, live, text) char key[256] = {};
#include "allocator/base/options.def"
#undef FLAG
#undef NUMBER
#undef BYTES
#undef CHOICE
#undef TEXT
};

extern Options options;

namespace option_parser {

// Reads "key=value,key=value". Each mistake prints one line on stderr and keeps the default.
void read(const char *conf);

// One key at run time. 0; ENOENT no such key; EPERM not live; EINVAL bad value.
int set(const char *key, const char *value);

// Writes the value's text and a NUL into `out`; returns its length as snprintf does, or -1: no such key.
int get(const char *key, char *out, size_t size);

void print_help();

}  // namespace option_parser
}  // namespace warren

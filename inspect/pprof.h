// Profiles in pprof's format: profile.proto of github.com/google/pprof, written by hand and not compressed.
// Caller: heap_profile.cc. Functions are named as far as symbol tables know them. A mapping with names says so, and pprof leaves
// it alone unless told `-symbolize=force`: go tool pprof finds files and lines, but no names of C++ functions, in debug information.
// Build ids are there for readers that look for debug files. Invariant: a file appears whole, or not at all
// (whole_file.h).
// Source of the sample types: the heap profiles of Go, which pprof's own options and views know.
#pragma once

#include "gc/paged_array.h"

#include <cstdint>

namespace warren::inspect::pprof {

inline constexpr unsigned kValues = 4;

struct Sample {
  uint32_t stack;  // of stack_table
  int64_t values[kValues];  // alloc_objects, alloc_space, inuse_objects, inuse_space
};

struct Heading {
  int64_t unix_ns;      // when it was taken
  int64_t duration_ns;  // how long it had been watched
  int64_t period;       // mean bytes between samples
  unsigned shown_first; // of the values
};

// 0 or errno. Safe where signal handlers may run: takes no lock, calls only the kernel.
int write(const char *path, const gc::PagedArray<Sample> &samples, const Heading &heading);

}  // namespace warren::inspect::pprof

// The addresses of stacks as text, in a copy of the process (snapshot.h): from the files that are mapped (symbols.h), since the
// loader's lock may be held there for ever. Callers: leak_report.cc, suppressions by name. Invariant: a name, once given, stays.
#pragma once

#include <cstdint>

namespace warren::inspect::frame_names {

// In the program, not in its copy: looks for the C++ runtime's demangler, which takes the loader's lock.
void find_demangler();

// In the copy, first. False: the mappings cannot be read.
bool read();

struct Frame {
  const char *function;  // as in the file, mangled; nullptr: unknown
  uint64_t offset;       // from the function's start, else in the file
  const char *file;      // its path; nullptr: the address is in none
};
Frame at(uintptr_t address);

// The name as a programmer writes it, `name` itself where that is not known. Allocates.
const char *demangled(const char *name);

}  // namespace warren::inspect::frame_names

// Names of functions by address, read from the files that are mapped, without the loader: for a copy of the process
// (snapshot.h), in which the loader's lock may be held for ever. Knows static functions too, and separate files of debug symbols
// (/usr/lib/debug/.build-id). Caller: leak_report.cc, suppressions.cc, after process_map::read().
// Invariant: files are mapped and read; a damaged one gives no names.
#pragma once

#include <cstdint>

namespace warren::inspect::elf_symbols {

struct Symbol {
  const char *function;  // as in the file, mangled; nullptr: unknown
  uintptr_t offset;      // from the function's start, else in the file as linked
  const char *file;      // its path; nullptr: the address is in none
};
Symbol at(uintptr_t address);

// In the program, not in its copy: looks for the C++ runtime's demangler, which takes the loader's lock.
void find_demangler();

// The name as a programmer writes it, `name` itself where that is not known. Allocates.
const char *demangled(const char *name);

}  // namespace warren::inspect::elf_symbols

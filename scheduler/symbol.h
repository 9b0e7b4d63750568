// Names of functions by address: from the dynamic symbols, else from the symbol table of the file. Caller: report.cc.
// Invariant: files are mapped and read, nothing of the program is called but its demangler.
#pragma once

#include "allocator/base/log.h"

#include <cstdint>

namespace warren::scheduler {

// "function+0x12 (file)", "0x5581… (file+0x12a4)" where it has no name.
void print_symbol(LogLine &line, uintptr_t address);

// Whether an address is the library's own code between the fiber and its park, not worth showing.
const char *symbol_name(uintptr_t address);

}  // namespace warren::scheduler

// What is mapped to be executed, and from which files: what a profile needs to name addresses.
// Callers: symbols.cc, pprof.cc. Read from the kernel, not from the loader, whose list is locked. Invariant: of one moment;
// sorted by address.
#pragma once

#include "gc/paged_array.h"

#include <cstdint>

namespace warren::inspect {

struct Module {
  uintptr_t start, end;
  uint64_t file_offset;  // of start
  size_t path;           // where it begins in the text: a path, "[vdso]", or nothing
};

class Modules {
 public:
  // False: no memory, or no /proc.
  bool read();
  void release();

  size_t count() const { return modules_.size(); }
  const Module &operator[](size_t i) const { return modules_[i]; }
  const char *path(const Module &module) const { return &text_[module.path]; }

  // The one that holds the address, or count().
  size_t find(uintptr_t address) const;

 private:
  bool read_text();
  bool read_line(size_t at);

  gc::PagedArray<Module> modules_;
  gc::PagedArray<char> text_;
};

}  // namespace warren::inspect

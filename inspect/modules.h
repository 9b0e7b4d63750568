// What is mapped to be executed, and from which files: what a profile needs to name addresses.
// Callers: symbols.cc, pprof.cc. Read from the kernel, not from the loader, whose list is locked. Invariant: of one moment;
// sorted by address.
#pragma once

#include "gc/paged_array.h"
#include "inspect/maps_file.h"

#include <cstddef>
#include <cstdint>

namespace warren::inspect {

class Modules {
 public:
  // False: no memory, or no /proc.
  bool read();
  void release();

  size_t count() const { return modules_.size(); }
  const Mapping &operator[](size_t i) const { return modules_[i]; }
  const char *path(const Mapping &module) const { return &text_[module.name_at]; }

  // The one that holds the address, or count().
  size_t find(uintptr_t address) const;

 private:
  gc::PagedArray<Mapping> modules_;
  gc::PagedArray<char> text_;
};

}  // namespace warren::inspect

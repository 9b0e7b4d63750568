// The mappings of a process as its /proc/PID/maps lists them. Callers: modules.cc, process_map.cc, unforked.cc.
// Invariant: no lock is taken, nothing is allocated from the heap.
#pragma once

#include "gc/paged_array.h"

#include <cstddef>
#include <cstdint>

namespace warren::inspect {

struct Mapping {
  uintptr_t low, high;
  uint64_t offset;  // in the file
  uint64_t inode;   // 0: no file
  size_t name_at;   // where the name begins in the text: the file, "[heap]" and the like, or nothing
  bool readable, writable, executable, shared;
};

// Reads the file at `path` into `text`, where each line becomes a string, and calls add(mapping, context) for each, in the order of
// addresses. False: it cannot be read, no memory, or `add` said so.
bool read_maps(const char *path, gc::PagedArray<char> &text, bool (*add)(const Mapping &mapping, void *context), void *context);

// The mapping around an address in such a list, by its index; list.size(): none.
template <class List>
size_t find_mapping(const List &list, uintptr_t address) {
  size_t first = 0, last = list.size();
  while (first < last) {
    const size_t middle = first + (last - first) / 2;
    if (list[middle].high <= address) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first < list.size() && list[first].low <= address ? first : list.size();
}

}  // namespace warren::inspect

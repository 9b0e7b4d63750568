// The record by which a look from outside finds everything it may read: see allocator/base/layout.h.
// Callers: inspect/viewer/live_heap.py by its symbol, for `warren top` and the gdb script.
// Invariant: the record's own form changes only together with its version.
#pragma once

#include "allocator/base/layout.h"

extern "C" {

struct wr_layout_record {
  char magic[8];
  uint32_t version;
  uint32_t entry_bytes;
  const warren::LayoutEntry *begin, *end;
};
extern __attribute__((visibility("default"))) const wr_layout_record wr_layout;

}  // extern "C"

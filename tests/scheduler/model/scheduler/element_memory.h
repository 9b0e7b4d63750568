// Rings of channels from malloc alone: nobody collects here. Caller: the sources under test, which find this file first.
// Invariant: as scheduler/element_memory.h promises.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace warren::scheduler {

inline void *element_memory(size_t bytes) { return calloc(1, bytes); }
inline void free_element_memory(void *memory) { free(memory); }

}  // namespace warren::scheduler

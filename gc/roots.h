// Roots outside of threads: the data segments of the program and of each loaded library, and what wr_gc_add_root added.
//
// The loader is asked for its objects by dl_iterate_phdr, which takes the loader's lock: not in a stopped world, where
// a stopped thread may hold it. Whether the last answer still holds is seen in the stopped world by reading the
// loader's public list (_r_debug), which needs no lock. When it does not, the world is started, and stopped anew by a
// thread that is inside dl_iterate_phdr: then the list holds still.
//
// Callers: threads.cc (walk, still_valid), stacks.cc (modules), the collector, inspect/, preload/ (added roots).
// Invariant: this library's own data is no root.
#pragma once

#include "gc/world.h"

namespace warren::gc::roots {

// Any bounds; the words wholly inside count. Ranges may overlap and parts of them may be removed. False: no memory.
bool add(const void *low, const void *high);
void remove(const void *low, const void *high);

// Every range of data that can be read. In a stopped world.
void for_each_data_range(VisitRange visit, void *context);

// Every range of data, holes included, in a running world, where a library may vanish at any time: read it by mappings::copy()
// only, and do not stop the world in `visit`.
void for_each_data_range_running(VisitRange visit, void *context);

// How much there is, some pages without access included. In a stopped world.
uint64_t data_bytes();

// This library's own data, which is no root: what the heap's and the scheduler's structures refer to.
void for_each_own_range(VisitRange visit, void *context);

// Asks the loader. Under its lock, and before anything is noted, calls stop_world, which may refuse. False: it did, or
// memory ran out.
bool walk(bool (*stop_world)(void *context), void *context);

// In a stopped world: whether the objects are those of the last walk and the loader is not in the middle of changing
// them.
bool still_valid();

// A library's thread-local block: its number in a thread's table of blocks, and its size.
struct TlsModule {
  size_t number, bytes;
};
void for_each_tls_module(void (*visit)(TlsModule module, void *context), void *context);

}  // namespace warren::gc::roots

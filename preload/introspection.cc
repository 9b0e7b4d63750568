// glibc's functions that look at the heap or tune it, and warren's own (warren/allocator.h).
// Source of the semantics: malloc.h and the manual of glibc 2.36. Invariant: numbers come from
// allocator/stats; nothing here keeps state.
#include "warren/allocator.h"

#include "allocator/base/options.h"
#include "allocator/heap.h"
#include "allocator/stats.h"
#include "gc/cycle.h"
#include "gc/heap.h"
#include "gc/pacing.h"
#include "inspect/reclaim.h"
#include "preload/bypass.h"
#include "preload/entry_points.h"
#include "preload/start.h"
#include "scheduler/run.h"
#include "scheduler/stack.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <malloc.h>

namespace {

namespace bypass = warren::bypass;

wr_mem_stats now() {
  wr_mem_stats stats;
  warren::stats::read(stats);
  return stats;
}

struct mallinfo2 to_mallinfo2(const wr_mem_stats &stats) {
  struct mallinfo2 out = {};
  const uint64_t large = stats.by_size[0].mallocs - stats.by_size[0].frees;
  out.arena = stats.heap_sys;
  out.ordblks = stats.heap_idle / warren::kPageSize;
  out.hblks = large;
  out.uordblks = stats.alloc_bytes;
  out.fordblks = stats.heap_sys - stats.alloc_bytes;
  out.keepcost = stats.heap_idle - stats.heap_released;
  return out;
}

int to_int(size_t n) { return n > INT_MAX ? INT_MAX : static_cast<int>(n); }

}  // namespace

extern "C" {

WARREN_EXPORT void wr_read_mem_stats(struct wr_mem_stats *out) {
  warren::stats::read(*out);
  out->stacks_inuse = warren::scheduler::stacks::mapped_bytes();
  if (!warren::gc::cycle::is_set_up()) return;
  const warren::gc::cycle::Stats cycles = warren::gc::cycle::stats();
  const warren::gc::heap::Stats objects = warren::gc::heap::stats();
  out->next_gc = cycles.goal_bytes;
  out->last_gc_unix_ns = cycles.last_end_unix_ns;
  out->pause_total_ns = cycles.pause_total_ns;
  out->pause_longest_ns = cycles.pause_longest_ns;
  out->num_gc = cycles.cycles;
  out->gc_live_bytes = objects.live_bytes;
  out->gc_total_bytes = objects.total_bytes;
  out->alloc_bytes += objects.live_bytes;
  out->total_alloc_bytes += objects.total_bytes;
}
WARREN_EXPORT size_t wr_release_free_memory(void) { return warren::release_free_memory(); }
WARREN_EXPORT size_t wr_size_class(size_t size) { return warren::rounded_size(size); }
WARREN_EXPORT int wr_conf_set(const char *key, const char *value) {
  if (key == nullptr || value == nullptr) return key == nullptr ? ENOENT : EINVAL;
  const int error = warren::option_parser::set(key, value);
  if (error != 0) return error;
  if (warren::gc::cycle::is_set_up()) warren::gc::pacing::follow_options();
  if (strcmp(key, "gogc") == 0) warren::inspect::reclaim::follow_percent();
  if (strcmp(key, "maxprocs") == 0) warren::scheduler::follow_maxprocs();
  return 0;
}
WARREN_EXPORT int wr_conf_get(const char *key, char *out, size_t size) {
  return key == nullptr ? -1 : warren::option_parser::get(key, out, size);
}

WARREN_EXPORT int malloc_trim(size_t pad) noexcept {
  if (bypass::active()) return bypass::next<int(size_t)>(bypass::Name::k_malloc_trim)(pad);
  return warren::release_free_memory() != 0 ? 1 : 0;
}

WARREN_EXPORT struct mallinfo2 mallinfo2(void) noexcept {
  if (bypass::active()) return bypass::next<struct mallinfo2()>(bypass::Name::k_mallinfo2)();
  return to_mallinfo2(now());
}

WARREN_EXPORT struct mallinfo mallinfo(void) noexcept {
  if (bypass::active()) return bypass::next<struct mallinfo()>(bypass::Name::k_mallinfo)();
  const struct mallinfo2 wide = to_mallinfo2(now());
  struct mallinfo out = {};
  out.arena = to_int(wide.arena);
  out.ordblks = to_int(wide.ordblks);
  out.hblks = to_int(wide.hblks);
  out.uordblks = to_int(wide.uordblks);
  out.fordblks = to_int(wide.fordblks);
  out.keepcost = to_int(wide.keepcost);
  return out;
}

// Knobs of glibc's heap: known ones are accepted and change nothing here.
WARREN_EXPORT int mallopt(int parameter, int value) noexcept {
  if (bypass::active()) return bypass::next<int(int, int)>(bypass::Name::k_mallopt)(parameter, value);
  switch (parameter) {
    case M_MXFAST:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX: return 1;
    default: return 0;
  }
}

WARREN_EXPORT void malloc_stats(void) noexcept {
  if (bypass::active()) return bypass::next<void()>(bypass::Name::k_malloc_stats)();
  warren::stats::print(2);
}

WARREN_EXPORT int malloc_info(int flags, FILE *file) noexcept {
  if (bypass::active()) return bypass::next<int(int, FILE *)>(bypass::Name::k_malloc_info)(flags, file);
  if (flags != 0) return EINVAL;
  const wr_mem_stats stats = now();
  fputs("<malloc version=\"warren-1\">\n<sizes>\n", file);
  for (const auto &row : stats.by_size) {
    if (row.mallocs == row.frees || row.size == 0) continue;
    fprintf(file, "  <size from=\"%u\" to=\"%u\" total=\"%llu\" count=\"%llu\"/>\n", row.size, row.size,
            static_cast<unsigned long long>((row.mallocs - row.frees) * row.size),
            static_cast<unsigned long long>(row.mallocs - row.frees));
  }
  fprintf(file,
          "</sizes>\n<total type=\"inuse\" count=\"%llu\" size=\"%llu\"/>\n<total type=\"cached\" size=\"%llu\"/>\n"
          "<system type=\"current\" size=\"%llu\"/>\n<system type=\"released\" size=\"%llu\"/>\n</malloc>\n",
          static_cast<unsigned long long>(stats.heap_objects), static_cast<unsigned long long>(stats.alloc_bytes),
          static_cast<unsigned long long>(stats.cache_inuse), static_cast<unsigned long long>(stats.heap_sys),
          static_cast<unsigned long long>(stats.heap_released));
  return 0;
}

}  // extern "C"

// See stats.h.
#include "allocator/stats.h"

#include "allocator/base/log.h"
#include "allocator/central.h"
#include "allocator/heap.h"
#include "allocator/large.h"
#include "allocator/metadata.h"
#include "allocator/page_heap.h"
#include "allocator/scavenger.h"
#include "allocator/thread.h"

#include <cstddef>
#include <cstring>
#include <unistd.h>

namespace warren::stats {
namespace {

static_assert(WR_SIZE_CLASSES == kClassCount);

struct BinCounts {
  uint64_t frees[kBinCount];
  uint64_t cached[kBinCount];
};

void add_cache(Cache &cache, void *context) {
  auto *counts = static_cast<BinCounts *>(context);
  for (unsigned bin = 0; bin < kBinCount; ++bin) {
    if (!bin_is_used(bin)) continue;
    counts->frees[bin] += __atomic_load_n(&cache.frees[bin], __ATOMIC_RELAXED);
    counts->cached[bin] += cache.size(bin);
  }
}

void read_classes(wr_mem_stats &out) {
  BinCounts counts{};
  {
    const threads::HeldCaches caches;
    caches.visit(add_cache, &counts);
    for (unsigned bin = 0; bin < kBinCount; ++bin) counts.frees[bin] += threads::retired_frees(bin);
  }
  for (unsigned bin = 0; bin < kBinCount; ++bin) {
    if (!bin_is_used(bin)) continue;
    const SizeClass size_class = class_of_bin(bin);
    const uint64_t size = info(size_class).object_size;
    const uint64_t objects_out = central_of(size_class).stats().objects_out;
    const uint64_t live = objects_out > counts.cached[bin] ? objects_out - counts.cached[bin] : 0;
    const uint64_t frees = counts.frees[bin];
    out.by_size[size_class.value] = {static_cast<uint32_t>(size), live + frees, frees};
    out.heap_objects += live;
    out.alloc_bytes += live * size;
    out.total_alloc_bytes += (live + frees) * size;
    out.cache_inuse += counts.cached[bin] * size;
    out.mallocs += live + frees;
    out.frees += frees;
  }
}

void read_large(wr_mem_stats &out, const page_heap::Stats &pages) {
  const large::Stats large = large::stats();
  out.by_size[0] = {0, large.mallocs, large.frees};
  out.heap_objects += large.mallocs - large.frees;
  const uint64_t large_bytes = pages.large_pages * kPageSize;
  out.alloc_bytes += large_bytes > large.held_bytes ? large_bytes - large.held_bytes : 0;
  out.cache_inuse += large.held_bytes;
  out.total_alloc_bytes += large.total_bytes;
  out.mallocs += large.mallocs;
  out.frees += large.frees;
}

struct Row {
  const char *name;
  uint64_t value;
};

constexpr struct {
  const char *name;
  uint64_t wr_mem_stats::*field;
} kFields[] = {
#define FIELD(name) {#name, &wr_mem_stats::name}
    FIELD(alloc_bytes),   FIELD(total_alloc_bytes), FIELD(sys_bytes),        FIELD(mallocs),         FIELD(frees),
    FIELD(heap_sys),      FIELD(heap_idle),         FIELD(heap_inuse),       FIELD(heap_released),   FIELD(heap_objects),
    FIELD(stacks_inuse),  FIELD(span_inuse),        FIELD(cache_inuse),      FIELD(metadata_sys),    FIELD(scavenged_bytes),
    FIELD(scavenger_ns),  FIELD(next_gc),           FIELD(last_gc_unix_ns),  FIELD(pause_total_ns),  FIELD(num_gc),
    FIELD(pause_longest_ns), FIELD(gc_live_bytes),  FIELD(gc_total_bytes),
#undef FIELD
};
static_assert(sizeof kFields / sizeof kFields[0] * sizeof(uint64_t) == offsetof(wr_mem_stats, by_size), "every field is printed");

void print_row(int fd, const Row &row) {
  LogLine line;
  line << "  ";
  line.padded(row.value, 20) << "  " << row.name;
  line.write_to(fd);
}

}  // namespace

void read(wr_mem_stats &out) {
  memset(&out, 0, sizeof out);
  for (unsigned number = 1; number < kClassCount; ++number) out.by_size[number].size = kSizeClasses[number].object_size;
  if (!heap::is_set_up()) return;
  read_classes(out);
  const page_heap::Stats pages = page_heap::stats();
  read_large(out, pages);
  out.heap_sys = pages.grown_pages * kPageSize;
  out.heap_idle = pages.free_pages * kPageSize;
  out.heap_inuse = out.heap_sys - out.heap_idle;
  out.heap_released = pages.released_pages * kPageSize;
  out.span_inuse = pages.spans * sizeof(Span);
  out.scavenged_bytes = pages.scavenged_pages * kPageSize;
  out.scavenger_ns = scavenger::processor_time();
  out.metadata_sys = metadata::bytes_in_use();
  out.sys_bytes = out.heap_sys + arena_growth::map_bytes() + out.metadata_sys;
}

void print(int fd) {
  wr_mem_stats now;
  read(now);
  LogLine title;
  title << "warren: statistics of process " << static_cast<uint64_t>(getpid()) << " (wr_mem_stats in warren/allocator.h explains each)";
  title.write_to(fd);
  const Row rows[] = {
      {"alloc_bytes", now.alloc_bytes},   {"total_alloc_bytes", now.total_alloc_bytes},
      {"sys_bytes", now.sys_bytes},       {"mallocs", now.mallocs},
      {"frees", now.frees},               {"heap_sys", now.heap_sys},
      {"heap_idle", now.heap_idle},       {"heap_inuse", now.heap_inuse},
      {"heap_released", now.heap_released}, {"heap_objects", now.heap_objects},
      {"span_inuse", now.span_inuse},     {"cache_inuse", now.cache_inuse},
      {"metadata_sys", now.metadata_sys}, {"scavenged_bytes", now.scavenged_bytes},
      {"scavenger_ns", now.scavenger_ns},
  };
  for (const Row &row : rows) print_row(fd, row);
  LogLine header;
  header << "      size              mallocs                frees                 live";
  header.write_to(fd);
  for (const auto &row : now.by_size) {
    if (row.mallocs == 0) continue;
    LogLine line;
    if (row.size != 0) {
      line.padded(row.size, 10);
    } else {
      line << "     large";
    }
    line << " ";
    line.padded(row.mallocs, 20) << " ";
    line.padded(row.frees, 20) << " ";
    line.padded(row.mallocs - row.frees, 20);
    line.write_to(fd);
  }
}

void print_json(const wr_mem_stats &now, int fd) {
  LogLine head;
  head << "{\"process\": " << static_cast<uint64_t>(getpid()) << ",";
  head.write_to(fd);
  for (const auto &field : kFields) {
    LogLine line;
    line << " \"" << field.name << "\": " << now.*field.field << ",";
    line.write_to(fd);
  }
  LogLine open;
  open << " \"by_size\": [";
  open.write_to(fd);
  const char *separator = "  ";
  for (const auto &row : now.by_size) {
    if (row.mallocs == 0) continue;
    LogLine line;
    line << separator << "{\"size\": " << uint64_t{row.size} << ", \"mallocs\": " << row.mallocs << ", \"frees\": " << row.frees << "}";
    line.write_to(fd);
    separator = "  ,";
  }
  LogLine close;
  close << " ]}";
  close.write_to(fd);
}

}  // namespace warren::stats

// Batches of a central's objects as vectors, and a count of what is out that does not rely on its own.
// Included by central_test.cc and shards_test.cc. Invariant: what objects_out() counts it has compared with the central's own figures.
#pragma once

#include "allocator/base/bitmap.h"
#include "allocator/central.h"
#include "allocator/page_map.h"
#include "tests/allocator/own_heap.h"
#include "tests/allocator/page_walk.h"

#include <algorithm>
#include <vector>

namespace warren {

inline constexpr SizeClass kClass{2};  // 16 bytes

inline std::vector<void *> fetch(SizeClass size_class, size_t wanted, unsigned shard = 0) {
  std::vector<void *> out(wanted);
  const size_t fetched = central_of(size_class).fetch(out.data() + wanted, wanted, shard);
  std::reverse(out.begin(), out.end());  // from the first one found
  out.resize(fetched);
  return out;
}

inline void give_back(SizeClass size_class, const std::vector<void *> &objects) {
  central_of(size_class).give_back(objects.data(), objects.size());
}

inline Span *span_of(void *object) { return page_map::at(arena.page_of(address_of(object))); }

// Walks the arena for spans of the class; returns how many of their objects are out.
inline size_t objects_out(SizeClass size_class) {
  size_t out = 0, spans = 0;
  for (const WalkedSpan &walked : walk_pages()) {
    if (walked.state != SpanState::kObjects) continue;
    Span *span = page_map::at(PageId{walked.first});
    if (span->size_class != size_class) continue;
    ++spans;
    size_t free = 0;
    const uint16_t objects = info(size_class).objects;
    for (size_t i = 0; i < objects; ++i) {
      if (!bits::test(span->free_bits(), i)) continue;
      ++free;
      EXPECT_GE(i / 64 * 64 + 63, span->search_from) << "a free bit lies before search_from";
      EXPECT_LE(span->search_from, i);
    }
    EXPECT_EQ(span->free_objects, free);
    EXPECT_EQ(bits::find_set(span->free_bits(), objects, bits::words_for(objects) * 64), bits::words_for(objects) * 64)
        << "a bit behind the last object";
    out += objects - free;
  }
  const Central::Stats stats = central_of(size_class).stats();
  EXPECT_EQ(stats.spans, spans);
  EXPECT_EQ(stats.objects_out, out);
  return out;
}

inline std::vector<void *> fetch_apart(SizeClass size_class, size_t wanted, const void *last = nullptr, unsigned shard = 0) {
  std::vector<void *> out(wanted);
  const size_t fetched = central_of(size_class).fetch_apart(out.data() + wanted, wanted, address_of(last), shard);
  out.erase(out.begin(), out.end() - static_cast<ptrdiff_t>(fetched));
  return out;
}

}  // namespace warren

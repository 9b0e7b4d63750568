// Memory for the heap's own structures: allocator/metadata.h. Run as a test of its own.
// Invariant: what is handed out is written and read again at the end, so that two structures that overlap are found.
#include "allocator/metadata.h"

#include "allocator/arena.h"
#include "allocator/base/options.h"
#include "allocator/heap.h"
#include "allocator/page_heap.h"
#include "tests/allocator/own_heap.h"

#include <cstring>
#include <set>
#include <sys/resource.h>
#include <vector>

namespace warren {
namespace {

char *allocate_bytes(size_t bytes, size_t align) {
  MutexLock guard(metadata::lock);
  return static_cast<char *>(metadata::allocate(bytes, align));
}

bool all_zero(const char *start, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    if (start[i] != 0) return false;
  }
  return true;
}

TEST(Metadata, ZeroedAlignedAndApart) {
  in_own_heap([] {
    struct Piece {
      char *start;
      size_t bytes;
    };
    std::vector<Piece> pieces;
    for (size_t align = 1; align <= kOsPageSize; align *= 2) {
      for (const size_t bytes : {size_t{1}, size_t{24}, size_t{64}, size_t{1000}, size_t{5000}, size_t{300000}}) {
        char *start = allocate_bytes(bytes, align);
        ASSERT_NE(start, nullptr);
        EXPECT_EQ(address_of(start) % align, 0u);
        EXPECT_TRUE(all_zero(start, bytes));
        memset(start, static_cast<int>(pieces.size() + 1), bytes);
        pieces.push_back({start, bytes});
      }
    }
    for (size_t i = 0; i < pieces.size(); ++i) {
      for (size_t byte = 0; byte < pieces[i].bytes; ++byte)
        ASSERT_EQ(static_cast<uint8_t>(pieces[i].start[byte]), i + 1);
    }
  });
}

TEST(Metadata, LiesOutsideTheArenaAndIsCounted) {
  in_own_heap([] {
    const arena_growth::Range range = arena_growth::metadata_range();
    const uint64_t before = metadata::bytes_in_use();
    const char *start = allocate_bytes(1000, 8);
    EXPECT_GE(address_of(start), range.start);
    EXPECT_LE(address_of(start) + 1000, range.start + range.bytes);
    EXPECT_FALSE(arena.contains(address_of(start)));
    EXPECT_GE(metadata::bytes_in_use(), before + 1000);
    EXPECT_LT(metadata::bytes_in_use(), before + 1016);
  });
}

struct Small {
  uint64_t words[3];
};
struct Big {
  alignas(64) uint64_t words[40];
};

TEST(Metadata, StructuresAreReusedLastInFirstOut) {
  in_own_heap([] {
    static metadata::FixedAllocator<Small> small;
    static metadata::FixedAllocator<Big> big;
    Small *s[4];
    for (Small *&one : s) one = small.allocate();
    Big *b = big.allocate();
    EXPECT_EQ(address_of(b) % alignof(Big), 0u);
    const uint64_t before = metadata::bytes_in_use();
    for (Small *one : s) small.free(one);
    for (size_t i = std::size(s); i-- > 0;) EXPECT_EQ(small.allocate(), s[i]);
    EXPECT_EQ(metadata::bytes_in_use(), before) << "nothing new was taken";
    big.free(b);
    EXPECT_NE(address_of(small.allocate()), address_of(b)) << "the same memory never serves two types";
    EXPECT_EQ(big.allocate(), b);
  });
}

TEST(Metadata, ReusedStructuresKeepTheirContents) {
  in_own_heap([] {
    static metadata::FixedAllocator<Small> small;
    Small *one = small.allocate();
    EXPECT_TRUE(all_zero(reinterpret_cast<char *>(one), sizeof *one)) << "the first time they are zero";
    one->words[2] = 42;
    small.free(one);
    EXPECT_EQ(small.allocate()->words[2], 42u) << "the page map's stale entries rely on it";
  });
}

TEST(Metadata, WhenItIsUsedUpTheHeapGoesOnWithWhatItHas) {
  in_own_process([] {
    options.arena.store(kMinArenaSize);
    ASSERT_TRUE(heap::set_up());
    void *block = allocate_slow(100000);
    Span *spans[8];
    for (Span *&span : spans) span = page_heap::allocate(PageCount{2}, SpanState::kLarge, SizeClass{0});
    size_t bytes = 0;
    for (size_t piece = 4096; piece >= 16; piece /= 2) {
      while (allocate_bytes(piece, 1) != nullptr) bytes += piece;
    }
    EXPECT_GT(bytes, arena_growth::metadata_range().bytes / 2);
    EXPECT_EQ(allocate_bytes(64, 64), nullptr);
    for (Span *span : spans) page_heap::free(span);
    EXPECT_NE(allocate_slow(100), nullptr) << "a span that cannot be cut is handed out whole";
    release_slow(block, "free");
  });
}

// Caches come first where the claim is so small that it has not room for all.
TEST(Metadata, InASmallArenaManyCachesLeaveAllOfItUsable) {
  in_own_process([] {
    options.arena.store(kMinArenaSize);
    ASSERT_TRUE(heap::set_up());
    const size_t most = arena_growth::metadata_range().bytes;
    while (metadata::bytes_in_use() < most * 7 / 8) ASSERT_NE(allocate_bytes(4096, 64), nullptr);
    size_t bytes = 0;
    while (allocate_slow(100000) != nullptr) bytes += 100000;
    EXPECT_GE(bytes, kMinArenaSize * 4 / 5);
  });
}

TEST(Metadata, NearALimitOnlyWhatIsNeededIsMapped) {
  in_own_heap([] {
    allocate_bytes(300000, 1);  // somewhere inside a step
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    rlimit tight = before;
    tight.rlim_cur = 1;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    while (allocate_bytes(64, 64) != nullptr) {  // what is mapped already
    }
    char *const refused = allocate_bytes(8192, 8);
    setrlimit(RLIMIT_AS, &before);
    EXPECT_EQ(refused, nullptr);
    char *start = allocate_bytes(8192, 8);
    ASSERT_NE(start, nullptr) << "the limit is gone";
    EXPECT_TRUE(all_zero(start, 8192));
  });
}

TEST(Metadata, WhatIsReservedIsThereAtALimit) {
  in_own_heap([] {
    constexpr size_t kReserved = size_t{1} << 20;
    {
      MutexLock guard(metadata::lock);
      ASSERT_TRUE(metadata::reserve(kReserved));
    }
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    rlimit tight = before;
    tight.rlim_cur = 1;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    while (allocate_bytes(64, 64) != nullptr) {
    }
    MutexLock guard(metadata::lock);
    const bool more = metadata::reserve(kReserved + (size_t{1} << 20));
    size_t bytes = 0;
    while (metadata::allocate(64, 64, metadata::Use::kReserved) != nullptr) bytes += 64;
    setrlimit(RLIMIT_AS, &before);
    EXPECT_FALSE(more);
    EXPECT_GE(bytes, kReserved) << "neither the others nor what was refused have taken of it";
  });
}

TEST(Metadata, AtALimitEachFreePageIsHandedOutByItself) {
  in_own_heap([] {
    for (const uint32_t pages : {40, 3000}) {  // that do not fit into what there is, and grow it
      std::vector<Span *> spans(100);
      for (Span *&span : spans) span = page_heap::allocate(PageCount{pages}, SpanState::kLarge, SizeClass{0});
      for (Span *span : spans) page_heap::free(span);
    }
    const size_t free_pages = page_heap::stats().free_pages;
    EXPECT_GE(free_pages, 3000u * 100);
    std::vector<Span *> single;
    single.reserve(free_pages + 1);
    rlimit before;
    getrlimit(RLIMIT_AS, &before);
    rlimit tight = before;
    tight.rlim_cur = 1;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    while (single.size() <= free_pages) {
      Span *span = page_heap::allocate(PageCount{1}, SpanState::kLarge, SizeClass{0});
      if (span == nullptr) break;
      single.push_back(span);
    }
    setrlimit(RLIMIT_AS, &before);
    EXPECT_EQ(single.size(), free_pages);
    for (const Span *span : single) ASSERT_EQ(span->count.value, 1u);
  });
}

}  // namespace
}  // namespace warren

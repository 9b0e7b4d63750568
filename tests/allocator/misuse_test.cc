// What is said of a pointer that is no block: allocator/misuse.h, over the whole arena and beyond.
// Run as a test of its own. (tests/death does the same to whole processes.) Invariant: texts are compared whole; with
// abort_on_error=0 a report changes nothing.
#include "allocator/misuse.h"

#include "allocator/arena.h"
#include "allocator/base/options.h"
#include "allocator/heap.h"
#include "tests/allocator/base/captured_fd.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/page_walk.h"
#include "tests/allocator/packed_tiny.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>

namespace warren {
namespace {

using ::testing::Eq;
using ::testing::KilledBySignal;

std::string text(const char *fault, const void *pointer, const std::string &why) {
  char address[32];
  snprintf(address, sizeof address, "0x%zx", address_of(pointer));
  return std::string("warren: fatal error: ") + fault + ": free(" + address + "): " + why + "; aborting\n";
}

void give(const void *block) { release_slow(const_cast<void *>(block), "free"); }

#define EXPECT_MISUSE(pointer, fault, why) \
  EXPECT_EXIT(give(pointer), KilledBySignal(SIGABRT), Eq(text(fault, pointer, why)))

class MisuseDeathTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(heap::set_up());
    pack_tiny_blocks();
  }
};

TEST_F(MisuseDeathTest, BlocksOfClasses) {
  for (const size_t size : {size_t{8}, size_t{16}, size_t{48}, size_t{1024}, size_t{1152}, size_t{32768}}) {
    auto *block = static_cast<char *>(allocate_slow(size));
    const std::string bytes = std::to_string(size);
    if (size > 8) {
      EXPECT_MISUSE(block + 8, "invalid pointer", "it points 8 bytes into a block of " + bytes + " bytes");
    }
    EXPECT_MISUSE(block + 1, "invalid pointer", "it points 1 bytes into a block of " + bytes + " bytes");
    EXPECT_MISUSE(block + size - 1, "invalid pointer",
                  "it points " + std::to_string(size - 1) + " bytes into a block of " + bytes + " bytes");
    give(block);
    EXPECT_MISUSE(block, "double free", "this block of " + bytes + " bytes is already free");
    EXPECT_MISUSE(block + 1, "invalid pointer", "it points 1 bytes into a block of " + bytes + " bytes");
  }
}

TEST_F(MisuseDeathTest, BlocksNeverHandedOut) {
  auto *block = static_cast<char *>(allocate_slow(3456));
  EXPECT_MISUSE(block + 3456, "double free",
                "this block of 3456 bytes is already free");  // indistinguishable from freed
  give(block);
}

TEST_F(MisuseDeathTest, TheTailOfASpan) {
  const auto *block = static_cast<char *>(allocate_slow(2304));
  const page_heap::PageState page = page_heap::describe(arena.page_of(address_of(block)));
  const auto *tail = at_address<char>(page.span_start + page.span_bytes - 16);
  EXPECT_MISUSE(tail, "invalid pointer", "no block of this heap starts at such an address");
}

TEST_F(MisuseDeathTest, LargeBlocks) {
  auto *block = static_cast<char *>(allocate_slow(100000));
  auto *guard = allocate_slow(100000);
  for (const size_t offset : {size_t{1}, size_t{16}, size_t{128}, kPageSize, 5 * kPageSize, 13 * kPageSize - 1}) {
    EXPECT_MISUSE(block + offset, "invalid pointer",
                  "it points " + std::to_string(offset) + " bytes into a block of 106496 bytes");
  }
  give(block);
  for (const size_t offset : {size_t{0}, size_t{1}, kPageSize, 5 * kPageSize + 64}) {
    EXPECT_MISUSE(block + offset, "double free", "the pages it points into are already free");
  }
  give(guard);
}

// Two threads free a block at once, and the one that came too late finds it handed out again when it looks why.
TEST_F(MisuseDeathTest, ALargeBlockThatWasFreeAMomentAgo) {
  auto *block = allocate_slow(100000);
  EXPECT_EXIT(misuse::report("free", block), KilledBySignal(SIGABRT),
              Eq(text("double free", block, "the pages it points into are already free")));
  give(block);
}

TEST_F(MisuseDeathTest, NotOfThisHeap) {
  static int in_data = 1;
  int on_stack = 1;
  for (const void *pointer :
       {static_cast<const void *>(&in_data), static_cast<const void *>(&on_stack), at_address<const void>(8),
        at_address<const void>(0xdeadbeef0), at_address<const void>(0x8000'0000'0000'0000),
        at_address<const void>(~uintptr_t{0}), at_address<const void>(arena.start - 16),
        at_address<const void>(arena.start + arena.grown_bytes())}) {
    EXPECT_MISUSE(pointer, "foreign pointer", "this address is not in warren's heap");
  }
}

TEST_F(MisuseDeathTest, PageZero) {
  EXPECT_MISUSE(at_address<const void>(arena.start), "invalid pointer", "the heap has never handed out this page");
  EXPECT_MISUSE(at_address<const void>(arena.start + 64), "invalid pointer", "the heap has never handed out this page");
}

TEST_F(MisuseDeathTest, TheFunctionIsNamed) {
  void *block = allocate_slow(100);
  give(block);
  EXPECT_EXIT(reallocate(block, 5, "realloc"), KilledBySignal(SIGABRT),
              "^warren: fatal error: double free: realloc\\(0x");
  EXPECT_EXIT(usable_size(block, "malloc_usable_size"), KilledBySignal(SIGABRT),
              "^warren: fatal error: double free: malloc_usable_size\\(0x");
}

TEST(Misuse, WhereErrorsAreIgnoredNothingChanges) {
  in_own_process([] {
    ASSERT_TRUE(heap::set_up());
    ASSERT_EQ(option_parser::set("abort_on_error", "0"), 0);
    auto *live = static_cast<char *>(allocate_slow(100)), *dead = static_cast<char *>(allocate_slow(100));
    auto *large = static_cast<char *>(allocate_slow(100000));
    give(dead);
    CapturedFd captured;
    const auto before = walk_pages();
    give(dead);
    give(live + 16);
    give(large + kPageSize);
    give(&captured);
    EXPECT_EQ(reallocate(dead, 50, "realloc"), nullptr);
    EXPECT_EQ(usable_size(dead, "malloc_usable_size"), 0u);
    const std::string said = captured.text();
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 6) << said;
    EXPECT_EQ(said.find("fatal"), std::string::npos) << said;
    EXPECT_EQ(walk_pages(), before);
    EXPECT_EQ(allocate_slow(100), dead) << "it is in the cache once";
    EXPECT_NE(allocate_slow(100), dead);
    give(live);
    give(large);
  });
}

}  // namespace
}  // namespace warren

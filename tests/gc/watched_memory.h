// Memory for the tests of gc/mutation.h, stores into it, and what is reported of them; a fixture that runs a test on
// every mechanism. Soft-dirty bits are played where the kernel has none. Invariant: a visit is ascending and inside the
// range that was asked for.
#pragma once

#include "allocator/base/address.h"
#include "gc/mutation.h"
#include "tests/allocator/base/captured_fd.h"
#include "tests/gc/mutation_calls.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <string>
#include <sys/mman.h>

namespace warren::gc {

using mutation::Choice;
using mutation::Mechanism;
using mutation::Range;

inline constexpr size_t kPage = kOsPageSize;
inline constexpr size_t kHugePage = size_t{2} << 20;

// Numbers of this process's descriptors for files with this in their name.
inline std::set<int> descriptors_of(const char *what) {
  std::set<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
    if (!error && target.string().find(what) != std::string::npos) found.insert(fd);
  }
  return found;
}

class Memory {
 public:
  explicit Memory(size_t pages, int advice = MADV_NOHUGEPAGE) : pages_(pages) {
    mapping_ = static_cast<char *>(
        mmap(nullptr, pages * kPage + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    start_ = at_address<char>(align_up(address_of(mapping_), kHugePage));
    madvise(start_, pages * kPage, advice);
  }
  ~Memory() { munmap(mapping_, pages_ * kPage + kHugePage); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  char *page(size_t i) const { return start_ + i * kPage; }
  void store(size_t i) const {
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the handler sees what the test has set
    static uint64_t last = 0;  // no two stores the same, for who compares contents
    *reinterpret_cast<volatile uint64_t *>(page(i) + 8 * (i % 500)) = ++last;
  }
  void touch() const {
    for (size_t i = 0; i < pages_; ++i) store(i);
  }
  size_t pages() const { return pages_; }
  Range range() const { return {address_of(start_), address_of(start_) + pages_ * kPage}; }
  Range range(size_t from, size_t end) const { return {address_of(page(from)), address_of(page(end))}; }

 private:
  size_t pages_;
  char *mapping_;
  char *start_;
};

using Pages = std::set<size_t>;

struct Fetched {
  Pages pages;
  bool exact;
};

inline Fetched fetch(const Memory &memory, Range in, bool clear) {
  struct Visitor {
    const Memory &memory;
    Pages pages;
    uintptr_t last = 0;
  } visitor{memory, {}, 0};
  const auto visit = [](Range dirty, void *context) {
    auto *to = static_cast<Visitor *>(context);
    EXPECT_LT(dirty.start, dirty.end);
    EXPECT_GE(dirty.start, to->last) << "ascending";
    to->last = dirty.end;
    for (uintptr_t page = dirty.start; page < dirty.end; page += kPage) {
      to->pages.insert((page - to->memory.range().start) / kPage);
    }
  };
  const bool exact = mutation::for_each_dirty(in, clear, visit, &visitor);
  for (const size_t page : visitor.pages) {
    EXPECT_GE(page, (in.start - memory.range().start) / kPage);
    EXPECT_LT(page, (in.end - memory.range().start) / kPage);
  }
  return {visitor.pages, exact};
}
inline Fetched fetch(const Memory &memory, bool clear) { return fetch(memory, memory.range(), clear); }

inline bool watch(const Memory &memory) {
  const Range range = memory.range();
  return mutation::watch(&range, 1);
}

inline Pages all(size_t count) {
  Pages pages;
  for (size_t i = 0; i < count; ++i) pages.insert(pages.end(), i);
  return pages;
}

inline void start_afresh() {
  mutation::unwatch();
  mutation::reset_in_child();
  faults = {};
}

class Mutation : public ::testing::TestWithParam<Choice> {
 protected:
  void SetUp() override {
    start_afresh();
    played = {};
    const Mechanism wanted = static_cast<Mechanism>(GetParam());
    CapturedFd stderr_text;
    Mechanism got = mutation::set_up(GetParam());
    if (got != wanted && GetParam() == Choice::kSoftDirty) {
      start_afresh();
      played.play();
      got = mutation::set_up(GetParam());
    }
    if (got != wanted) GTEST_SKIP() << "not to be had here: " << stderr_text.text();
    clears_ = GetParam() != Choice::kSoftDirty;
  }
  void TearDown() override {
    start_afresh();
    played = {};
  }
  Mechanism set_up_quietly(std::string &text) {
    CapturedFd stderr_text;
    const Mechanism got = mutation::set_up(GetParam());
    text = stderr_text.text();
    return got;
  }
  // What a fetch is to find after one that cleared.
  Pages and_before(Pages pages, const Pages &before) const {
    if (!clears_) pages.insert(before.begin(), before.end());
    return pages;
  }
  bool clears_ = true;
};

inline std::string name_of(const ::testing::TestParamInfo<Choice> &info) {
  return mutation::name(static_cast<Mechanism>(info.param));
}

#define ON_EACH_MECHANISM(Fixture)                                                                                     \
  INSTANTIATE_TEST_SUITE_P(Each, Fixture, ::testing::Values(Choice::kUserfault, Choice::kSoftDirty, Choice::kProtect), \
                           name_of)

class MutationChoice : public ::testing::Test {
 protected:
  void SetUp() override { start_afresh(); }
  void TearDown() override { start_afresh(); }
};

}  // namespace warren::gc

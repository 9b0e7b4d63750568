// What a fuzzed heap must look like: every live block with its range, its alignment and its contents.
// Run by operations.cc. Thread-safe: the map is locked, a block's contents belong to who holds its record.
// Invariant: a block is in the map from after it was allocated until before it is freed, so that two live blocks that
// overlap are found when the second one comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace fuzz {

// What happens when the heap is found wrong. The default prints and aborts, as a fuzzer likes it.
using Complain = void (*)(const std::string &text);
extern Complain complain;

struct Record {
  char *start;
  size_t size;    // as asked for
  size_t usable;  // as malloc_usable_size said
  uint64_t stamp;
};

// Calls `visit` with the offsets of a block that are stamped: all of a short one, both ends and a sample of a long one.
template <class Visit>
void for_each_stamped(size_t size, Visit visit) {
  constexpr size_t kWhole = 512, kEnd = 128, kNear = 1021, kFar = 65521;
  if (size <= kWhole) {
    for (size_t i = 0; i < size; ++i) visit(i);
    return;
  }
  for (size_t i = 0; i < kEnd; ++i) visit(i);
  for (size_t i = size - kEnd; i < size; ++i) visit(i);
  for (size_t i = kNear; i < size; i += i < kFar ? kNear : kFar) visit(i);
}

inline char byte_of(uint64_t stamp, size_t offset) {
  return static_cast<char>(stamp + offset * 31 + (offset >> 8) * 7);
}

class Shadow {
 public:
  // A block has come: checks its place, stamps it.
  void add(Record &record, size_t align);

  // A block is about to go: checks its contents.
  void remove(const Record &record);

  // The first `size` bytes are still those of the stamp.
  static void check_contents(const Record &record, size_t size);
  static void stamp(Record &record);

  size_t blocks();

 private:
  struct Range {
    uintptr_t end;
  };
  std::mutex lock_;
  std::map<uintptr_t, Range> live_;
};

}  // namespace fuzz

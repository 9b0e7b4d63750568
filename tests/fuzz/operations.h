// Bytes as a sequence of operations on the process's malloc. Run by operations_fuzz.cc; with a compiler that has
// libFuzzer also by itself:
//   clang++ -std=c++20 -I. -fno-builtin -fsanitize=fuzzer tests/fuzz/operations.cc tests/fuzz/shadow.cc -o operations
//   LD_PRELOAD=build/libwarren.so ./operations tests/fuzz/corpus
//
// An operation is: its number, the number of a slot, and what it needs further, each a byte:
//   0, 1 malloc SIZE            5 posix_memalign ALIGN SIZE   10 free
//   2    calloc SIZE            6 aligned_alloc ALIGN SIZE    11 exchange the slot with the other threads
//   3    realloc SIZE           7 memalign ALIGN SIZE         12 ask for the impossible (kind, two bytes)
//   4    reallocarray SIZE      8 operator new ALIGN SIZE     13 write it anew
//                               9 malloc_usable_size          14 free every slot from here on; 15 malloc_trim
// SIZE is three bytes: a kind and a 16-bit number. ALIGN is one. Numbers wrap, so that every string of bytes means something.
// Invariant: whatever the bytes are, a heap that keeps its promises is not complained about.
#pragma once

#include "tests/fuzz/shadow.h"

#include <array>
#include <atomic>

namespace fuzz {

// Where the bytes come from.
class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual bool empty() const = 0;
  virtual uint8_t next() = 0;  // 0 when empty
};

// What the threads of a run share.
struct World {
  Shadow shadow;
  std::array<std::atomic<Record *>, 64> table{};

  ~World();  // frees what lies on the table
};

class Player {
 public:
  explicit Player(World &world) : world_(world) {}
  ~Player();  // frees all of its slots
  Player(const Player &) = delete;
  Player &operator=(const Player &) = delete;

  void one_operation(Bytes &bytes);

 private:
  static constexpr size_t kSlots = 64;

  void put(size_t slot, char *start, size_t size, size_t align);
  void resize(size_t slot, size_t size, bool as_array);
  void ask_for_the_impossible(size_t slot, Bytes &bytes);
  void exchange(size_t slot, Bytes &bytes);

  World &world_;
  std::array<Record *, kSlots> slots_{};
};

}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

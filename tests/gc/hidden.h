// A word that a test hides somewhere, and the search for it. Run by the tests of roots.
// The word itself is never written by the test's own code: it exists as its complement until the hiding place holds it.
// Invariant: the search leaves no copy of the word on its own stack.
#pragma once

#include "gc/roots.h"
#include "gc/world.h"

#include <cstdint>
#include <random>

namespace warren::gc {

class Hidden {
 public:
  explicit Hidden(uint64_t seed) {
    std::mt19937_64 random(seed);
    complement_ = random();
  }
  uint64_t complement() const { return complement_; }

  // Writes the word, by way of registers that it clears again.
  __attribute__((noinline)) void put(volatile uint64_t *place) const {
    asm volatile("movq %[from], %%rax\n\tnotq %%rax\n\tmovq %%rax, %[to]\n\txorl %%eax, %%eax"
                 : [to] "=m"(*place)
                 : [from] "m"(complement_)
                 : "rax", "cc");
  }

  bool in_threads() const { return search(world::for_each_root_range); }
  bool in_data() const { return search(roots::for_each_data_range); }

 private:
  struct Search {
    uint64_t complement;
    bool found;
  };

  bool search(void (*each)(VisitRange, void *)) const {
    Search state{complement_, false};
    each(
        [](uintptr_t low, uintptr_t high, void *context) {
          auto *search = static_cast<Search *>(context);
          for (; low < high; low += sizeof(uint64_t)) {
            if (~*reinterpret_cast<const volatile uint64_t *>(low) == search->complement) search->found = true;
          }
        },
        &state);
    return state.found;
  }

  uint64_t complement_;
};

// In a world stopped for as long as the search takes.
inline bool found_in_threads(const Hidden &hidden) {
  if (!world::stop()) return false;
  const bool found = hidden.in_threads();
  world::start();
  return found;
}

inline bool found_in_data(const Hidden &hidden) {
  if (!world::stop()) return false;
  const bool found = hidden.in_data();
  world::start();
  return found;
}

}  // namespace warren::gc

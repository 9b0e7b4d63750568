// A jump in the place of a function's first instruction. Written through /proc/self/mem: no page is ever writable and
// executable at once. Where the kernel refuses, nothing changes. Callers: counted_entries.cc and replaced_operators.cc, for this
// library's own functions, from the constructor; deep_binding.cc, for functions of libc that nobody calls. Invariant: nobody
// executes what is written to.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

class Redirection {
 public:
  Redirection();
  ~Redirection();
  Redirection(const Redirection &) = delete;
  Redirection &operator=(const Redirection &) = delete;

  bool is_possible() const { return memory_ >= 0; }

  // `from`: a function by the name that nobody can interpose (entry_points.h).
  template <class From, class To>
  void jump(From *from, To *to) {
    write(reinterpret_cast<uintptr_t>(from), reinterpret_cast<uintptr_t>(to));
  }

  struct Jump {
    void *from;
    void *to;
  };
  static constexpr size_t kMostJumps = 16;

  // All of them or, false, none.
  bool jump_all(const Jump *jumps, size_t count);

 private:
  bool write(uintptr_t from, uintptr_t to);

  int memory_;
};

}  // namespace warren

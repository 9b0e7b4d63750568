// A jump in the place of a function's first instruction. Written through /proc/self/mem: no page is ever writable and
// executable at once. Where the kernel refuses, nothing changes. Callers: counted_entries.cc, replaced_operators.cc, both from the
// constructor. Invariant: only this library's own functions are written to, and before there is a second thread.
#pragma once

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

 private:
  void write(uintptr_t from, uintptr_t to);

  int memory_;
};

}  // namespace warren

// Whether a cycle watches the heap's pages from its beginning on, or only when the heap has been marked once. Watching early saves
// scanning again what the program does not write to meanwhile, and costs the program a fault for each page that it does. One that writes
// to nearly all of them has the faults for nothing: what is new counts as dirty and is watched when it is scanned for the second time.
//
// Nothing but arithmetic. Caller: dirty_pages.cc. Invariant: early unless the last cycle says otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren::gc {

class LateWatch {
 public:
  bool is_late() const { return late_; }

  // Of a cycle that was early: what was dirty when the heap had been marked once, in pages.
  void note_early(size_t dirty, size_t all) { late_ = all >= kFewPages && dirty >= all / 4 * 3; }

  // Of one that was late: what became dirty while all was scanned for the second time, and how long this and marking took. A page was
  // watched for half of that time in the mean, so early it would have been dirty with 2 * marking / again times the probability.
  void note_late(size_t dirty, size_t all, uint64_t marking, uint64_t again) {
    late_ = all >= kFewPages && again != 0 && 2.0 * static_cast<double>(dirty) * static_cast<double>(marking) >=
                                                  0.5 * static_cast<double>(all) * static_cast<double>(again);
  }

 private:
  static constexpr size_t kFewPages = 1024;  // 4 MiB: the faults come to a millisecond

  bool late_ = false;
};

}  // namespace warren::gc

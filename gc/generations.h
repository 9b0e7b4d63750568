// Whether the next cycle may be a minor one, which leaves old objects alone.
//
// Marks are sticky: after a cycle with a minor one to come, what it has marked keeps its marks through the sweep and is old, and the
// pages of old objects stay watched. A minor cycle begins with these marks. Its roots are the program's, and those old objects whose
// pages were written to since, or were not watched (page_states.h): no other old object points to a new one. So it costs what is new
// and lives, not what the heap holds. What dies old is found by the next full cycle. Who writes all over the heap, or keeps what it
// makes, gains nothing by that, and pays for first stores; here it is noticed, and for a while all cycles are full.
//
// What is allocated while one marks is black, but mostly dead soon: spans made then lose their marks again (Span::born_black), which
// makes their objects young. Objects that point to them were written to at that time, so their pages are not left watched.
//
// Nothing but arithmetic. Caller: cycle.cc. Invariant: minor cycles do not move the heap's goal up (pacer.h), so old garbage takes room
// that new objects would have; when it may take half of that, the next cycle is a full one.
#pragma once

#include <cstdint>

namespace warren::gc {

class Generations {
 public:
  // The words of the option gc_minor, in their order.
  enum class Mode : uint8_t { kOff, kAuto, kAlways };

  // In bytes.
  struct End {
    bool minor = false;
    bool forced = false;
    uint64_t before = 0;     // the heap when marking ended, with what is dead
    uint64_t live = 0;       // what is left
    uint64_t black = 0;      // of that: allocated while one marked
    uint64_t scannable = 0;  // of live: what a full cycle would scan
    uint64_t scanned = 0;    // of objects, in this one
    uint64_t goal = 0;       // the heap's, in this cycle
  };

  // Of a minor cycle that is about to begin: whether it still is to be one. In bytes.
  struct Begin {
    uint64_t scannable = 0;   // of old objects
    uint64_t remembered = 0;  // of these: to be scanned all the same
  };
  bool pays(const Begin &begin);

  // Once for each cycle, when marking has ended.
  bool next_is_minor(const End &end, Mode mode);

 private:
  void rest();
  bool pays_after_minor(const End &end);
  bool pays_after_full(const End &end, uint64_t last_live);

  uint64_t full_live_ = 0;  // what the last full cycle left, or the least since
  uint64_t last_live_ = 0;  // and the last of either kind
  unsigned minors_ = 0;     // since the last full cycle
  unsigned rest_ = 0;       // so many cycles are to be full, whatever they find
  unsigned next_rest_ = 0;
};

}  // namespace warren::gc

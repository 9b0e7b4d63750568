// What goes back to the kernel because the heap is about to have more memory than it ever had: Go's scavenging for heap growth.
//
// Where no warm run is long enough for a request, new pages would come on top of those that lie warm. As many warm ones go back instead,
// so that the peak is no higher than the use of memory asks for. But a program may need those again, and a page that goes and comes costs
// about 5 us: so only so many at a time may go, by the processor time that the program takes. (By the clock on the wall: what
// sleeps much took up to 4 times the processor time.)
//
// Caller: page_heap.cc, which does the giving back. Invariant: its lock guards all this.
#pragma once

#include <algorithm>
#include <cstdint>

namespace warren {

class Growth {
 public:
  // One page for so many nanoseconds: a sixth of the time at worst. 50'000: peaks of ten programs of bench/ 3% higher than with 20'000,
  // and 8% less time. No limit: large_blocks takes 4 times as long, realloc_vectors and malloc_large_mixed twice.
  static constexpr uint64_t kNanosecondsPerPage = 30'000;

  // Pages that may go at once after a while without, and before the first while. 4096 at first: large_blocks takes 1.9 times as long
  // as with none of this, not 1.4, and no peak is smaller.
  static constexpr uint64_t kMostSaved = 8192, kSavedAtFirst = 512;

  // At least so many go, of fewer that there is need for. 16: more calls, and no smaller peaks.
  static constexpr uint64_t kLeast = 64;

  // When the kernel has refused to take pages (they are locked), nothing is tried for so long.
  static constexpr uint64_t kRefusedFor = 1'000'000'000;

  // Pages in use from which on this is done. Less: processes of a few hundred kilobytes touch the code for it.
  static constexpr uint64_t kFrom = 128;

  // Nor is it done while more than this, and what was in use at most, is loose: free without memory between what is used. Each time leaves
  // such. (No bound: a compiler's front end of 47 MB spread over 200. What is in use now, twice: growing_buffers peaked a third higher.)
  static constexpr uint64_t kMostLoose = 4096;

  // Pages that are in use now, and free ones that have memory. True: that is more than ever.
  bool note(uint64_t used, uint64_t warm) {
    most_used_ = std::max(most_used_, used);
    if (used + warm <= peak_) return false;
    excess_ = used + warm - peak_;
    peak_ = used + warm;
    return true;
  }

  // After a note that said so.
  bool may_give_back(uint64_t warm, uint64_t loose) const {
    return warm != 0 && most_used_ >= kFrom && loose <= kMostLoose + most_used_;
  }

  // After both: how many of the `warm` pages are to go, when the process has had so much processor time.
  uint64_t give_back(uint64_t warm, uint64_t now) {
    if (since_ == 0) since_ = now;
    if (now > since_) {
      const uint64_t earned = (now - since_) / kNanosecondsPerPage;
      saved_ = std::min(saved_ + earned, kMostSaved);
      since_ += earned * kNanosecondsPerPage;
    }
    const uint64_t pages = std::min({warm, std::max(excess_, kLeast), saved_});
    saved_ -= pages;
    peak_ -= std::min(pages, excess_);
    return pages;
  }

  void refused(uint64_t now) {
    saved_ = 0;
    since_ = now + kRefusedFor;
  }

 private:
  uint64_t most_used_ = 0;
  uint64_t peak_ = 0;    // of pages with memory, as far as they were not to go
  uint64_t excess_ = 0;  // by so much it has grown
  uint64_t saved_ = kSavedAtFirst;
  uint64_t since_ = 0;  // what was earned until then is in saved_
};

}  // namespace warren

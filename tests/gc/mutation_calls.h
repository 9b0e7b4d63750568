// The system calls that the mechanisms of gc/mutation.h make, as the tests let them be made: with faults, and with
// soft-dirty bits that the kernel does not have. Linked (ld --wrap, in mutation_calls.cc) into the mutation tests.
// Invariant: with fresh Faults and nothing played every call goes through.
#pragma once

#include "gc/mutation.h"

#include <cerrno>
#include <map>
#include <vector>

namespace warren::gc {

struct Faults {
  unsigned long calls = 0;      // made so far
  unsigned long failing = 0;    // number of the one that fails, 0 for none
  bool all_after = false;       // and all after it
  long error = EPERM;
  bool sandboxed = false;       // what filtered() says
  bool slow_protection = false; // mprotect gives others time before it returns
  size_t least_protected = 0;   // mprotect of fewer bytes fails with ENOMEM
};
extern Faults faults;

// Soft-dirty bits for a kernel that has none: dirty is what differs from a copy taken when the bits were cleared.
class PlayedSoftDirty {
 public:
  void play() { playing_ = true; }
  bool playing() const { return playing_; }
  void clear();
  bool dirty(uintptr_t page);

 private:
  bool playing_ = false;
  std::map<uintptr_t, std::vector<char>> copies_;
};
extern PlayedSoftDirty played;

}  // namespace warren::gc

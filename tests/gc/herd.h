// Many objects at once, watched by weak references. Whether one object dies cannot be told, since a word left on a stack or in
// a register may hold it; of many, a few are held like that at most.
// Run by the programs that use the collector through its public face. Invariant: a herd keeps none of its members alive.
#pragma once

#include "warren/gc.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace warren::gc_tests {

// What may survive by accident, of a thousand.
inline constexpr size_t kStrays = 20;

// Calls the body on a stack that is gone afterwards.
template <class Body>
void apart(Body body) {
  std::thread(body).join();
}

class Herd {
 public:
  void watch(void *object) { members_.push_back(wr_weak_make(object)); }
  size_t size() const { return members_.size(); }

  // Asked from a stack of its own: an answer leaves a pointer behind.
  size_t alive() const {
    size_t count = 0;
    apart([&] {
      for (const wr_weak member : members_) count += wr_weak_get(member) != nullptr;
    });
    return count;
  }
  bool all_alive() const { return alive() == size(); }
  bool nearly_all_dead() const { return alive() <= kStrays + size() / 50; }

  void watch_fresh(size_t count, size_t bytes) {
    for (size_t i = 0; i < count; ++i) watch(wr_gc_malloc(bytes));
  }

 private:
  std::vector<wr_weak> members_;  // in malloc's memory, which is no root
};

// What WARREN_CONF says of the mechanism: "auto" and so on.
inline std::string tracking() {
  const char *conf = getenv("WARREN_CONF");
  const char *at = conf == nullptr ? nullptr : strstr(conf, "gc_tracking=");
  if (at == nullptr) return "auto";
  at += strlen("gc_tracking=");
  return std::string(at, strcspn(at, ","));
}

}  // namespace warren::gc_tests

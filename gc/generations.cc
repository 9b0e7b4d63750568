// See generations.h.
#include "gc/generations.h"

namespace warren::gc {
namespace {

// Smaller heaps are marked in a few milliseconds.
constexpr uint64_t kLeastLive = uint64_t{8} << 20;

// In a row. More: finalizers and weak references of what dies old come later.
constexpr unsigned kMostMinors = 15;

// Full cycles after a minor one that did not pay: twice as many each time.
constexpr unsigned kFirstRest = 4, kLongestRest = 64;

// Of four cycles three, with kAlways.
constexpr unsigned kFullOneIn = 4;

}  // namespace

void Generations::rest() {
  next_rest_ = next_rest_ == 0 ? kFirstRest : next_rest_ < kLongestRest ? 2 * next_rest_ : kLongestRest;
  rest_ = next_rest_;
}

bool Generations::pays(const Begin &begin) {
  if (begin.remembered <= begin.scannable / 2) return true;
  rest();
  return false;
}

bool Generations::pays_after_minor(const End &end) {
  if (end.scanned > end.scannable / 2) {
    rest();
    return false;
  }
  next_rest_ /= 2;
  if (minors_ >= kMostMinors) return false;
  // Half of the way to the goal is taken by what has become old, dead or alive: time to see which.
  return end.live <= full_live_ || (end.goal > full_live_ && end.live - full_live_ <= (end.goal - full_live_) / 2);
}

bool Generations::pays_after_full(const End &end, uint64_t last_live) {
  if (rest_ != 0) {
    --rest_;
    return false;
  }
  if (end.forced) return false;
  const uint64_t dead = end.before - end.live;
  const uint64_t settled = end.before - (last_live < end.before ? last_live : end.before);
  return dead >= (settled > end.black ? settled - end.black : 0) / 2;
}

bool Generations::next_is_minor(const End &end, Mode mode) {
  const uint64_t last_live = last_live_;
  last_live_ = end.live;
  minors_ = end.minor ? minors_ + 1 : 0;
  if (!end.minor || end.live < full_live_) full_live_ = end.live;
  switch (mode) {
    case Mode::kOff: return false;
    case Mode::kAuto: break;
    case Mode::kAlways: return minors_ + 1 < kFullOneIn;
  }
  const bool pays = end.minor ? pays_after_minor(end) : pays_after_full(end, last_live);
  return pays && end.live >= kLeastLive;
}

}  // namespace warren::gc

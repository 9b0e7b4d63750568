// The initial state: no arena, no cache, and a table from small sizes to classes. See hot.h.
#include "allocator/hot.h"

namespace warren {
namespace {

constinit uint8_t before_set_up = kSentinelMark;

consteval Hot initial() {
  Hot state{{}, Arena(&before_set_up), {}};
  for (unsigned bin = 0; bin < kBinCount; ++bin) state.empty.top[bin] = state.empty.limit[bin] = hot.empty_bin + 1;
  state.empty.fine_from_zero = &before_set_up;
  for (size_t size = 0; size <= kMaxSmallSize; ++size) state.empty.class_of[size] = quick_class_of(size).value;
  return state;
}

}  // namespace

constinit Hot hot = initial();

}  // namespace warren

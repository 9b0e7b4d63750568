// Refilling and flushing of bins. See cache.h.
#include "allocator/cache.h"

#include "allocator/central.h"
#include "allocator/heap.h"

#include <cstring>

namespace warren {
namespace {

// Blocks of a bin's first refill. More: the first use of a class hoards. Fewer: more trips before the
// bin has found its size. Later refills double up to half the bin.
constexpr unsigned kFirstBatch = 8;

unsigned slots_of(unsigned bin) { return info(class_of_bin(bin)).cache_slots; }

}  // namespace

void Cache::set_up() {
  memcpy(static_cast<CacheHead *>(this), &hot.empty, sizeof(CacheHead));
  memset(batch_, 0, sizeof batch_);
}

void Cache::open(unsigned bin) {
  if (is_open(bin)) return;
  const unsigned half = slots_of(bin) / 2;
  batch_[bin] = static_cast<uint8_t>(half < kFirstBatch ? half : kFirstBatch);
  top[bin] = bottom(bin);
  top[bin][-1] = at_address<void>(arena.start);
  limit[bin] = bottom(bin) + 2 * batch_[bin];
}

bool Cache::refill(unsigned bin) {
  open(bin);
  // The bin is empty: the blocks go straight to where a full batch would end.
  void **begin = top[bin];
  void **end = begin + batch_[bin];
  const size_t fetched = central_of(class_of_bin(bin)).fetch(end, batch_[bin]);
  if (fetched == 0) return false;
  if (fetched != batch_[bin]) memmove(begin, end - fetched, fetched * sizeof(void *));
  top[bin] = begin + fetched;
  if (limit[bin] < top[bin]) limit[bin] = top[bin];
  const unsigned half = slots_of(bin) / 2;
  batch_[bin] = static_cast<uint8_t>(batch_[bin] * 2u < half ? batch_[bin] * 2u : half);
  return true;
}

void Cache::push(unsigned bin, void *block) {
  open(bin);
  if (top[bin] == limit[bin]) {
    void **end = bottom(bin) + slots_of(bin);
    if (limit[bin] < end) {
      const ptrdiff_t wider = 2 * (limit[bin] - bottom(bin));
      limit[bin] = wider < end - bottom(bin) ? bottom(bin) + wider : end;
    } else {
      give_back_oldest(bin, slots_of(bin) / 2);
    }
  }
  *top[bin]++ = block;
}

void Cache::give_back_oldest(unsigned bin, size_t count) {
  void *batch[kMaxBatch];
  memcpy(batch, bottom(bin), count * sizeof(void *));
  const size_t rest = size(bin) - count;
  memmove(bottom(bin), bottom(bin) + count, rest * sizeof(void *));
  top[bin] = bottom(bin) + rest;
  central_of(class_of_bin(bin)).give_back(batch, count);
}

template <class Give>
void Cache::empty_bins(Give give) {
  for (unsigned bin = 0; bin < kBinCount; ++bin) {
    while (size_t count = size(bin)) {
      void *batch[kMaxBatch];
      if (count > kMaxBatch) count = kMaxBatch;
      for (size_t i = 0; i < count; ++i) batch[i] = pop(bin);
      give(central_of(class_of_bin(bin)), batch, count);
    }
  }
}

void Cache::flush() {
  empty_bins([](Central &central, void *const *batch, size_t count) { central.give_back(batch, count); });
}

void Cache::adopt() {
  empty_bins([](Central &central, void *const *batch, size_t count) { central.adopt(batch, count); });
}

}  // namespace warren

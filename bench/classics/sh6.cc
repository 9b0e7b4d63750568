// Claim: sizes in order, of which the small come most often, freed in pieces from either end; after sh6bench.
// Held constant: four threads of at most 7,000 live blocks of 8 to 1000 bytes; when these are there, the older half goes, forwards,
// backwards, or every other one first. Unit: one round through the sizes. Run by bench/run.py.
#include <algorithm>

#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kThreads = 4, kMostLive = 7000;
constexpr unsigned kRounds = 1500;

void free_older_half(std::vector<void *> &live, unsigned round) {
  const auto middle = live.begin() + static_cast<std::ptrdiff_t>(live.size() / 2);
  if (round % 4 == 0) {
    std::for_each(live.begin(), middle, std::free);
  } else if (round % 4 == 1) {
    std::for_each(std::make_reverse_iterator(middle), live.rend(), std::free);
  } else {
    for (std::size_t i = 0; i < live.size() / 2; i += 2) std::free(live[i]);
    for (std::size_t i = 1; i < live.size() / 2; i += 2) std::free(live[i]);
  }
  live.erase(live.begin(), middle);
}

void work(std::size_t) {
  std::vector<void *> live;
  live.reserve(kMostLive);
  for (unsigned round = 0; round < kRounds; ++round) {
    for (std::size_t size = 8; size <= 1000; size += size < 64 ? 8 : size < 256 ? 24 : 72) {
      for (unsigned i = size < 64 ? 40 : size < 256 ? 16 : 5; i != 0; --i) {
        if (live.size() == kMostLive) free_older_half(live, round);
        live.push_back(workload::allocate(size, round));
      }
    }
  }
  std::for_each(live.rbegin(), live.rend(), std::free);
}

}  // namespace

int main() {
  classics::on_threads(kThreads, work);
  workload::report(kThreads * kRounds, kMostLive);
}

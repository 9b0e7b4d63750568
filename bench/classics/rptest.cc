// Claim: sizes of which the small are by far the most, and bundles of blocks that the next thread frees; after rptest.
// Held constant: two threads of 1,000 live blocks; 6,000 loops, of which each frees up to 80 and makes up to 100, and every other makes as
// many for the other thread, or frees them later itself. Argument: the largest size. Unit: one loop. Run by bench/run.py.
#include <atomic>
#include <utility>

#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kThreads = 2, kLive = 1000;
constexpr std::uint64_t kLoops = 3000;

using Bundle = std::vector<void *>;
std::atomic<Bundle *> mail[kThreads];

std::size_t size_up_to(std::size_t largest, workload::Random &random) {
  double share = 1;
  for (int i = 0; i < 3; ++i) share *= static_cast<double>(random.between(1, 1000)) / 1000;
  return 8 + static_cast<std::size_t>(static_cast<double>(largest - 8) * share);
}

void *make(std::size_t largest, workload::Random &random) { return workload::allocate(size_up_to(largest, random), 1); }

void open(Bundle *bundle) {
  if (bundle == nullptr) return;
  for (void *block : *bundle) std::free(block);
  delete bundle;
}

void work(std::size_t number, std::size_t largest) {
  workload::Random random(number + 7);
  std::vector<void *> live(kLive, nullptr);
  for (int round = 0; round < 2; ++round) {
    std::size_t free_at = 0, make_at = 0;
    for (std::uint64_t loop = 0; loop < kLoops; ++loop) {
      for (std::size_t i = random.below(80); i != 0; --i) {
        std::free(std::exchange(live[free_at], nullptr));
        free_at = (free_at + 7) % kLive;
      }
      open(mail[number].exchange(nullptr, std::memory_order_acquire));  // pairs with the release of who sent it
      const std::size_t count = random.below(100);
      for (std::size_t i = 0; i < count; ++i) {
        if (live[make_at] == nullptr) live[make_at] = make(largest, random);
        make_at = (make_at + 11) % kLive;
      }
      if (loop % 2 != 0) continue;
      auto *bundle = new Bundle;
      for (std::size_t i = 0; i < count; ++i) bundle->push_back(make(largest, random));
      // acq_rel: what is in a bundle goes with its pointer. One that has not been fetched comes back, so that no more than one waits.
      open(mail[(number + 1) % kThreads].exchange(bundle, std::memory_order_acq_rel));
    }
    for (void *&block : live) std::free(std::exchange(block, nullptr));
  }
}

}  // namespace

int main(int, char **arguments) {
  const std::size_t largest = classics::argument(arguments, 1);
  classics::on_threads(kThreads, [=](std::size_t number) { work(number, largest); });
  for (auto &box : mail) open(box.load(std::memory_order_relaxed));  // ordered by the joins
  workload::report(kThreads * 2 * kLoops, largest);
}

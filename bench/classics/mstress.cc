// Claim: what is kept, what is dropped soon and what other threads drop, all mixed, with an array in between that is large; after mstress.
// Held constant: each thread makes 2,000 to 16,000 short-lived arrays of 8 to 1024 bytes (one in fifty of a hundred times that), and half
// as many of up to 100 KiB that stay; two in three times one dies, one in four times one goes to another thread by one of 1,000
// mailboxes. Each is written and read as a whole. Argument: threads. Unit: one array. Run by bench/run.py.
#include <atomic>
#include <utility>

#include "threads.h"
#include "workload.h"

namespace {

constexpr std::size_t kMailboxes = 1000;
constexpr std::uint64_t kKey = 0xbf58476d1ce4e5b9;

std::atomic<std::uint64_t *> mailboxes[kMailboxes];
std::atomic<std::uint64_t> words{0};  // in all arrays that were dropped; relaxed: a sum

std::uint64_t *make(std::size_t count, workload::Random &random) {
  if (random.below(100) < 2) count *= 100;
  auto *array = static_cast<std::uint64_t *>(workload::allocate(count * sizeof(std::uint64_t), 0));
  for (std::size_t i = 0; i < count; ++i) array[i] = (count - i) ^ kKey;
  return array;
}

void drop(std::uint64_t *array) {
  if (array == nullptr) return;
  const std::uint64_t count = array[0] ^ kKey;
  for (std::uint64_t i = 0; i < count; ++i) {
    if ((array[i] ^ kKey) != count - i) std::abort();
  }
  words.fetch_add(count, std::memory_order_relaxed);
  std::free(array);
}

void work(std::size_t number, std::size_t scale) {
  workload::Random random(number + 42);
  std::size_t to_make = scale * (number % 8 + 1), to_keep = to_make / 2;
  std::vector<std::uint64_t *> kept, live;
  while (to_make != 0 || to_keep != 0) {
    if (to_make != 0 && (to_keep == 0 || random.below(100) < 50)) {
      --to_make;
      live.push_back(make(random.between(1, 128), random));
    } else {
      --to_keep;
      kept.push_back(make(10 * random.between(1, 1280), random));
    }
    if (live.empty()) continue;
    if (random.below(100) < 66) drop(std::exchange(live[random.below(live.size())], nullptr));
    if (random.below(100) < 25) {
      std::uint64_t *&sent = live[random.below(live.size())];
      // acq_rel: the array's content goes with the pointer, both ways.
      sent = mailboxes[random.below(kMailboxes)].exchange(sent, std::memory_order_acq_rel);
    }
  }
  for (std::uint64_t *array : kept) drop(array);
  for (std::uint64_t *array : live) drop(array);
}

}  // namespace

int main(int, char **arguments) {
  const std::size_t threads = classics::argument(arguments, 1);
  const std::size_t scale = 4000 / threads;
  classics::on_threads(threads, [&](std::size_t number) { work(number, scale); });
  for (auto &mailbox : mailboxes) drop(mailbox.load(std::memory_order_relaxed));  // ordered by the joins
  workload::report(threads, words.load(std::memory_order_relaxed));
}

// Blocks that are freed by another thread than the one that made them, in every topology, over generations
// of threads, with a fixed live set, and on a single processor. Run by lifecycle_test.
// Invariant: a block travels intact (cookies at both ends), and memory stays bounded by what is live.
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "victim.h"

namespace {

// A bounded queue of blocks between threads. nullptr is the end mark.
class Channel {
 public:
  void send(void *block) {
    pthread_mutex_lock(&mutex_);
    while (count_ == kCapacity) pthread_cond_wait(&room_, &mutex_);
    ring_[(first_ + count_++) % kCapacity] = block;
    pthread_cond_signal(&data_);
    pthread_mutex_unlock(&mutex_);
  }
  void *receive() {
    pthread_mutex_lock(&mutex_);
    while (count_ == 0) pthread_cond_wait(&data_, &mutex_);
    void *block = ring_[first_];
    first_ = (first_ + 1) % kCapacity;
    --count_;
    pthread_cond_signal(&room_);
    pthread_mutex_unlock(&mutex_);
    return block;
  }

 private:
  static constexpr std::size_t kCapacity = 512;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t data_ = PTHREAD_COND_INITIALIZER;
  pthread_cond_t room_ = PTHREAD_COND_INITIALIZER;
  void *ring_[kCapacity] = {};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

void produce(Channel &to, int count, std::uint64_t number) {
  victim::Random random(victim::seed() + number);
  for (int i = 0; i < count; ++i) to.send(victim::make_cookie(random.block_size(), random.next()));
}
void consume(Channel &from) {
  while (void *block = from.receive()) victim::check_and_free(block);
}

// producers threads feed consumers threads through one channel.
void exchange(int producers, int consumers, int blocks) {
  Channel channel;
  std::vector<std::thread> makers, eaters;
  for (int i = 0; i < producers; ++i) {
    makers.emplace_back(produce, std::ref(channel), blocks / producers, static_cast<std::uint64_t>(i));
  }
  for (int i = 0; i < consumers; ++i) eaters.emplace_back(consume, std::ref(channel));
  for (auto &thread : makers) thread.join();
  for (int i = 0; i < consumers; ++i) channel.send(nullptr);
  for (auto &thread : eaters) thread.join();
}

void one_to_one() { exchange(1, 1, victim::scaled(200'000)); }
void one_to_many() { exchange(1, 6, victim::scaled(100'000)); }
void many_to_one() { exchange(6, 1, victim::scaled(100'000)); }
void many_to_many() { exchange(4, 4, victim::scaled(100'000)); }

// Each thread frees what its left neighbour made and feeds its right one.
void ring() {
  constexpr int kThreads = 5;
  Channel channels[kThreads];
  const int blocks = victim::scaled(30'000);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      victim::Random random(victim::seed() + static_cast<std::uint64_t>(i));
      for (int k = 0; k < blocks; ++k) {
        channels[(i + 1) % kThreads].send(victim::make_cookie(random.block_size(), random.next()));
        victim::check_and_free(channels[i].receive());
      }
    });
  }
  for (auto &thread : threads) thread.join();
}

void owner_exited() {
  const int rounds = victim::scaled(300);
  std::vector<void *> orphans;
  for (int i = 0; i < rounds; ++i) {
    std::thread owner([&orphans, i] {
      victim::Random random(victim::seed() + static_cast<std::uint64_t>(i));
      for (int k = 0; k < 300; ++k) orphans.push_back(victim::make_cookie(random.block_size(), random.next()));
    });
    owner.join();
    if (i % 3 == 2) {
      std::thread heir([&orphans] {
        for (void *block : orphans) victim::check_and_free(block);
      });
      heir.join();
      orphans.clear();
    }
  }
  for (void *block : orphans) victim::check_and_free(block);
}

// The owner lives on but never calls the allocator again: what others free of its blocks must be reusable.
void owner_idles() {
  Channel channel;
  std::atomic<bool> end{false};
  std::thread owner([&] {
    for (int i = 0; i < 60'000; ++i) channel.send(victim::make_cookie(1'000, 1));
    while (!end.load()) usleep(1'000);
  });
  std::vector<void *> blocks;
  for (int i = 0; i < 60'000; ++i) blocks.push_back(channel.receive());
  const std::size_t before = victim::resident_kib();
  for (int round = 0; round < 5; ++round) {
    for (auto *&block : blocks) {
      victim::check_and_free(block);
      block = nullptr;
    }
    for (auto *&block : blocks) block = victim::make_cookie(1'000, 2);
  }
  const std::size_t after = victim::resident_kib();
  std::printf("resident %zu -> %zu KiB\n", before, after);
  for (void *block : blocks) victim::check_and_free(block);
  end.store(true);
  owner.join();
  VICTIM_CHECK(after <= before + before / 2 + 8'192);
}

// Blocks that survive generations of threads, as in the larson benchmark, checked when they are replaced.
void survivors_over_generations() {
  constexpr std::size_t kShelf = 20'000;
  constexpr int kThreads = 4;
  std::vector<void *> shelf(kShelf, nullptr);
  const int generations = victim::scaled(40);
  for (int generation = 0; generation < generations; ++generation) {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        victim::Random random(victim::seed() + static_cast<std::uint64_t>(generation) * 100 + t);
        for (int i = 0; i < 5'000; ++i) {
          // A quarter of the shelf each, shifted so that the next generation gets its neighbour's blocks.
          const std::size_t quarter = (t + static_cast<std::size_t>(generation)) % kThreads;
          void *&slot = shelf[quarter * (kShelf / kThreads) + random.below(kShelf / kThreads)];
          if (slot != nullptr) victim::check_and_free(slot);
          slot = victim::make_cookie(random.below(1'500), random.next());
        }
      });
    }
    for (auto &thread : threads) thread.join();
  }
  for (void *block : shelf) {
    if (block != nullptr) victim::check_and_free(block);
  }
}

// A table of constant size whose blocks are made by some threads and freed by others.
void fixed_live_set() {
  constexpr std::size_t kSlots = 16'384;
  constexpr std::size_t kLargest = 8'192;
  Channel channel;
  std::vector<void *> table(kSlots, nullptr);
  std::atomic<std::size_t> live{0}, most_live{0}, most_resident{0};
  const int blocks = victim::scaled(600'000);
  std::vector<std::thread> makers, keepers;
  for (int m = 0; m < 2; ++m) {
    makers.emplace_back([&, m] {
      victim::Random random(victim::seed() + static_cast<std::uint64_t>(m));
      for (int i = 0; i < blocks / 2; ++i) {
        void *block = victim::make_cookie(32 + random.below(kLargest - 32), random.next());
        live.fetch_add(victim::cookie_size(block));
        channel.send(block);
      }
    });
  }
  for (std::size_t k = 0; k < 2; ++k) {
    keepers.emplace_back([&, k] {
      victim::Random random(victim::seed() + 50 + k);
      for (std::size_t i = 0; void *block = channel.receive(); ++i) {
        void *&slot = table[k * (kSlots / 2) + random.below(kSlots / 2)];
        if (slot != nullptr) {
          live.fetch_sub(victim::cookie_size(slot));
          victim::check_and_free(slot);
        }
        slot = block;
        if (k == 0 && i % 1'000 == 0) {
          most_live.store(std::max(most_live.load(), live.load()));
          most_resident.store(std::max(most_resident.load(), victim::resident_kib()));
        }
      }
    });
  }
  for (auto &thread : makers) thread.join();
  for (int i = 0; i < 2; ++i) channel.send(nullptr);
  for (auto &thread : keepers) thread.join();
  const std::size_t live_kib = most_live.load() / 1024;
  std::printf("most live %zu KiB, most resident %zu KiB\n", live_kib, most_resident.load());
  std::fflush(stdout);
  for (void *block : table) {
    if (block != nullptr) victim::check_and_free(block);
  }
  VICTIM_CHECK(most_resident.load() <= 2 * live_kib + 32 * 1024);
}

// One processor for all: a waiter that spins without yielding would starve the holder of a lock.
void on_one_processor() {
  cpu_set_t all, one;
  VICTIM_CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &all)) {
      CPU_SET(cpu, &one);
      break;
    }
  }
  VICTIM_CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  exchange(8, 8, victim::scaled(50'000));
  ring();
  VICTIM_CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
}

// The processors a thread may use change while it allocates.
void moving_between_processors() {
  cpu_set_t all;
  VICTIM_CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
  std::atomic<bool> end{false};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 1; !end.load(); ++i) victim::exercise_heap(50, i * 10 + t);
    });
  }
  std::size_t cpu = 0;
  for (int i = 0; i < victim::scaled(2'000); ++i) {
    do {
      cpu = (cpu + 1) % CPU_SETSIZE;
    } while (!CPU_ISSET(cpu, &all));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    for (auto &thread : threads) pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
    victim::exercise_heap(5, static_cast<std::uint64_t>(i) + 1);
  }
  end.store(true);
  for (auto &thread : threads) thread.join();
}

constexpr victim::Scenario kScenarios[] = {
    {"one_to_one", one_to_one},
    {"one_to_many", one_to_many},
    {"many_to_one", many_to_one},
    {"many_to_many", many_to_many},
    {"ring", ring},
    {"owner_exited", owner_exited},
    {"owner_idles", owner_idles},
    {"survivors_over_generations", survivors_over_generations},
    {"fixed_live_set", fixed_live_set},
    {"on_one_processor", on_one_processor},
    {"moving_between_processors", moving_between_processors},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }

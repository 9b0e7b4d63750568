// Forks while the heap is busy: from threads, with fork handlers that allocate, many generations
// deep, behind the back of fork handlers, and around the C library's own locks. Run by lifecycle_test.
// Invariant: every child has a working heap with its parent's blocks intact, and the parent never notices.
// Linked to early_module, whose fork handlers were registered before the allocator's constructor ran.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "early_module.h"
#include "victim.h"

namespace {

constexpr unsigned kChildWatchdogSeconds = 20;

std::atomic<bool> g_stop{false};

void *allocate_0_to_40_kb(void *raw) {
  victim::Random random(reinterpret_cast<std::uintptr_t>(raw) + victim::seed());
  void *held[64] = {};
  while (!g_stop.load(std::memory_order_relaxed)) {
    void *&slot = held[random.below(64)];
    if (slot != nullptr) victim::check_and_free(slot);
    slot = victim::make_cookie(random.below(40'000), random.next());
  }
  for (auto *block : held) {
    if (block != nullptr) victim::check_and_free(block);
  }
  return nullptr;
}

class BusyThreads {
 public:
  explicit BusyThreads(int count) : count_(count) {
    g_stop.store(false);
    for (int i = 0; i < count_; ++i) {
      void *number = reinterpret_cast<void *>(static_cast<std::uintptr_t>(i) + 1);
      VICTIM_CHECK(pthread_create(&threads_[i], nullptr, allocate_0_to_40_kb, number) == 0);
    }
  }
  ~BusyThreads() {
    g_stop.store(true);
    for (int i = 0; i < count_; ++i) pthread_join(threads_[i], nullptr);
  }
  BusyThreads(const BusyThreads &) = delete;
  BusyThreads &operator=(const BusyThreads &) = delete;

 private:
  int count_;
  pthread_t threads_[8];
};

// Blocks of the parent a child can look at and free.
struct Inheritance {
  void *blocks[100];
  Inheritance() {
    for (std::size_t i = 0; i < 100; ++i) blocks[i] = victim::make_cookie(i * i * 4, i + 5);
  }
  void check() const {
    for (auto *block : blocks) VICTIM_CHECK(victim::cookie_intact(block));
  }
  void release() const {
    for (auto *block : blocks) victim::check_and_free(block);
  }
};

void *thread_of_child(void *) {
  victim::exercise_heap(50, 17);
  return nullptr;
}

// What a child does with the heap it inherited: 200 blocks, 2 MiB, a thread.
void live_as_child(const Inheritance *inheritance) {
  alarm(kChildWatchdogSeconds);
  void *blocks[200];
  for (std::size_t i = 0; i < 200; ++i) blocks[i] = victim::make_cookie((i * 1'237) % 40'000, i);
  void *large = victim::make_cookie(2 << 20, 1);
  if (inheritance != nullptr) inheritance->release();
  pthread_t thread;
  VICTIM_CHECK(pthread_create(&thread, nullptr, thread_of_child, nullptr) == 0);
  for (auto *block : blocks) victim::check_and_free(block);
  victim::check_and_free(large);
  pthread_join(thread, nullptr);
}

pid_t checked_fork() {
  const pid_t pid = fork();
  VICTIM_CHECK(pid >= 0);
  return pid;
}

void storm() {
  const Inheritance inheritance;
  const BusyThreads busy(4);
  const double limit = victim::scaled(5);
  for (int i = 0; i < victim::scaled(400) && victim::seconds_since_start() < limit; ++i) {
    const pid_t child = checked_fork();
    if (child == 0) {
      live_as_child(&inheritance);
      exit(0);
    }
    victim::expect_child_succeeds(child);
    inheritance.check();
  }
}

void *fork_repeatedly(void *) {
  const double limit = victim::scaled(4);
  for (int i = 0; i < victim::scaled(80) && victim::seconds_since_start() < limit; ++i) {
    const pid_t child = checked_fork();
    if (child == 0) {
      live_as_child(nullptr);
      _exit(0);
    }
    victim::expect_child_succeeds(child);
  }
  return nullptr;
}
void storm_from_several_threads() {
  const BusyThreads busy(2);
  pthread_t forkers[3];
  for (auto &thread : forkers) VICTIM_CHECK(pthread_create(&thread, nullptr, fork_repeatedly, nullptr) == 0);
  for (auto thread : forkers) pthread_join(thread, nullptr);
}

// Threads that overflow and empty the bins of one size without end: a fork then catches them in the middle
// of moving blocks between a cache and what lies behind it, which the child has to make sense of.
void *flood_and_drain(void *raw) {
  const auto size = reinterpret_cast<std::uintptr_t>(raw);
  void *blocks[300];
  while (!g_stop.load(std::memory_order_relaxed)) {
    for (auto *&block : blocks) block = victim::make_cookie(size, size);
    for (auto *block : blocks) victim::check_and_free(block);
  }
  return nullptr;
}
void while_caches_overflow() {
  static constexpr std::uintptr_t kSizes[] = {24, 200, 900, 3'000, 9'000, 13'000, 24'000, 32'000};
  const int forks = victim::scaled(60);
  for (const std::uintptr_t size : kSizes) {
    g_stop.store(false);
    pthread_t threads[2];
    for (auto &thread : threads) {
      VICTIM_CHECK(pthread_create(&thread, nullptr, flood_and_drain, reinterpret_cast<void *>(size)) == 0);
    }
    for (int i = 0; i < forks; ++i) {
      const pid_t child = checked_fork();
      if (child == 0) {
        alarm(kChildWatchdogSeconds);
        void *blocks[600];
        for (auto *&block : blocks) block = victim::make_cookie(size, 3);
        for (auto *block : blocks) victim::check_and_free(block);
        _exit(0);
      }
      victim::expect_child_succeeds(child);
    }
    g_stop.store(true);
    for (auto thread : threads) pthread_join(thread, nullptr);
  }
}

// Fork handlers registered before the allocator's (early_module) and after it (here), all of them allocating.
int g_prepared, g_in_parent, g_in_children;
void *g_between;
void prepare() {
  g_between = victim::make_cookie(300, 1);
  victim::exercise_heap(5, 3);
  ++g_prepared;
}
void parent() {
  victim::check_and_free(g_between);
  victim::exercise_heap(5, 4);
  ++g_in_parent;
}
void child() {
  victim::check_and_free(g_between);
  victim::exercise_heap(5, 5);
  ++g_in_children;
}
void atfork_handlers_allocate() {
  let_early_fork_handlers_act();
  VICTIM_CHECK(pthread_atfork(prepare, parent, child) == 0);
  const BusyThreads busy(3);
  const int forks = victim::scaled(200);
  for (int i = 0; i < forks; ++i) {
    const pid_t pid = checked_fork();
    if (pid == 0) {
      VICTIM_CHECK(g_in_children == 1 && early_forks_seen() == 1);
      live_as_child(nullptr);
      _exit(0);
    }
    victim::expect_child_succeeds(pid);
  }
  VICTIM_CHECK(g_prepared == forks && g_in_parent == forks && g_in_children == 0);
}

// The C library locks its streams around fork while other threads hold a stream and want the heap.
void *read_lines(void *) {
  char text[600];
  std::memset(text, 'l', sizeof text);
  text[300] = text[599] = '\n';
  while (!g_stop.load()) {
    FILE *in = fmemopen(text, sizeof text, "r");
    VICTIM_CHECK(in != nullptr);
    char *line = nullptr;
    std::size_t capacity = 0;
    while (getline(&line, &capacity, in) > 0) {
    }
    std::free(line);
    std::fclose(in);
  }
  return nullptr;
}
void *flush_all(void *) {
  while (!g_stop.load()) {
    std::fflush(nullptr);
    sched_yield();
  }
  return nullptr;
}
void with_getline_and_fflush() {
  pthread_t threads[3];
  g_stop.store(false);
  VICTIM_CHECK(pthread_create(&threads[0], nullptr, read_lines, nullptr) == 0);
  VICTIM_CHECK(pthread_create(&threads[1], nullptr, read_lines, nullptr) == 0);
  VICTIM_CHECK(pthread_create(&threads[2], nullptr, flush_all, nullptr) == 0);
  for (int i = 0; i < victim::scaled(300); ++i) {
    const pid_t pid = checked_fork();
    if (pid == 0) {
      live_as_child(nullptr);
      exit(0);
    }
    victim::expect_child_succeeds(pid);
  }
  g_stop.store(true);
  for (auto thread : threads) pthread_join(thread, nullptr);
}

void descend(int generations) {
  alarm(60);
  const Inheritance inheritance;
  const BusyThreads busy(2);
  victim::exercise_heap(50, static_cast<std::uint64_t>(generations) + 1);
  if (generations == 0) return;
  const pid_t pid = checked_fork();
  if (pid == 0) {
    inheritance.release();
    descend(generations - 1);
    _exit(0);
  }
  victim::expect_child_succeeds(pid);
  inheritance.check();
}
void five_generations() {
  for (int i = 0; i < victim::scaled(10); ++i) descend(5);
}

// Children made behind the back of fork handlers: they must be able to exec; while the process has only
// one thread they may also use the heap.
void exec_true() {
  char name[] = "true";
  char *argv[] = {name, nullptr};
  execv("/bin/true", argv);
  _exit(9);
}
pid_t raw_clone() { return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }

void without_handlers_then_exec() {
  const BusyThreads busy(3);
  for (int i = 0; i < victim::scaled(100); ++i) {
    const pid_t pid = i % 2 == 0 ? raw_clone() : _Fork();
    if (pid == 0) exec_true();
    victim::expect_child_succeeds(pid);
  }
}
void without_handlers_one_thread() {
  const Inheritance inheritance;
  for (int i = 0; i < victim::scaled(100); ++i) {
    const pid_t pid = i % 2 == 0 ? raw_clone() : _Fork();
    if (pid == 0) {
      inheritance.release();
      victim::exercise_heap(100, 6);
      exec_true();
    }
    victim::expect_child_succeeds(pid);
    inheritance.check();
  }
}

constexpr victim::Scenario kScenarios[] = {
    {"storm", storm},
    {"storm_from_several_threads", storm_from_several_threads},
    {"while_caches_overflow", while_caches_overflow},
    {"atfork_handlers_allocate", atfork_handlers_allocate},
    {"with_getline_and_fflush", with_getline_and_fflush},
    {"five_generations", five_generations},
    {"without_handlers_then_exec", without_handlers_then_exec},
    {"without_handlers_one_thread", without_handlers_one_thread},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }

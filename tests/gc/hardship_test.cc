// Situations that collectors have been known to fail in, with cycles going on: structures that are deep or wide,
// calls that block, locks of the program's, programs that are started, forks, debuggers, limits, the time before main
// and after it. SCENARIOS.md lists them. Invariant: nothing depends on time; what hangs is ended by the test's
// timeout.
#include "cycles.h"
#include "herd.h"
#include "tests/allocator/own_process.h"
#include "tests/allocator/tasks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace warren::gc_tests {
namespace {

struct Node {
  Node *next;
  uint64_t number;
};

Node *make_list(size_t length) {
  Node *first = nullptr;
  for (size_t i = length; i-- != 0;) {
    auto *node = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
    node->next = first;
    node->number = i;
    first = node;
  }
  return first;
}

bool is_whole(const Node *list, size_t length) {
  size_t seen = 0;
  for (; list != nullptr; list = list->next) {
    if (list->number != seen++) return false;
  }
  return seen == length;
}

// Made before main, by a thread that has called nothing of the collector's yet.
Node *early_list = nullptr;
__attribute__((constructor)) void before_main() {
  early_list = make_list(1000);
  wr_gc_collect();
}

// --- shapes ---

TEST(Shapes, AListOfTenMillion) {
  constexpr size_t kLength = 10'000'000;
  Node *list = make_list(kLength);
  wr_gc_collect();
  EXPECT_TRUE(is_whole(list, kLength));
  list = nullptr;
  wr_gc_collect();
}

TEST(Shapes, AMillionInOneArrayAndEachItsOwnReferent) {
  constexpr size_t kCount = 1'000'000;
  auto **array = static_cast<Node **>(wr_gc_malloc(kCount * sizeof(Node *)));
  for (size_t i = 0; i < kCount; ++i) {
    array[i] = static_cast<Node *>(wr_gc_malloc(sizeof(Node)));
    array[i]->next = array[i];
    array[i]->number = i;
  }
  wr_gc_collect();
  for (size_t i = 0; i < kCount; ++i) ASSERT_TRUE(array[i]->next == array[i] && array[i]->number == i);
}

// --- the program's calls ---

// A thread that blocks sleeps on through cycles, and its call ends as it should.
template <class Block, class Finish>
void collect_during(Block block, Finish finish) {
  std::atomic<int> id{0};
  std::atomic<bool> done{false};
  std::thread thread([&] {
    id = static_cast<int>(syscall(SYS_gettid));
    block();
    done = true;
  });
  while (id == 0 || state_of(id) != 'S') sched_yield();
  for (int i = 0; i < 20; ++i) wr_gc_collect();
  EXPECT_FALSE(done);
  finish();
  thread.join();
}

TEST(BlockedCalls, DoNotReturnEarly) {
  int ends[2], sockets[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  char byte = 0;
  collect_during([&] { EXPECT_EQ(read(ends[0], &byte, 1), 1); }, [&] { EXPECT_EQ(write(ends[1], "x", 1), 1); });
  collect_during([&] { EXPECT_EQ(recv(sockets[0], &byte, 1, 0), 1); }, [&] { EXPECT_EQ(send(sockets[1], "x", 1, 0), 1); });
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  collect_during([&] { EXPECT_EQ(sem_wait(&semaphore), 0); }, [&] { sem_post(&semaphore); });
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  bool ready = false;
  collect_during(
      [&] {
        pthread_mutex_lock(&mutex);
        while (!ready) EXPECT_EQ(pthread_cond_wait(&condition, &mutex), 0);
        pthread_mutex_unlock(&mutex);
      },
      [&] {
        pthread_mutex_lock(&mutex);
        ready = true;
        pthread_mutex_unlock(&mutex);
        pthread_cond_signal(&condition);
      });
  const pid_t child = fork();
  if (child == 0) {
    close(ends[1]);
    _exit(read(ends[0], &byte, 1) == 1 ? 5 : 6);
  }
  int status = 0;
  collect_during([&] { EXPECT_EQ(waitpid(child, &status, 0), child); }, [&] { EXPECT_EQ(write(ends[1], "x", 1), 1); });
  EXPECT_EQ(WEXITSTATUS(status), 5);
  for (const int fd : {ends[0], ends[1], sockets[0], sockets[1]}) close(fd);
}

// Whatever lock a thread is stopped with, the collector does not want it.
TEST(Locks, OfLibcAndTheLoader) {
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    FILE *file = fopen("/dev/null", "w");
    for (int i = 0; !over; ++i) fprintf(file, "%d %s\n", i, "text");
    fclose(file);
  });
  threads.emplace_back([&] {
    while (!over) free(malloc(100'000));
  });
  threads.emplace_back([&] {
    while (!over) dl_iterate_phdr([](dl_phdr_info *, size_t, void *) { return 0; }, nullptr);
  });
  threads.emplace_back([&] {
    while (!over) {
      void *library = dlopen(MODULE_DIRECTORY "/libother_module.so", RTLD_NOW);
      if (library == nullptr) abort();
      dlclose(library);
    }
  });
  Node *list = make_list(1000);
  for (int i = 0; i < 30; ++i) wr_gc_collect();
  over = true;
  for (std::thread &thread : threads) thread.join();
  EXPECT_TRUE(is_whole(list, 1000));
}

pid_t start_by_vfork(char *const *arguments) {
  const pid_t child = vfork();
  if (child == 0) {
    execve("/bin/sh", arguments, environ);
    _exit(1);
  }
  return child;
}

TEST(Programs, AreStartedInEveryWay) {
  const Cycles cycles;
  Node *list = make_list(1000);
  for (int i = 0; i < 10; ++i) {
    FILE *output = popen("echo word", "r");
    ASSERT_NE(output, nullptr);
    char text[16] = "";
    while (fgets(text, sizeof text, output) == nullptr && errno == EINTR) clearerr(output);
    EXPECT_STREQ(text, "word\n");
    EXPECT_EQ(pclose(output), 0);
    EXPECT_EQ(WEXITSTATUS(system("exit 9")), 9);
    char *const arguments[] = {const_cast<char *>("sh"), const_cast<char *>("-c"), const_cast<char *>("exit 8"), nullptr};
    pid_t child;
    ASSERT_EQ(posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ), 0);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
    EXPECT_EQ(WEXITSTATUS(status), 8);
    child = start_by_vfork(arguments);
    while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
    EXPECT_EQ(WEXITSTATUS(status), 8);
  }
  EXPECT_TRUE(is_whole(list, 1000));
}

__attribute__((noinline)) void jump_back(jmp_buf &buffer, int value) {
  char frame[512];
  memset(frame, value, sizeof frame);
  asm volatile("" : : "r"(frame) : "memory");
  wr_gc_collect();
  longjmp(buffer, value);
}

TEST(Jumps, KeepWhatTheFrameHolds) {
  jmp_buf buffer;
  Node *const list = make_list(1000);
  const int round = setjmp(buffer);
  ASSERT_TRUE(is_whole(list, 1000));
  if (round < 10) jump_back(buffer, round + 1);
}

// A handler on another stack holds the only pointer while cycles run, and is left by a jump.
sigjmp_buf out_of_the_handler;
const Cycles *cycles_now = nullptr;

void on_alternate_stack(int) {
  Node *const list = make_list(1000);
  cycles_now->await_more(2);
  if (is_whole(list, 1000)) siglongjmp(out_of_the_handler, 1);
  siglongjmp(out_of_the_handler, 2);
}

TEST(Jumps, OutOfAHandlerOnAnAlternateStack) {
  const Cycles cycles;
  cycles_now = &cycles;
  std::vector<char> memory(1 << 16);
  stack_t stack{}, before{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  ASSERT_EQ(sigaltstack(&stack, &before), 0);
  struct sigaction action {};
  action.sa_handler = on_alternate_stack;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &action, nullptr);
  Node *const list = make_list(1000);
  static int i;  // no jump loses it
  for (i = 0; i < 5; ++i) {
    const int result = sigsetjmp(out_of_the_handler, 1);
    if (result == 0) raise(SIGUSR2);
    EXPECT_EQ(result, 1);
  }
  EXPECT_TRUE(is_whole(list, 1000));
  sigaltstack(&before, nullptr);
  signal(SIGUSR2, SIG_DFL);
}

// --- processes ---

// Children collect as their parent does, and neither sees anything of the other's cycles.
TEST(Forks, BothSidesCollect) {
  const Cycles cycles;
  Node *list = make_list(1000);
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      Node *own = make_list(500);
      for (int cycle = 0; cycle < 100; ++cycle) wr_gc_collect();
      bool good = is_whole(list, 1000) && is_whole(own, 500);
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        wr_gc_collect();
        _exit(is_whole(list, 1000) && is_whole(own, 500) ? 0 : 1);
      }
      int status = 0;
      while (waitpid(grandchild, &status, 0) < 0) {
      }
      good = good && status == 0;
      std::thread([&] { good = good && is_whole(make_list(500), 500); }).join();
      wr_gc_collect();
      _exit(good && is_whole(list, 1000) ? 0 : 1);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(is_whole(list, 1000));
}

// Handlers of the program's, and libc on its way to the fork, wait for locks that other threads have: these must run
// on.
pthread_mutex_t of_the_handlers = PTHREAD_MUTEX_INITIALIZER;
__attribute__((constructor)) void register_handlers() {
  pthread_atfork([] { pthread_mutex_lock(&of_the_handlers); }, [] { pthread_mutex_unlock(&of_the_handlers); },
                 [] { pthread_mutex_unlock(&of_the_handlers); });
}

TEST(Forks, WaitForLocksOfOtherThreads) {
  const Cycles cycles;
  std::atomic<bool> over{false};
  std::thread handler([&] {
    while (!over) {
      pthread_mutex_lock(&of_the_handlers);
      for (int i = 0; i < 10; ++i) wr_gc_malloc(64);
      pthread_mutex_unlock(&of_the_handlers);
    }
  });
  std::thread stdio([&] {
    while (!over) fclose(fopen("/dev/null", "w"));
  });
  Node *list = make_list(1000);
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (int allocated = 0; allocated < 1000; ++allocated) wr_gc_malloc(64);
      wr_gc_collect();
      _exit(is_whole(list, 1000) ? 0 : 1);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
    EXPECT_EQ(status, 0);
  }
  over = true;
  handler.join();
  stdio.join();
  EXPECT_TRUE(is_whole(list, 1000));
}

// Nothing is stopped without a descriptor: threads are in the middle of something when the child is made, which must find a heap
// that is whole.
TEST(Forks, AmidChangesToTheHeap) {
  in_own_process([] {
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{0, before.rlim_max};
    wr_gc_collect();
    Node *list = make_list(10'000);
    std::atomic<bool> over{false};
    std::atomic<int> began{0};
    std::vector<std::thread> threads;
    for (size_t number = 0; number < 3; ++number) {
      threads.emplace_back([&, number] {
        const size_t size = size_t{900} << number;
        void *held[64] = {};
        for (size_t i = 0; !over; ++i) {
          void *&place = held[i * 7 % 64];
          if (i % 3 == 0 && place != nullptr) wr_gc_free(place);
          place = wr_gc_malloc(size);
          if (i == 1000) ++began;
        }
      });
    }
    const Cycles cycles;
    while (began < 3) sched_yield();
    for (int i = 0; i < 30; ++i) {
      if (i % 5 == 0) cycles.await_more(1);
      setrlimit(RLIMIT_NOFILE, &none);
      const pid_t child = fork();
      if (child == 0) {
        alarm(60);
        setrlimit(RLIMIT_NOFILE, &before);
        Node *own = make_list(1000);
        for (int round = 0; round < 4; ++round) {
          wr_gc_collect();
          for (size_t size = 900; size < 4000; size *= 2) {
            for (int count = 0; count < 200; ++count) memset(wr_gc_malloc(size), 0x5a, size);
          }
        }
        _exit(is_whole(list, 10'000) && is_whole(own, 1000) ? 0 : 1);
      }
      setrlimit(RLIMIT_NOFILE, &before);
      int status = 0;
      while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
      ASSERT_EQ(status, 0) << "fork " << i;
    }
    over = true;
    for (std::thread &thread : threads) thread.join();
    EXPECT_TRUE(is_whole(list, 10'000));
  });
}

// Threads that cannot be stopped: by no signal, and for as long as they like.
TEST(Forks, BesideAThreadThatNoSignalReaches) {
  in_own_process([] {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    std::atomic<int> id{0};
    Node *list = make_list(1000);
    std::thread deaf([&] {
      sigset_t everything;
      memset(&everything, 0xff, sizeof everything);  // also what libc keeps out of each
      pollfd one{ends[0], POLLIN, 0};
      id = static_cast<int>(syscall(SYS_gettid));
      while (syscall(SYS_ppoll, &one, 1, nullptr, &everything, sizeof(uint64_t)) != 1) {  // libc's name would leave it open
      }
    });
    while (id == 0 || state_of(id) != 'S') sched_yield();
    std::atomic<bool> collected{false};
    std::thread collecting([&] {
      wr_gc_collect();
      collected = true;
    });
    for (int i = 0; i < 3; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        wr_gc_collect();
        _exit(is_whole(list, 1000) && is_whole(make_list(1000), 1000) ? 0 : 1);
      }
      int status = 0;
      while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
      EXPECT_EQ(status, 0);
      wr_gc_free(wr_gc_malloc(size_t{1} << 20));
    }
    EXPECT_FALSE(collected);
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    collecting.join();
    deaf.join();
    EXPECT_TRUE(is_whole(list, 1000));
  });
}

// A thread that a debugger holds cannot be stopped: the others run on, and the cycle ends when it is let go.
TEST(Debuggers, HoldAThread) {
  int commands[2], answers[2];
  ASSERT_EQ(pipe(commands), 0);
  ASSERT_EQ(pipe(answers), 0);
  std::atomic<int> id{0};
  std::atomic<bool> over{false};
  std::atomic<uint64_t> steps{0};
  std::thread held([&] {
    id = static_cast<int>(syscall(SYS_gettid));
    while (!over) sched_yield();
  });
  std::thread free_one([&] {
    while (!over) {
      ++steps;
      sched_yield();
    }
  });
  while (id == 0) sched_yield();
  const pid_t tracer = fork();
  if (tracer == 0) {
    char byte;
    if (read(commands[0], &byte, 1) != 1) _exit(1);
    bool good = ptrace(PTRACE_SEIZE, id.load(), nullptr, nullptr) == 0 && ptrace(PTRACE_INTERRUPT, id.load(), nullptr, nullptr) == 0;
    good = good && waitpid(id, nullptr, __WALL) == id;
    if (write(answers[1], good ? "y" : "n", 1) != 1 || read(commands[0], &byte, 1) != 1) _exit(1);
    if (good) ptrace(PTRACE_DETACH, id.load(), nullptr, nullptr);
    _exit(0);
  }
  prctl(PR_SET_PTRACER, tracer, 0, 0, 0);
  char answer = 0;
  EXPECT_EQ(write(commands[1], "x", 1), 1);
  while (read(answers[0], &answer, 1) < 0) ASSERT_EQ(errno, EINTR);
  std::atomic<bool> collected{false};
  std::thread collecting([&] {
    wr_gc_collect();
    collected = true;
  });
  if (answer == 'y') {
    const uint64_t before = steps;
    while (steps < before + 10'000) sched_yield();
    EXPECT_FALSE(collected);
  }
  EXPECT_EQ(write(commands[1], "x", 1), 1);
  collecting.join();
  over = true;
  held.join();
  free_one.join();
  while (waitpid(tracer, nullptr, 0) < 0) ASSERT_EQ(errno, EINTR);
  for (const int fd : {commands[0], commands[1], answers[0], answers[1]}) close(fd);
  if (answer != 'y') GTEST_SKIP() << "this sandbox lets nobody trace";
}

// --- limits ---

size_t data_bytes() {
  size_t total = 0, resident, shared, text, library, data = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == nullptr || fscanf(file, "%zu %zu %zu %zu %zu %zu", &total, &resident, &shared, &text, &library, &data) != 6) abort();
  fclose(file);
  return data * 4096;
}

// On a stack that is gone afterwards, so that nothing holds the list then.
void fill_memory() {
  struct Large {
    Large *next;
    uint64_t number;
    char rest[1000];
  };
  Large *first = nullptr;
  uint64_t count = 0;
  for (;; ++count) {
    auto *fresh = static_cast<Large *>(wr_gc_malloc(sizeof(Large)));
    if (fresh == nullptr) break;
    fresh->next = first;
    fresh->number = count;
    first = fresh;
  }
  const int error = errno;
  if (error != ENOMEM || count < 10'000) {
    fprintf(stderr, "error %d after %llu objects\n", error, static_cast<unsigned long long>(count));
    _exit(1);
  }
  wr_gc_collect();
  for (const Large *at = first; at != nullptr; at = at->next) {
    if (at->number != --count) _exit(2);
  }
  if (count != 0) _exit(3);
}

// NULL and ENOMEM when what is live fills the limit; and all is well when it has died.
void fill_the_limit() {
  wr_gc_collect();
  const rlimit limit{data_bytes() + (size_t{48} << 20), RLIM_INFINITY};
  if (setrlimit(RLIMIT_DATA, &limit) != 0) _exit(4);
  for (int round = 0; round < 3; ++round) {
    apart(fill_memory);
    wr_gc_collect();
  }
  _exit(0);
}

TEST(LimitsDeathTest, OfMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(fill_the_limit(), testing::ExitedWithCode(0), "");
}

// Without a descriptor no cycle gets any further. It must not keep the program from what it wants meanwhile.
TEST(Limits, OfDescriptors) {
  in_own_process([] {
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{0, before.rlim_max};
    Node *list = make_list(1000);
    wr_gc_collect();  // the mechanism that sees stores needs descriptors once
    const auto fork_and_allocate = [&] {
      const pid_t child = fork();
      if (child == 0) _exit(is_whole(list, 1000) ? 0 : 1);
      int status = -1;
      while (waitpid(child, &status, 0) < 0) ASSERT_EQ(errno, EINTR);
      EXPECT_EQ(status, 0);
      wr_gc_free(wr_gc_malloc(size_t{1} << 20));
      for (int allocated = 0; allocated < 10; ++allocated) wr_gc_malloc(size_t{100} << 10);
    };
    // A cycle that cannot begin.
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    std::thread collecting([] { wr_gc_collect(); });
    for (int i = 0; i < 30; ++i) {
      fork_and_allocate();
      usleep(1000);
    }
    setrlimit(RLIMIT_NOFILE, &before);
    collecting.join();
    // And some that cannot end.
    const Cycles cycles;
    for (unsigned i = 0; i < 50; ++i) {
      cycles.await_more(1);
      usleep(i % 10 * 200);
      setrlimit(RLIMIT_NOFILE, &none);
      fork_and_allocate();
      setrlimit(RLIMIT_NOFILE, &before);
    }
    EXPECT_TRUE(is_whole(list, 1000));
  });
}

// --- finalizers ---

void throw_from_a_finalizer() {
  apart([] {
    for (int i = 0; i < 100; ++i) wr_gc_set_finalizer(wr_gc_malloc(48), [](void *, void *) { throw 5; }, nullptr);
  });
  for (;;) wr_gc_collect();
}

TEST(FinalizersDeathTest, ThatThrowEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(throw_from_a_finalizer(), testing::KilledBySignal(SIGABRT), "terminate called after throwing");
}

// --- before main, after it, and at the ends of threads ---

TEST(Beginnings, BeforeMain) {
  wr_gc_collect();
  EXPECT_TRUE(is_whole(early_list, 1000));
}

struct AtThreadEnd {
  Node *list = nullptr;
  bool *good = nullptr;
  ~AtThreadEnd() {
    wr_gc_collect();
    *good = is_whole(list, 1000) && is_whole(make_list(1000), 1000);
  }
};
thread_local AtThreadEnd at_thread_end;

TEST(Ends, OfAThread) {
  bool good = false;
  std::thread([&] {
    at_thread_end.list = make_list(1000);
    at_thread_end.good = &good;
    wr_gc_collect();
  }).join();
  EXPECT_TRUE(good);
}

Node *late_list = nullptr;

void collect_at_exit() {
  wr_gc_collect();
  if (!is_whole(late_list, 1000) || !is_whole(make_list(1000), 1000)) _exit(1);
}

// The program ends while threads allocate and collect, and finalizers run: with its own status, and no complaint.
void end_amid_cycles() {
  late_list = make_list(1000);
  atexit(collect_at_exit);
  for (int i = 0; i < 3; ++i) {
    std::thread([] {
      for (;;) {
        void *object = wr_gc_malloc(48);
        wr_gc_set_finalizer(object, [](void *, void *) { wr_gc_malloc(48); }, nullptr);
      }
    }).detach();
  }
  std::thread([] {
    for (;;) wr_gc_collect();
  }).detach();
  for (int i = 0; i < 3; ++i) wr_gc_collect();
  exit(7);
}

TEST(EndsDeathTest, OfTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (int i = 0; i < 5; ++i) EXPECT_EXIT(end_amid_cycles(), testing::ExitedWithCode(7), "^$");
}

}  // namespace
}  // namespace warren::gc_tests

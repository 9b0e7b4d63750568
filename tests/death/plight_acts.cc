// Acts that free a block twice where dying is hard: without a usable stderr, in a signal handler, on a tiny
// stack, before main, after main, in a forked child, with SIGABRT blocked or ignored. Played by misuse_victim.
// Invariant: whatever the surroundings, the process must end by SIGABRT; the text is judged by the driver.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "misuse.h"

namespace misuse {
namespace {

const Deed *g_deed;  // for handlers, which get no argument

void free_twice(const Deed &deed) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  deed.finish(p);
}
void free_g_deed_twice(int) { free_twice(*g_deed); }
void free_g_deed_twice_at_exit() { free_twice(*g_deed); }

void handle(int signal_number, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(signal_number, &action, nullptr);
}

void in_signal_handler(const Deed &deed) {
  g_deed = &deed;
  handle(SIGUSR1, free_g_deed_twice, 0);
  raise(SIGUSR1);
}

void in_handler_on_small_stack(const Deed &deed) {
  g_deed = &deed;
  const auto bytes = static_cast<std::size_t>(sysconf(_SC_MINSIGSTKSZ)) + 8192;
  stack_t stack{};
  stack.ss_size = bytes;
  stack.ss_sp = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sigaltstack(&stack, nullptr);
  handle(SIGUSR1, free_g_deed_twice, SA_ONSTACK);
  raise(SIGUSR1);
}

// The handler interrupts the heap itself, often while it holds a lock, and then errs: with a freed block,
// or where the pages of a freed block could serve another one by then, with the inside of a live block.
char *g_bad_pointer;
void misuse_bad_pointer(int) { g_deed->finish(g_bad_pointer); }
void in_handler_that_interrupted_the_heap(const Deed &deed) {
  g_deed = &deed;
  g_bad_pointer = deed.make_block();
  if (deed.size > 32'768) {
    g_bad_pointer += 16;
  } else {
    deed.free_rightly(g_bad_pointer);
  }
  // The loop uses other sizes, so the freed block stays free.
  const Deed other{deed.size < 30'000 ? 100'000U : 3'000U, deed.releaser, deed.origin};
  char *blocks[16] = {};
  handle(SIGALRM, misuse_bad_pointer, 0);
  itimerval once{};
  once.it_value.tv_usec = 2'000;
  setitimer(ITIMER_REAL, &once, nullptr);
  for (std::size_t i = 0;; i = (i + 5) % 16) {
    if (blocks[i] != nullptr) other.free_rightly(blocks[i]);
    blocks[i] = other.make_block(other.size + i * 100);
  }
}

void *thread_free_twice(void *raw) {
  free_twice(*static_cast<const Deed *>(raw));
  return nullptr;
}

void in_thread_with_smallest_stack(const Deed &deed) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(PTHREAD_STACK_MIN)) != 0) skip_case();
  pthread_t thread;
  if (pthread_create(&thread, &attributes, thread_free_twice, const_cast<Deed *>(&deed)) != 0) skip_case();
  pthread_join(thread, nullptr);
}

// Waits for a child that is to die, then dies by the same signal.
void die_like(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, __WALL) != child) act_failed("waitpid");
  if (!WIFSIGNALED(status)) return;
  handle(WTERMSIG(status), SIG_DFL, 0);
  kill(getpid(), WTERMSIG(status));
}

void in_forked_child(const Deed &deed) {
  char *volatile warm = deed.make_block();
  if (warm == nullptr) return;
  const pid_t child = fork();
  if (child == 0) {
    free_twice(deed);
    _exit(0);
  }
  die_like(child);
}

void of_parents_block_in_forked_child(const Deed &deed) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  const pid_t child = fork();
  if (child == 0) {
    deed.finish(p);
    _exit(0);
  }
  die_like(child);
}

void *allocate_for_ever(void *raw) {
  const auto *deed = static_cast<const Deed *>(raw);
  for (;;) deed->free_rightly(deed->make_block());
}

void in_forked_child_of_threads(const Deed &deed) {
  for (int i = 0; i < 3; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, allocate_for_ever, const_cast<Deed *>(&deed)) != 0) skip_case();
  }
  in_forked_child(deed);
}

// No handlers of pthread_atfork run here: the allocator may not know that it was forked.
void in_raw_cloned_child(const Deed &deed) {
  char *p = deed.make_block();
  deed.free_rightly(p);
  const auto child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    deed.finish(p);
    _exit(0);
  }
  die_like(child);
}

void while_threads_allocate(const Deed &deed) {
  for (int i = 0; i < 3; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, allocate_for_ever, const_cast<Deed *>(&deed)) != 0) skip_case();
  }
  char *p = deed.make_block();
  sched_yield();
  deed.free_rightly(p);
  deed.finish(p);
}

void on_two_threads_at_once(const Deed &deed) {
  pthread_t threads[2];
  for (auto &thread : threads) {
    if (pthread_create(&thread, nullptr, thread_free_twice, const_cast<Deed *>(&deed)) != 0) skip_case();
  }
  for (auto &thread : threads) pthread_join(thread, nullptr);
}

void in_atexit(const Deed &deed) {
  g_deed = &deed;
  atexit(free_g_deed_twice_at_exit);
  exit(0);
}

void in_quick_exit(const Deed &deed) {
  g_deed = &deed;
  at_quick_exit(free_g_deed_twice_at_exit);
  quick_exit(0);
}

void in_thread_local_destructor(const Deed &deed) {
  static const Deed *shared;
  shared = &deed;
  struct Bomb {
    bool armed = false;
    ~Bomb() {
      if (armed) free_twice(*shared);
    }
  };
  run_on_thread(
      [](void *) {
        static thread_local Bomb bomb;
        bomb.armed = true;
      },
      nullptr);
}

void in_key_destructor(const Deed &deed) {
  pthread_key_t key;
  pthread_key_create(&key, [](void *raw) { free_twice(*static_cast<const Deed *>(raw)); });
  g_deed = &deed;
  static pthread_key_t shared;
  shared = key;
  run_on_thread([](void *) { pthread_setspecific(shared, g_deed); }, nullptr);
}

bool g_acted_before_main;
void in_constructor(const Deed &) {
  if (!g_acted_before_main) act_failed("the constructor did not act");
}

// Runs before main when the driver asks for it, with plain malloc and free.
__attribute__((constructor)) void act_before_main(int argc, char **argv, char **) {
  if (argc < 2 || std::strcmp(argv[1], "in_constructor") != 0) return;
  g_acted_before_main = true;
  const Deed deed{100, &releasers()[0], &origins()[0]};
  free_twice(deed);
}

void with_sigabrt_ignored(const Deed &deed) {
  handle(SIGABRT, SIG_IGN, 0);
  free_twice(deed);
}

void with_sigabrt_blocked(const Deed &deed) {
  sigset_t set;
  sigfillset(&set);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  free_twice(deed);
}

// A crash handler as programs have them: it allocates, releases, and returns.
void with_allocating_sigabrt_handler(const Deed &deed) {
  g_deed = &deed;
  handle(
      SIGABRT,
      [](int) {
        for (std::size_t n : {16U, 100U, 3'000U, 100'000U}) g_deed->free_rightly(g_deed->make_block(n));
      },
      0);
  free_twice(deed);
}

void with_sigabrt_handler_that_errs_again(const Deed &deed) {
  g_deed = &deed;
  handle(SIGABRT, free_g_deed_twice, 0);
  free_twice(deed);
}

void with_stdio_locked(const Deed &deed) {
  flockfile(stderr);
  flockfile(stdout);
  run_on_thread([](void *raw) { free_twice(*static_cast<const Deed *>(raw)); }, const_cast<Deed *>(&deed));
}

void out_of_memory(const Deed &deed) {
  char *p = deed.make_block();
  const rlimit limit{256U << 20, 256U << 20};
  if (setrlimit(RLIMIT_AS, &limit) != 0) skip_case();
  const rlimit no_files{3, 3};
  setrlimit(RLIMIT_NOFILE, &no_files);
  deed.free_rightly(p);
  void *(*volatile take)(std::size_t) = &malloc;
  void **list = nullptr;
  for (int i = 0; i < 4096; ++i) {
    void **next = static_cast<void **>(take(1U << 20));
    if (next == nullptr) break;
    *next = list;
    list = next;
  }
  deed.finish(p);
}

}  // namespace

std::span<const ActRow> plight_rows() {
  using S = ActRow::Spread;
  using E = StderrState;
  static constexpr ActRow rows[] = {
      {"stderr_closed", free_twice, kDoubleFree, S::kOnce, 0, E::kClosed},
      {"stderr_broken_pipe", free_twice, kDoubleFree, S::kOnce, 0, E::kBrokenPipe},
      {"stderr_full", free_twice, kDoubleFree, S::kOnce, 0, E::kFullDevice},
      {"in_signal_handler", in_signal_handler, kDoubleFree, S::kOnce},
      {"in_signal_handler_stderr_closed", in_signal_handler, kDoubleFree, S::kOnce, 0, E::kClosed},
      {"in_handler_that_interrupted_the_heap", in_handler_that_interrupted_the_heap, kDoubleFree | kInvalidPointer,
       S::kSizes, 100},
      {"in_handler_on_small_stack", in_handler_on_small_stack, kDoubleFree, S::kOnce},
      {"in_thread_with_smallest_stack", in_thread_with_smallest_stack, kDoubleFree, S::kOnce},
      {"in_forked_child", in_forked_child, kDoubleFree, S::kOnce},
      {"in_forked_child_stderr_closed", in_forked_child, kDoubleFree, S::kOnce, 0, E::kClosed},
      {"of_parents_block_in_forked_child", of_parents_block_in_forked_child, kDoubleFree, S::kOnce},
      {"in_forked_child_of_threads", in_forked_child_of_threads, kDoubleFree, S::kOnce},
      {"in_raw_cloned_child", in_raw_cloned_child, kDoubleFree, S::kOnce},
      {"while_threads_allocate", while_threads_allocate, kDoubleFree, S::kOnce},
      {"on_two_threads_at_once", on_two_threads_at_once, kDoubleFree, S::kOnce, 0, E::kCaptured, true},
      {"in_atexit", in_atexit, kDoubleFree, S::kOnce},
      {"in_quick_exit", in_quick_exit, kDoubleFree, S::kOnce},
      {"in_thread_local_destructor", in_thread_local_destructor, kDoubleFree, S::kOnce},
      {"in_key_destructor", in_key_destructor, kDoubleFree, S::kOnce},
      {"in_constructor", in_constructor, kDoubleFree, S::kOnce},
      {"with_sigabrt_ignored", with_sigabrt_ignored, kDoubleFree, S::kOnce},
      {"with_sigabrt_blocked", with_sigabrt_blocked, kDoubleFree, S::kOnce},
      {"with_allocating_sigabrt_handler", with_allocating_sigabrt_handler, kDoubleFree, S::kOnce},
      {"with_sigabrt_handler_that_errs_again", with_sigabrt_handler_that_errs_again, kDoubleFree, S::kOnce, 0,
       E::kCaptured, true},
      {"with_stdio_locked", with_stdio_locked, kDoubleFree, S::kOnce},
      {"out_of_memory", out_of_memory, kDoubleFree, S::kOnce},
  };
  return rows;
}

}  // namespace misuse

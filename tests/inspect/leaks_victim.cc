// A program that leaks a known set of blocks, or none: leaks_victim CASE [MODULE]. leaks_test.py runs it and knows what
// each case leaks. Invariant: a case runs on a thread of its own that has ended when the search begins, or clears its
// traces from the stack, so that nothing that was forgotten is found there.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <list>
#include <map>
#include <memory>
#include <pthread.h>
#include <semaphore.h>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

extern "C" int64_t wr_leak_check() __attribute__((weak));

namespace {

const char *module_path = "";

struct Node {
  Node *volatile next = nullptr;
  void *volatile other = nullptr;
  char rest[32] = {};
};

// Seen by the compiler as an escape, so that no store is left out.
template <class T>
T *opaque(T *pointer) {
  asm volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

__attribute__((noinline)) Node *make_node() { return opaque(new Node); }
__attribute__((noinline)) void *make_block(size_t size) { return opaque(malloc(size)); }

__attribute__((noinline)) void clear_stack() {
  char area[16384];
  memset(area, 0, sizeof area);
  asm volatile("" : : "r"(area) : "memory");
}

// Pointers that the search must not find, kept for later.
struct Hidden {
  uintptr_t bits = 0;
  explicit Hidden(void *pointer) : bits(~reinterpret_cast<uintptr_t>(pointer)) {}
  template <class T>
  T *get() const {
    return reinterpret_cast<T *>(~bits);
  }
};

// --- leaks ---

void leak_direct() {
  for (int i = 0; i < 3; ++i) make_block(48);
}

void leak_indirect() {
  Node *head = make_node();
  for (int i = 0; i < 3; ++i) {
    Node *node = make_node();
    node->next = head->next;
    head->next = node;
  }
}

void leak_ring() {
  Node *first = make_node();
  Node *last = first;
  for (int i = 0; i < 4; ++i) {
    last->next = make_node();
    last = last->next;
  }
  last->next = first;
}

Node *make_ring_of_two() {
  Node *one = make_node();
  one->next = make_node();
  one->next->next = one;
  return one;
}

// A ring that holds a ring that holds a block.
void leak_rings() {
  Node *outer = make_ring_of_two();
  Node *inner = make_ring_of_two();
  outer->next->other = inner;
  inner->other = make_block(100);
}

// Two leaks share what they hold; one points into itself.
void leak_shared() {
  Node *one = make_node(), *two = make_node();
  one->next = make_node();
  two->next = one->next;
  one->other = one;
}

void leak_freed() {
  Node *node = make_node();
  node->next = make_node();
  delete node;
}

void leak_sizes() {
  void *aligned = nullptr;
  if (posix_memalign(&aligned, 256, 300) != 0) abort();
  opaque(aligned);
  constexpr size_t kSizes[] = {1, 8, 24, 1024, 1025, 32768, 32769, 5000000};
  for (const size_t size : kSizes) {
    make_block(size);
  }
  opaque(calloc(10, 10));
  opaque(realloc(malloc(10), 2000));
  opaque(realloc(malloc(40000), 400000));
  opaque(new int(5));
  opaque(new std::string("a text that is longer than what fits inside"));
}

pthread_key_t key;
void leak_specific() {
  pthread_key_create(&key, nullptr);
  pthread_setspecific(key, make_block(200));
}

void leak_module() {
  void *library = dlopen(module_path, RTLD_NOW);
  if (library == nullptr) abort();
  reinterpret_cast<void (*)(void *)>(dlsym(library, "module_hold"))(make_block(64));
  auto *allocate = reinterpret_cast<void *(*)(void *(*)(size_t), size_t)>(dlsym(library, "module_allocate"));
  dlclose(library);
  library = dlopen(module_path, RTLD_NOW);
  allocate = reinterpret_cast<void *(*)(void *(*)(size_t), size_t)>(dlsym(library, "module_allocate"));
  allocate(malloc, 72);
  dlclose(library);
}

// On a stack that was left for good.
void leak_dead_stack() {
  std::thread([] {
    void *kept[64];
    for (void *&slot : kept) slot = make_block(80);
    opaque(kept);
  }).join();
}

void leak_dead_detached() {
  static std::atomic<bool> done{false};
  std::thread([] {
    void *kept[10];
    for (void *&slot : kept) slot = make_block(80);
    opaque(kept);
    done = true;
  }).detach();
  while (!done) usleep(1000);
  usleep(200000);  // long enough for the thread to end, if not, its stack holds them and the parent says so
}

// In memory that was unmapped, and in some that nothing points to any more.
void leak_unmapped() {
  auto **page = static_cast<void **>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  page[0] = make_block(60);
  munmap(page, 4096);
}

// --- no leaks ---

// Volatile, as are the others below: the compiler would see that nobody reads them.
void *volatile global;
thread_local void *volatile local_to_thread;

void keep_global() { global = make_node(); }
void keep_interior() { global = static_cast<char *>(make_block(1000)) + 999; }
void keep_interior_large() { global = static_cast<char *>(make_block(3000000)) + 2900000; }

void keep_static() {
  static Node *volatile node;
  node = make_node();
  node->next = make_node();
}

template <class T>
void keep_reachable(T value) {
  static T *volatile kept;
  kept = new T(std::move(value));
  opaque(kept);
}

void keep_containers() {
  std::map<std::string, std::vector<int>> tree;
  std::unordered_map<int, std::string> table;
  std::list<std::shared_ptr<Node>> list;
  for (int i = 0; i < 500; ++i) {
    tree[std::to_string(i) + " is the name of this entry"] = std::vector<int>(10, i);
    table[i] = std::string(100, 'x');
    list.push_back(std::make_shared<Node>());
  }
  keep_reachable(std::move(tree));
  keep_reachable(std::move(table));
  keep_reachable(std::move(list));
}

void keep_mapped() {
  auto **pages = static_cast<void **>(
      mmap(nullptr, size_t{1} << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  pages[100000] = make_block(60);
  global = pages + 5;
}

void keep_broken() {
  auto *top = static_cast<void **>(sbrk(8192));
  top[10] = make_block(60);
  global = top;
}

void keep_module() {
  void *library = dlopen(module_path, RTLD_NOW);
  if (library == nullptr) abort();
  reinterpret_cast<void (*)(void *)>(dlsym(library, "module_hold"))(make_block(64));
}

void keep_in_epoll() {
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  wanted.data.ptr = make_node();
  epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, eventfd(0, 0), &wanted);
}

void keep_environment() {
  setenv("LEAKS_VICTIM", "a value", 1);
  putenv(static_cast<char *>(strcpy(static_cast<char *>(make_block(50)), "LEAKS_OTHER=value")));
}

// A thread that has ended and is not joined keeps what it returned.
void keep_result() {
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void *) -> void * { return make_block(90); }, nullptr);
  usleep(100000);
}

// --- threads that are there while the search goes on ---

std::atomic<int> ready{0};
void wait_for_ever() {
  ++ready;
  for (;;) pause();
}
void start(void *(*run)(void *), void *argument, int count = 1) {
  for (int i = 0; i < count; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, run, argument) != 0) abort();
    pthread_detach(thread);
  }
  while (ready < count) usleep(1000);
}

void keep_on_stack() {
  start([](void *) -> void * {
    Node *volatile kept = make_node();
    kept->next = make_node();
    wait_for_ever();
    return kept;
  }, nullptr);
}

void keep_thread_local() {
  start([](void *) -> void * {
    local_to_thread = make_node();
    clear_stack();
    wait_for_ever();
    return nullptr;
  }, nullptr);
}

void keep_module_thread_local() {
  start([](void *) -> void * {
    void *library = dlopen(module_path, RTLD_NOW);
    if (library == nullptr) abort();
    reinterpret_cast<void (*)(void *)>(dlsym(library, "module_hold_by_thread"))(make_block(64));
    clear_stack();
    wait_for_ever();
    return nullptr;
  }, nullptr);
}

void keep_specific() {
  start([](void *) -> void * {
    // The first values lie in the control block, later ones in a block of their own.
    pthread_key_t last = 0;
    for (int i = 0; i < 40; ++i) pthread_key_create(&last, nullptr);
    pthread_setspecific(0, make_block(64));
    pthread_setspecific(last, make_block(64));
    clear_stack();
    wait_for_ever();
    return nullptr;
  }, nullptr);
}

void keep_argument() {
  start([](void *) -> void * {
    wait_for_ever();
    return nullptr;
  }, make_node());
}

void keep_closure() {
  auto block = std::make_shared<Node>();
  std::thread([block] { wait_for_ever(); }).detach();
  while (ready == 0) usleep(1000);
}

// Nowhere but in a register, while the thread runs.
std::atomic<int> stay{1};
void keep_in_register() {
  start([](void *) -> void * {
    Hidden node(make_node());
    clear_stack();
    ++ready;
    uintptr_t bits = node.bits;
    asm volatile(
        "mov %0, %%r12\n\t"
        "not %%r12\n\t"
        "1: pause\n\t"
        "cmpl $0, %1\n\t"
        "jne 1b"
        :
        : "r"(bits), "m"(stay)
        : "r12", "memory");
    return nullptr;
  }, nullptr);
}

void keep_in_vector_register() {
  start([](void *) -> void * {
    Hidden node(make_node());
    clear_stack();
    ++ready;
    uintptr_t bits = node.bits;
    asm volatile(
        "mov %0, %%r12\n\t"
        "not %%r12\n\t"
        "movq %%r12, %%xmm9\n\t"
        "xor %%r12, %%r12\n\t"
        "1: pause\n\t"
        "cmpl $0, %1\n\t"
        "jne 1b"
        :
        : "r"(bits), "m"(stay)
        : "r12", "xmm9", "memory");
    return nullptr;
  }, nullptr);
}

void keep_exception() {
  start([](void *) -> void * {
    try {
      throw std::string(100, 'e');
    } catch (const std::string &) {
      clear_stack();
      wait_for_ever();
    }
    return nullptr;
  }, nullptr);
}

// On a stack that nobody runs on: makecontext's, in memory of its own.
ucontext_t outside, inside;
void keep_on_context() {
  void *stack = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  getcontext(&inside);
  inside.uc_stack.ss_sp = stack;
  inside.uc_stack.ss_size = 65536;
  inside.uc_link = &outside;
  makecontext(&inside, [] {
    Node *volatile kept = make_node();
    swapcontext(&inside, &outside);
    opaque(kept);
  }, 0);
  swapcontext(&outside, &inside);
}

// While a signal handler runs on a stack of its own, the stack below it counts.
void keep_below_handler() {
  start([](void *) -> void * {
    stack_t alternate{};
    alternate.ss_size = 65536;
    alternate.ss_sp = mmap(nullptr, alternate.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaltstack(&alternate, nullptr);
    struct sigaction action{};
    action.sa_handler = [](int) { wait_for_ever(); };
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, nullptr);
    Node *volatile kept = make_node();
    raise(SIGUSR1);
    return kept;
  }, nullptr);
}

// --- calls ---

int64_t check() {
  if (wr_leak_check == nullptr) abort();
  return wr_leak_check();
}

int fail(const char *what, long value) {
  fprintf(stderr, "FAILED: %s: %ld\n", what, value);
  return 1;
}

// What threads wait for in the kernel is not cut short by a search.
int system_calls() {
  static std::atomic<long> cut{0};
  static int pipes[8][2], epoll, event;
  for (auto &ends : pipes) {
    if (pipe(ends) != 0) abort();
  }
  event = eventfd(0, 0);
  epoll = epoll_create1(0);
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0][0], &wanted);
  static sem_t never;
  sem_init(&never, 0, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const auto expect = [](const char *name, bool good) {
    if (good) return;
    fprintf(stderr, "FAILED: %s: %s\n", name, strerror(errno));
    ++cut;
  };
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    epoll_event got;
    ++ready;
    expect("epoll_wait", epoll_wait(epoll, &got, 1, -1) == 1);
  });
  threads.emplace_back([&] {
    epoll_event got;
    ++ready;
    expect("epoll_wait with a limit", epoll_wait(epoll, &got, 1, 600000) == 1);
  });
  threads.emplace_back([&] {
    epoll_event got;
    ++ready;
    expect("epoll_pwait", epoll_pwait(epoll, &got, 1, -1, &set) == 1);  // SIGUSR1 is for sigtimedwait
  });
  threads.emplace_back([&] {
    char byte;
    ++ready;
    expect("read", read(pipes[1][0], &byte, 1) == 1);
  });
  threads.emplace_back([&] {
    timespec time{0, 700'000'000};
    ++ready;
    expect("nanosleep", nanosleep(&time, nullptr) == 0);
  });
  threads.emplace_back([&] {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    ++ready;
    const int result = sem_timedwait(&never, &until);
    expect("sem_timedwait", result == -1 && errno == ETIMEDOUT);
  });
  threads.emplace_back([&] {
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    timespec time{600, 0};
    ++ready;
    expect("sigtimedwait", sigtimedwait(&mine, nullptr, &time) == SIGUSR1);
  });
  threads.emplace_back([&] {
    eventfd_t value;
    ++ready;
    expect("eventfd_read", eventfd_read(event, &value) == 0);
  });
  while (ready < static_cast<int>(threads.size())) usleep(1000);
  usleep(20000);
  for (int i = 0; i < 10; ++i) {
    if (const int64_t lost = check(); lost != 0) return fail("lost blocks", lost);
  }
  if (write(pipes[0][1], "x", 1) != 1 || write(pipes[1][1], "x", 1) != 1) abort();
  eventfd_write(event, 1);
  kill(getpid(), SIGUSR1);
  for (std::thread &thread : threads) thread.join();
  return cut == 0 ? 0 : 1;
}

void make_unique_text() { opaque(std::make_unique<std::string>(200, 't').get()); }

// Searches while threads allocate, free, start and end, load and unload: none finds anything, and nothing breaks.
int busy() {
  static std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([seed] {
      std::vector<std::unique_ptr<Node>> held(1000);
      unsigned state = seed * 12345;
      while (!stop) {
        state = state * 1103515245 + 12345;
        auto &slot = held[state / 65536 % held.size()];
        slot = slot == nullptr ? std::make_unique<Node>() : nullptr;
        if (state % 8192 == 0) std::thread([] { make_unique_text(); }).join();
      }
    });
  }
  threads.emplace_back([] {
    while (!stop) {
      if (void *library = dlopen(module_path, RTLD_NOW)) dlclose(library);
    }
  });
  threads.emplace_back([] {
    while (!stop) {
      const pid_t child = fork();
      if (child == 0) _exit(0);
      waitpid(child, nullptr, 0);
      usleep(2000);
    }
  });
  int64_t lost = 0;
  for (int i = 0; i < 15 && lost == 0; ++i) lost = check();
  stop = true;
  for (std::thread &thread : threads) thread.join();
  return lost == 0 ? 0 : fail("lost blocks", lost);
}

// Blocks that are lost and found again: what is said of them follows.
int counts() {
  if (check() != 0) return fail("at first", check());
  std::thread(leak_indirect).join();
  if (const int64_t lost = check(); lost != 4) return fail("after a chain of four", lost);
  std::thread(leak_direct).join();
  if (const int64_t lost = check(); lost != 7) return fail("after three more", lost);
  return 0;
}

// Nobody's child: the program sees none of the search's processes, and no descriptor of theirs.
int children() {
  std::thread(leak_direct).join();
  const int before = dup(0);
  close(before);
  if (check() != 3) return fail("count", check());
  errno = 0;
  if (waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return fail("a child", errno);
  const int after = dup(0);
  close(after);
  if (before != after) return fail("a descriptor", after);
  sigset_t waiting;
  sigpending(&waiting);
  if (sigismember(&waiting, SIGCHLD) == 1) return fail("SIGCHLD", 1);
  // A forked child does not look by itself, but may ask.
  const pid_t child = fork();
  if (child == 0) exit(check() == 3 ? 5 : 6);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 0 : fail("status of the child", status);
}

// Where nobody may trace, the collector's signal stops the threads.
int untraceable() {
  sock_filter deny[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof deny / sizeof *deny, deny};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 77;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 77;
  keep_on_stack();
  keep_thread_local();
  std::thread(leak_direct).join();
  if (const int64_t lost = check(); lost != 3) return fail("lost blocks", lost);
  return 0;
}

int by_signal() {
  std::thread(leak_direct).join();
  for (int i = 0; i < 3; ++i) {
    raise(SIGUSR2);
    usleep(1000);
  }
  return 4;
}

// The program's own handler stays.
int own_handler() {
  static std::atomic<int> handled{0};
  struct sigaction action{};
  action.sa_handler = [](int) { ++handled; };
  sigaction(SIGUSR2, &action, nullptr);
  raise(SIGUSR2);
  return handled == 1 ? 0 : 1;
}

// Lost on the first thread, whose stack is searched; an old word may hide one.
int on_first_thread() {
  for (int i = 0; i < 100; ++i) make_block(48);
  clear_stack();
  return 0;
}

int by_exit_in_thread() {
  std::thread(leak_direct).join();
  std::thread([] { exit(9); }).join();
  return 0;
}

int ends_at_once() {
  std::thread(leak_direct).join();
  printf("unflushed");
  return 7;
}

struct Case {
  const char *name;
  void (*run)();
  bool own_thread;
};
constexpr Case kCases[] = {
    {"direct", leak_direct, true}, {"indirect", leak_indirect, true}, {"ring", leak_ring, true},
    {"rings", leak_rings, true}, {"shared", leak_shared, true}, {"freed", leak_freed, true},
    {"sizes", leak_sizes, true}, {"specific", leak_specific, true}, {"module", leak_module, true},
    {"dead_stack", leak_dead_stack, false}, {"dead_detached", leak_dead_detached, false},
    {"unmapped", leak_unmapped, true}, {"global", keep_global, true}, {"interior", keep_interior, true},
    {"interior_large", keep_interior_large, true}, {"static", keep_static, true}, {"containers", keep_containers, true},
    {"mapped", keep_mapped, true}, {"brk", keep_broken, true}, {"epoll", keep_in_epoll, true},
    {"kept_module", keep_module, true}, {"environment", keep_environment, true}, {"result", keep_result, true},
    {"on_stack", keep_on_stack, true}, {"thread_local", keep_thread_local, true},
    {"module_thread_local", keep_module_thread_local, true}, {"kept_specific", keep_specific, true},
    {"argument", keep_argument, true}, {"closure", keep_closure, true}, {"register", keep_in_register, true},
    {"vector_register", keep_in_vector_register, true}, {"exception", keep_exception, true},
    {"context", keep_on_context, true}, {"below_handler", keep_below_handler, true},
};

struct Act {
  const char *name;
  int (*run)();
};
constexpr Act kActs[] = {
    {"system_calls", system_calls}, {"busy", busy}, {"counts", counts}, {"children", children},
    {"by_signal", by_signal}, {"own_handler", own_handler}, {"on_first_thread", on_first_thread},
    {"exit_in_thread", by_exit_in_thread}, {"unflushed", ends_at_once}, {"untraceable", untraceable},
};

}  // namespace

int main(int argc, char **argv) {
  if (argc > 2) module_path = argv[2];
  for (const Case &known : kCases) {
    if (argc < 2 || strcmp(known.name, argv[1]) != 0) continue;
    if (known.own_thread) {
      std::thread(known.run).join();
    } else {
      known.run();
    }
    clear_stack();
    return 0;
  }
  for (const Act &known : kActs) {
    if (argc >= 2 && strcmp(known.name, argv[1]) == 0) return known.run();
  }
  fprintf(stderr, "no such case\n");
  return 99;
}

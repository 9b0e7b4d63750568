// A program that leaks a known set of blocks, or none: leaks_victim CASE [MODULE], or does one of the acts of leaks_acts.cc.
// leaks_test.py runs it and knows what each case leaks. Invariant: a case runs on a thread of its own that has ended when the
// search begins, or clears its traces from the stack, so that nothing that was forgotten is found there.
#include "leaks_victim.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <pthread.h>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cases {

const char *module_path = "";

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

// The inner ring at the lower addresses, so that it is come to first, and held by way of its other block.
void leak_rings_inner_first() {
  Node *outer = make_ring_of_two();
  Node *inner = make_ring_of_two();
  if (std::less<>()(outer, inner)) std::swap(outer, inner);
  Node *stands = std::less<>()(inner, inner->next) ? inner : inner->next;
  outer->other = stands->next;
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
  static std::atomic<pid_t> thread{0};
  std::thread([] {
    void *kept[10];
    for (void *&slot : kept) slot = make_block(80);
    opaque(kept);
    thread = gettid();
  }).detach();
  while (thread == 0) usleep(1000);
  while (tgkill(getpid(), thread, 0) == 0) usleep(1000);  // until it has ended: before that its stack holds them
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

// In memory that no forked child gets, as V8's heap.
void keep_unforked() {
  constexpr size_t kBytes = size_t{1} << 20;
  auto **pages = static_cast<void **>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (madvise(pages, kBytes, MADV_DONTFORK) != 0) abort();
  pages[100000] = make_block(60);
  global = pages + 5;
}

// An array without elements: its count is all there is, and the pointer leads behind that.
struct Destroyed {
  ~Destroyed() { kept = nullptr; }
  void *kept = nullptr;
};
void keep_empty_array() {
  volatile size_t none = 0;
  global = new Destroyed[none];
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

struct Case {
  const char *name;
  void (*run)();
  bool own_thread;
};
constexpr Case kCases[] = {
    {"direct", leak_direct, true}, {"indirect", leak_indirect, true}, {"ring", leak_ring, true},
    {"rings", leak_rings, true}, {"rings_inner_first", leak_rings_inner_first, true},
    {"shared", leak_shared, true}, {"freed", leak_freed, true},
    {"sizes", leak_sizes, true}, {"specific", leak_specific, true}, {"module", leak_module, true},
    {"dead_stack", leak_dead_stack, false}, {"dead_detached", leak_dead_detached, false},
    {"unmapped", leak_unmapped, true}, {"global", keep_global, true}, {"interior", keep_interior, true},
    {"interior_large", keep_interior_large, true}, {"static", keep_static, true}, {"containers", keep_containers, true},
    {"mapped", keep_mapped, true}, {"unforked", keep_unforked, true}, {"empty_array", keep_empty_array, true}, {"brk", keep_broken, true}, {"epoll", keep_in_epoll, true},
    {"kept_module", keep_module, true}, {"environment", keep_environment, true}, {"result", keep_result, true},
    {"on_stack", keep_on_stack, true}, {"thread_local", keep_thread_local, true},
    {"module_thread_local", keep_module_thread_local, true}, {"kept_specific", keep_specific, true},
    {"argument", keep_argument, true}, {"closure", keep_closure, true}, {"register", keep_in_register, true},
    {"vector_register", keep_in_vector_register, true}, {"exception", keep_exception, true},
    {"context", keep_on_context, true}, {"below_handler", keep_below_handler, true},
};

}  // namespace cases

int main(int argc, char **argv) {
  if (argc < 2) return 99;
  if (argc > 2) cases::module_path = argv[2];
  for (const cases::Case &known : cases::kCases) {
    if (strcmp(known.name, argv[1]) != 0) continue;
    if (known.own_thread) {
      std::thread(known.run).join();
    } else {
      known.run();
    }
    cases::clear_stack();
    return 0;
  }
  if (const int status = cases::run_act(argv[1]); status >= 0) return status;
  fprintf(stderr, "no such case\n");
  return 99;
}

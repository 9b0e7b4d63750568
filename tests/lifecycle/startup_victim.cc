// Allocates before the allocator's constructor: in an IFUNC resolver, in .preinit_array, in constructors of
// a needed library and of the program. Run by lifecycle_test.
// Invariant: a block from any moment of start-up is intact in main and can be resized and freed there.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "early_module.h"
#include "victim.h"

namespace {

constexpr std::size_t kSmall = 40;
constexpr std::size_t kLarge = 200'000;

struct StartBlocks {
  char *small;
  char *large;
  char *zeroed;
};
StartBlocks g_from_resolver;
StartBlocks g_from_preinit;
StartBlocks g_from_constructor;

StartBlocks allocate_some() {
  StartBlocks made{static_cast<char *>(malloc(kSmall)), static_cast<char *>(malloc(kLarge)),
                   static_cast<char *>(calloc(1, kLarge))};
  if (made.small != nullptr) std::memset(made.small, 's', kSmall);
  if (made.large != nullptr) std::memset(made.large, 'l', kLarge);
  free(malloc(100));
  return made;
}

void check_blocks(StartBlocks &made) {
  VICTIM_CHECK(made.small != nullptr && made.large != nullptr && made.zeroed != nullptr);
  for (std::size_t i = 0; i < kSmall; ++i) VICTIM_CHECK(made.small[i] == 's');
  for (std::size_t i = 0; i < kLarge; ++i) VICTIM_CHECK(made.large[i] == 'l' && made.zeroed[i] == 0);
  made.small = static_cast<char *>(victim::resize(made.small, kLarge));
  VICTIM_CHECK(made.small != nullptr && made.small[kSmall - 1] == 's');
  VICTIM_CHECK(victim::physical_block(made.large) >= kLarge);
  victim::give_back(made.small);
  victim::give_back(made.large);
  victim::give_back(made.zeroed);
}

constexpr unsigned long long kSignalsOfTheThreadLibrary = 3ULL << 31;  // 32 and 33

int answer() { return 42; }

__attribute__((constructor(101))) void allocate_in_constructor() { g_from_constructor = allocate_some(); }

void allocate_in_preinit() { g_from_preinit = allocate_some(); }
__attribute__((section(".preinit_array"), used)) void (*const g_preinit_entry)() = allocate_in_preinit;

std::string g_static_string(10'000, 'z');

void early_library() {
  EarlyBlocks &early = early_blocks();
  for (int i = 0; i < EarlyBlocks::kCount; ++i) {
    VICTIM_CHECK(early.blocks[i] != nullptr);
    for (std::size_t k = 0; k < early.sizes[i]; ++k) VICTIM_CHECK(early.blocks[i][k] == 'a' + i % 26);
    victim::give_back(early.blocks[i]);
  }
  VICTIM_CHECK(early.zeroed != nullptr && early.grown != nullptr && early.from_thread != nullptr);
  for (int i = 0; i < 3'000; ++i) VICTIM_CHECK(early.zeroed[i] == 0);
  VICTIM_CHECK(std::strcmp(early.from_thread, "from an early thread") == 0);
  VICTIM_CHECK(early.words->size() == 1'000 && early.words->back().size() == 47);
  victim::give_back(early.zeroed);
  victim::give_back(early.grown);
  victim::give_back(early.from_thread);
  delete early.words;
  victim::exercise_heap(2'000, victim::seed());
}

}  // namespace

// Resolvers run while the program is being relocated: malloc is bound, but nothing is initialised.
extern "C" {
using AnswerFunction = int (*)();
AnswerFunction resolve_answer() {
  g_from_resolver = allocate_some();
  return &answer;
}
int resolved_answer() __attribute__((ifunc("resolve_answer")));
}

namespace {

void ifunc_resolver() {
  VICTIM_CHECK(resolved_answer() == 42);
  check_blocks(g_from_resolver);
}
void preinit_array() { check_blocks(g_from_preinit); }
void constructor() {
  VICTIM_CHECK(g_static_string.size() == 10'000 && g_static_string.back() == 'z');
  check_blocks(g_from_constructor);
}

// The driver closed descriptors 0 to 2 before the start. Nothing of the library's may sit there.
void closed_descriptors() {
  victim::exercise_heap(2'000, victim::seed());
  for (int fd = 0; fd < 3; ++fd) VICTIM_CHECK(fcntl(fd, F_GETFD) == -1);
  VICTIM_CHECK(open("/dev/null", O_RDWR) == 0);
}

// The driver passes a very long command line or environment; the heap must not mind.
void plain_work() { victim::exercise_heap(5'000, victim::seed()); }

// A plain program gets no signal handler behind its back, and no thread but at most the one that returns
// memory to the system.
void few_threads_and_no_handler() {
  victim::exercise_heap(5'000, victim::seed());
  int threads = 0;
  if (FILE *status = std::fopen("/proc/self/status", "r"); status != nullptr) {
    char line[256];
    while (std::fgets(line, sizeof line, status) != nullptr) {
      if (std::strncmp(line, "Threads:", 8) == 0) threads = std::atoi(line + 8);
      if (std::strncmp(line, "SigCgt:", 7) == 0) {
        VICTIM_CHECK((std::strtoull(line + 7, nullptr, 16) & ~kSignalsOfTheThreadLibrary) == 0);
      }
    }
    std::fclose(status);
  }
  VICTIM_CHECK(threads == 1 || threads == 2);
}

constexpr victim::Scenario kScenarios[] = {
    {"early_library", early_library},
    {"ifunc_resolver", ifunc_resolver},
    {"preinit_array", preinit_array},
    {"constructor", constructor},
    {"closed_descriptors", closed_descriptors},
    {"plain_work", plain_work},
    {"few_threads_and_no_handler", few_threads_and_no_handler},
};

}  // namespace

int main(int argc, char **argv) { return victim::play(argc, argv, kScenarios); }

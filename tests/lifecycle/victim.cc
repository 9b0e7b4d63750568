// Implements victim.h. Linked into every victim program.
// Invariant: reading /proc and failing use no heap memory, so that they work in any state of the process.
#include "victim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace victim {

void *(*volatile take)(std::size_t) = &malloc;
void *(*volatile take_zeroed)(std::size_t, std::size_t) = &calloc;
void *(*volatile resize)(void *, std::size_t) = &realloc;
void (*volatile give_back)(void *) = &free;

namespace {

constexpr unsigned kUsualWatchdogSeconds = 60;
timespec g_start;
timer_t g_ticker;
static_assert(kTick == SIGUSR1);

int soak_factor() {
  const char *value = getenv("WARREN_SOAK");
  if (value == nullptr) return 1;
  const int factor = atoi(value);
  return factor > 1 ? factor : 10;
}

bool is_control() {
  const char *value = getenv("WARREN_CONTROL");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

// By address, not by name: a program may define a malloc of its own, and then this is not called.
bool malloc_is_under_test() {
  Dl_info info{};
  return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) != 0 && std::strstr(info.dli_fname, "libwarren") != nullptr;
}

// Reads a file of /proc into a buffer; returns the length.
std::size_t read_file(const char *path, char *buffer, std::size_t capacity) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  std::size_t length = 0;
  for (ssize_t got = 1; got > 0 && length < capacity;) {
    got = read(fd, buffer + length, capacity - length);
    if (got > 0) length += static_cast<std::size_t>(got);
  }
  close(fd);
  return length;
}

struct CookieHead {
  std::uint64_t size;
  std::uint64_t cookie;
};

}  // namespace

int play(int argc, char **argv, std::span<const Scenario> scenarios) {
  clock_gettime(CLOCK_MONOTONIC, &g_start);
  if (argc < 2) return 2;
  if (!is_control() && !malloc_is_under_test()) fail("malloc is the library under test", argv[0], 0);
  for (const Scenario &scenario : scenarios) {
    if (std::strcmp(scenario.name, argv[1]) != 0) continue;
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed()));
    std::fflush(stdout);
    alarm(kUsualWatchdogSeconds * static_cast<unsigned>(soak_factor()));
    scenario.run();
    std::printf("%s: done\n", scenario.name);
    std::fflush(stdout);
    return 0;
  }
  fail("the scenario exists", argv[1], 0);
}

void fail(const char *what, const char *file, int line) {
  const int error = errno;
  char text[512];
  const int length = std::snprintf(text, sizeof text, "%s:%d: failed: %s (pid %d, errno %d)\n", file, line, what,
                                   getpid(), error);
  if (length > 0 && write(STDERR_FILENO, text, static_cast<std::size_t>(length)) < 0) _exit(kFailed);
  _exit(kFailed);
}

void skip(const char *why) {
  std::printf("skipped: %s\n", why);
  std::fflush(stdout);
  _exit(kSkipped);
}

void *make_cookie(std::size_t size, std::uint64_t cookie) {
  if (size < sizeof(CookieHead) + 8) size = sizeof(CookieHead) + 8;
  auto *block = static_cast<char *>(take(size));
  VICTIM_CHECK(block != nullptr);
  VICTIM_CHECK(reinterpret_cast<std::uintptr_t>(block) % 16 == 0);
  const CookieHead head{size, cookie};
  std::memcpy(block, &head, sizeof head);
  std::memcpy(block + size - 8, &cookie, 8);
  return block;
}

bool cookie_intact(const void *block) {
  CookieHead head;
  std::memcpy(&head, block, sizeof head);
  if (head.size < sizeof head + 8 || head.size > (std::size_t{1} << 32)) return false;
  return std::memcmp(static_cast<const char *>(block) + head.size - 8, &head.cookie, 8) == 0;
}

std::size_t cookie_size(const void *block) {
  CookieHead head;
  std::memcpy(&head, block, sizeof head);
  return head.size;
}

void check_and_free(void *block) {
  VICTIM_CHECK(cookie_intact(block));
  std::memset(block, 0xdd, sizeof(CookieHead));  // a second holder of the block would see it
  give_back(block);
}

std::size_t Random::block_size() {
  const std::size_t kind = below(100);
  if (kind < 85) return below(512);
  if (kind < 97) return below(40'000);
  return below(300'000);
}

std::uint64_t seed() {
  const char *chosen = getenv("WARREN_SEED");
  return chosen == nullptr ? 20240229U : std::strtoull(chosen, nullptr, 10);
}

int scaled(int usual) { return usual * soak_factor(); }

bool control_run() { return is_control(); }

std::size_t resident_kib() {
  char text[256] = "";
  text[read_file("/proc/self/statm", text, sizeof text - 1)] = 0;
  const char *second = std::strchr(text, ' ');
  VICTIM_CHECK(second != nullptr);
  return std::strtoul(second, nullptr, 10) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) / 1024;
}

int mapping_count() {
  static char text[4 << 20];
  const std::size_t length = read_file("/proc/self/maps", text, sizeof text);
  int lines = 0;
  for (std::size_t i = 0; i < length; ++i) lines += text[i] == '\n';
  return lines;
}

double seconds_since_start() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec - g_start.tv_sec) + static_cast<double>(now.tv_nsec - g_start.tv_nsec) * 1e-9;
}

std::size_t physical_block(void *block) {
  std::size_t (*volatile measure)(void *) = &malloc_usable_size;
  return measure(block);
}

void exercise_heap(int rounds, std::uint64_t from_seed) {
  Random random(from_seed);
  constexpr std::size_t kHeld = 24;
  void *held[kHeld] = {};
  for (int i = 0; i < rounds; ++i) {
    void *&slot = held[random.below(kHeld)];
    if (slot != nullptr) check_and_free(slot);
    slot = make_cookie(random.block_size(), random.next());
    if (i % 8 == 0) {
      auto *zeroed = static_cast<char *>(take_zeroed(1, 200));
      VICTIM_CHECK(zeroed != nullptr && zeroed[0] == 0 && zeroed[199] == 0);
      zeroed = static_cast<char *>(resize(zeroed, 3'000));
      VICTIM_CHECK(zeroed != nullptr && zeroed[0] == 0 && zeroed[199] == 0);
      give_back(zeroed);
    }
  }
  for (void *block : held) {
    if (block != nullptr) check_and_free(block);
  }
}

void tick_every(int microseconds, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  VICTIM_CHECK(sigaction(kTick, &action, nullptr) == 0);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = kTick;
  VICTIM_CHECK(timer_create(CLOCK_MONOTONIC, &event, &g_ticker) == 0);
  itimerspec period{};
  period.it_interval.tv_nsec = period.it_value.tv_nsec = microseconds * 1'000L;
  VICTIM_CHECK(timer_settime(g_ticker, 0, &period, nullptr) == 0);
}

void stop_ticking() { VICTIM_CHECK(timer_delete(g_ticker) == 0); }

void expect_child_succeeds(int pid) {
  VICTIM_CHECK(pid > 0);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) VICTIM_CHECK(errno == EINTR);
  if (WIFSIGNALED(status)) {
    errno = WTERMSIG(status);
    fail("a child exits (errno is its signal)", "waitpid", 0);
  }
  if (WEXITSTATUS(status) != 0) {
    errno = WEXITSTATUS(status);
    fail("a child succeeds (errno is its exit status)", "waitpid", 0);
  }
}

}  // namespace victim

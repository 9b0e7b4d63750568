// layout_victim: a program that uses the address space, the break, its descriptors and its own seccomp filter as it
// likes, beside the heap. Run by layout_test.py; the mode is the argument:
//   brk          100,000 mallocs leave sbrk(0) alone (the proof that no block is glibc's), and the break is the user's
//   reserved     100,000 PROT_NONE maps first
//   full         not a page of address space is left: NULL or memory that is already there; later all is well
//   walls        a foreign page behind (and before) every mapping there is
//   kernel       the kernel reads and writes blocks that the program has never touched
//   descriptors  the heap keeps no descriptor: the lowest numbers stay the program's, and closing all harms nothing
//   sandbox      a filter as sshd's child installs it: any call but the plainest kills; a small heap must survive
// Prints "held" last. Invariant: foreign pages keep their bytes; every block keeps its own.
#include <sys/mman.h>
#include <sys/uio.h>

#include "syscall_filter.h"
#include "victim.h"

using namespace victim;

namespace {

struct Block {
  void *at;
  size_t size;
};
constexpr size_t kCount = 300;
Block g_blocks[kCount];
size_t g_answered, g_refused;

// Takes, checks and gives back blocks of all sizes, at most `largest`; a NULL is counted.
void churn(size_t largest, uint64_t seed) {
  for (size_t i = 0; i < 3 * kCount; ++i) {
    Block &block = g_blocks[i % kCount];
    if (block.at != nullptr) {
      if (!holds_pattern(block.at, block.size, block.size)) BROKEN("a block of %zu lost its bytes", block.size);
      free_keeping_errno(block.at);
    }
    const uint64_t draw = mix(seed + i);
    const size_t limit = i % 10 == 0 ? largest : i % 3 == 0 ? 20 * kKiB : 600;
    block.size = draw % (limit < largest ? limit : largest) + 1;
    errno = 0;
    block.at = i % 2 == 0 ? v_calloc(1, block.size) : v_malloc(block.size);
    require_enomem(block.at);
    block.at == nullptr ? ++g_refused : ++g_answered;
    if (block.at == nullptr) continue;
    if (i % 2 == 0 && !all_zero(block.at, block.size)) BROKEN("calloc(1, %zu) is not zero", block.size);
    fill_pattern(block.at, block.size, block.size);
  }
  for (Block &block : g_blocks) {
    if (block.at != nullptr && !holds_pattern(block.at, block.size, block.size)) BROKEN("a block of %zu lost its bytes", block.size);
    free_keeping_errno(block.at);
    block = {};
  }
  v_trim(0);
}

void require_all_answered(const char *when) {
  g_answered = g_refused = 0;
  churn(1 * kMiB, 99);
  if (g_refused != 0) BROKEN("%zu requests refused %s", g_refused, when);
}

void *map_pages(uintptr_t at, size_t bytes, int protection, int flags) {
  return mmap(reinterpret_cast<void *>(at), bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

void brk_mode() {
  void *const before = sbrk(0);
  static void *blocks[1000];
  for (size_t i = 0; i < 100000; ++i) {
    void *&slot = blocks[i % 1000];
    free_keeping_errno(slot);
    slot = v_malloc(mix(i) % (i % 100 == 0 ? 200 * kKiB : 2 * kKiB));
    REQUIRE(slot != nullptr);
  }
  if (!on_control() && sbrk(0) != before) BROKEN("the break has moved: blocks come from glibc");
  constexpr size_t kOwn = 300 * kKiB;
  auto *own = static_cast<char *>(sbrk(kOwn));
  REQUIRE(own != reinterpret_cast<char *>(-1));
  if (!on_control()) REQUIRE(own == before);
  memset(own, 0x5a, kOwn);
  require_all_answered("after the program moved the break");
  for (size_t i = 0; i < kOwn; ++i) REQUIRE(own[i] == 0x5a);
  if (!on_control()) {
    REQUIRE(sbrk(0) == own + kOwn);
    REQUIRE(brk(before) == 0);  // the program takes its memory away again; glibc's heap would be gone with it
  }
  for (void *block : blocks) free_keeping_errno(block);
  require_all_answered("after the break went back");
}

void reserved_mode() {
  for (size_t i = 0; i < 100000; ++i) REQUIRE(map_pages(0, (i % 16 + 1) * 64 * kKiB, PROT_NONE, 0) != MAP_FAILED);
  require_all_answered("beside 100,000 reservations");
}

void full_mode() {
  churn(1 * kMiB, 1);
  static Block maps[20000];
  size_t count = 0;
  for (size_t bytes = size_t{1} << 46; bytes >= kPage; bytes /= 2) {
    while (count < sizeof maps / sizeof *maps) {
      void *at = map_pages(0, bytes, PROT_NONE, 0);
      if (at == MAP_FAILED) break;
      maps[count++] = {at, bytes};
    }
  }
  SAY("maps=%zu\n", count);
  g_answered = g_refused = 0;
  churn(1 * kMiB, 2);
  churn(200 * kMiB, 3);
  SAY("answered=%zu refused=%zu\n", g_answered, g_refused);
  while (count > 0) {
    --count;
    munmap(maps[count].at, maps[count].size);
  }
  require_all_answered("after the address space was free again");
}

// One page behind and one before each mapping that /proc knows, then again after the heap has grown past them.
void walls_mode() {
  static char text[1 << 18];
  static unsigned char *pages[4000];
  size_t count = 0;
  for (int round = 0; round < 4; ++round) {
    read_file("/proc/self/maps", text, sizeof text);
    for (char *line = text; line != nullptr && *line != '\0';) {
      char *end = line;
      const uintptr_t low = strtoul(line, &end, 16);
      const uintptr_t high = strtoul(end + 1, &end, 16);
      const uintptr_t places[] = {low - kPage, high, high + 2 * kMiB - kPage};
      for (uintptr_t place : places) {
        if (count == sizeof pages / sizeof *pages || place < 0x10000 || strstr(line, "[stack]") == end + 1) continue;
        void *page = map_pages(place, kPage, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
        if (page == MAP_FAILED) continue;
        pages[count] = static_cast<unsigned char *>(page);
        memset(pages[count++], 0x77, kPage);
      }
      line = strchr(line, '\n');
      if (line != nullptr) ++line;
    }
    g_answered = g_refused = 0;
    churn(static_cast<size_t>(2 + round * 6) * kMiB, static_cast<uint64_t>(round));
    SAY("round=%d pages=%zu answered=%zu refused=%zu\n", round, count, g_answered, g_refused);
  }
  for (size_t i = 0; i < count; ++i)
    for (size_t byte = 0; byte < kPage; ++byte)
      if (pages[i][byte] != 0x77) BROKEN("the foreign page %p was written to", static_cast<void *>(pages[i]));
  for (size_t i = 0; i < count; ++i) munmap(pages[i], kPage);
  require_all_answered("after the foreign pages had gone");
}

void kernel_mode() {
  const int zero = open("/dev/zero", O_RDONLY);
  const int urandom = open("/dev/urandom", O_RDONLY);
  REQUIRE(zero >= 0 && urandom >= 0);
  for (size_t size = 1; size <= 40 * kMiB; size = size * 7 + 3) {
    void *block = v_malloc(size);
    void *other = v_malloc(size);
    REQUIRE(block != nullptr && other != nullptr);
    size_t got = 0;
    while (got < size) {  // a first touch from inside the kernel: no fault may stand in the way
      const ssize_t part = read(got == 0 ? urandom : zero, static_cast<char *>(block) + got, size - got);
      if (part <= 0) BROKEN("read into a fresh block of %zu: errno %d", size, errno);
      got += static_cast<size_t>(part);
    }
    iovec from = {block, size};
    iovec to = {other, size};
    const ssize_t copied = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    if (copied < 0 && errno != ENOSYS && errno != EPERM) BROKEN("process_vm_readv of %zu: errno %d", size, errno);
    if (copied == static_cast<ssize_t>(size)) REQUIRE(memcmp(block, other, size) == 0);
    unsigned char resident[1];
    void *page = reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(block) & ~(kPage - 1));
    REQUIRE(mincore(page, 1, resident) == 0 && (resident[0] & 1) == 1);
    free_keeping_errno(block);
    free_keeping_errno(other);
  }
  close(zero);
  close(urandom);
}

void descriptors_mode() {
  require_all_answered("at the start");
  for (int fd = 0, opened = 0; opened < 4; ++fd) {  // a library that kept one would make a gap
    if (fcntl(fd, F_GETFD) >= 0 && fd < 3) continue;
    const int given = open("/dev/null", O_RDWR);
    if (given != fd) BROKEN("open gave %d instead of %d", given, fd);
    ++opened;
  }
  require_all_answered("with descriptors in use");
  for (int fd = 3; fd < 1024; ++fd) close(fd);  // as daemons do
  require_all_answered("after all descriptors were closed");
  for (int fd = 3; fd < 1024; ++fd)
    if (fcntl(fd, F_GETFD) >= 0) BROKEN("descriptor %d has been opened by the heap", fd);
  close(0);
  close(2);
  require_all_answered("without a descriptor for stdin and stderr");
  REQUIRE(open("/dev/null", O_RDONLY) == 0);
}

void sandbox_mode() {
  free_keeping_errno(v_malloc(100));
  const bool sealed = syscall_filter::allow_only(
      "brk,clock_gettime,close,exit,exit_group,futex,getpid,gettid,getrandom,madvise,mmap,mprotect,mremap,munmap,"
      "read,rt_sigprocmask,sched_yield,write");
  if (!sealed) _exit(kSkipped);
  require_all_answered("inside a sandbox");
  SAY("held\n");
  _exit(0);
}

}  // namespace

int main(int argc, char **argv) {
  alarm(100);
  require_library();
  const char *mode = argc > 1 ? argv[1] : "";
  if (strcmp(mode, "brk") == 0) brk_mode();
  else if (strcmp(mode, "reserved") == 0) reserved_mode();
  else if (strcmp(mode, "full") == 0) full_mode();
  else if (strcmp(mode, "walls") == 0) walls_mode();
  else if (strcmp(mode, "kernel") == 0) kernel_mode();
  else if (strcmp(mode, "descriptors") == 0) descriptors_mode();
  else if (strcmp(mode, "sandbox") == 0) sandbox_mode();
  else BROKEN("unknown mode '%s'", mode);
  SAY("held\n");
  return 0;
}

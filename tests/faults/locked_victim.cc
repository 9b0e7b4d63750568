// locked_victim: memory that is locked, so that the kernel refuses to take pages back (madvise fails with EINVAL) and
// may refuse new ones. Freed memory is then still dirty, and calloc must clear it. Run by limits_test.py:
//   all        mlockall(MCL_CURRENT | MCL_FUTURE); needs a limit above the size of the process
//   onfault    the same with MCL_ONFAULT
//   future     mlockall(MCL_FUTURE) under a low RLIMIT_MEMLOCK: new mappings fail with EAGAIN once it is reached
//   parts      the program locks parts of its blocks and frees them without unlocking (as programs with keys do)
// Prints "held" last, or "no lock" and exit code 77. Invariant: no calloc'd byte is other than zero, no block that
// grows loses a byte, and a refusal is NULL with ENOMEM.
#include <sys/mman.h>

#include "victim.h"

using namespace victim;

namespace {

size_t g_answered, g_refused;

// To lock the whole process would populate it: never do that to a mapping that is only meant as room.
size_t writable_kib() {
  static char text[1 << 18];
  read_file("/proc/self/maps", text, sizeof text);
  size_t kib = 0;
  for (char *line = text; line != nullptr && *line != '\0';) {
    char *end = line;
    const size_t low = strtoul(line, &end, 16);
    const size_t high = strtoul(end + 1, &end, 16);
    if (end[0] == ' ' && end[2] == 'w') kib += (high - low) / kKiB;
    line = strchr(line, '\n');
    if (line != nullptr) ++line;
  }
  return kib;
}

// Dirties every byte and leaves `locked` of them locked.
void soil_and_free(size_t size, size_t locked) {
  errno = 0;
  void *block = v_malloc(size);
  if (block == nullptr) {
    require_enomem(block);
    ++g_refused;
    return;
  }
  ++g_answered;
  if (locked != 0) mlock(static_cast<char *>(block) + (size - locked) / 2, locked);
  memset(block, 0xee, size);
  free_keeping_errno(block);
}

void require_zero(size_t size) {
  errno = 0;
  void *block = v_calloc(1, size);
  if (block == nullptr) {
    require_enomem(block);
    ++g_refused;
    return;
  }
  ++g_answered;
  if (!all_zero(block, size)) BROKEN("calloc(1, %zu) over locked memory is not zero", size);
  memset(block, 0xdd, size);
  free_keeping_errno(block);
}

// Pages that are to move while some of them are locked, and another block stands in their way.
void grow(size_t locked) {
  size_t size = 300 * kKiB;
  errno = 0;
  void *block = v_malloc(size);
  void *wall = v_malloc(size);
  if (block == nullptr || wall == nullptr) {
    require_enomem(nullptr);
    ++g_refused;
  } else {
    fill_pattern(block, size, 5);
    if (locked != 0) mlock(static_cast<char *>(block) + 20 * kPage, locked);
    errno = 0;
    void *moved = v_realloc(block, size * 20);
    if (moved == nullptr) {
      require_enomem(moved);
      ++g_refused;
    } else {
      block = moved;
      memset(static_cast<char *>(block) + size, 0xbb, size * 19);
    }
    if (!holds_pattern(block, size, 5)) BROKEN("a block of locked pages lost bytes when it grew");
  }
  free_keeping_errno(block);
  free_keeping_errno(wall);
}

void rounds(size_t locked) {
  for (int round = 0; round < 4; ++round) {
    for (size_t size = 100; size < 6 * kMiB; size = size * 3 + 1) {
      soil_and_free(size, locked < size / 2 ? locked : 0);
      if (round % 2 != 0) v_trim(0);
      require_zero(size);
      if (round > 1) v_trim(0);
      require_zero(size * 2);
    }
    grow(locked);
    v_trim(0);
  }
}

}  // namespace

int main(int argc, char **argv) {
  alarm(60);
  require_library();
  const char *mode = argc > 1 ? argv[1] : "all";
  free_keeping_errno(v_malloc(100));
  int result = 0;
  if (strcmp(mode, "all") == 0 || strcmp(mode, "onfault") == 0) {
    if (writable_kib() > 2048 * kKiB) BROKEN("%zu MiB are writable before anything is used: mlockall would fill them", writable_kib() / kKiB);
    result = mlockall(MCL_CURRENT | MCL_FUTURE | (strcmp(mode, "onfault") == 0 ? MCL_ONFAULT : 0));
  } else if (strcmp(mode, "future") == 0) {
    result = mlockall(MCL_FUTURE);
  } else if (strcmp(mode, "parts") == 0) {
    void *probe = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    result = mlock(probe, kPage);
    munmap(probe, kPage);
  } else {
    BROKEN("unknown mode %s", mode);
  }
  if (result != 0) {
    SAY("no lock: errno=%d\n", errno);
    return kSkipped;
  }
  rounds(strcmp(mode, "parts") == 0 ? 10 * kPage : 0);
  SAY("locked=%ld answered=%zu refused=%zu\n", proc_kib("/proc/self/status", "\nVmLck:"), g_answered, g_refused);
  if (g_answered == 0) BROKEN("no request was answered");
  SAY("held\n");
  return 0;
}

// locked_victim: mlockall, so that the kernel refuses to take pages back (madvise fails with EINVAL): freed memory
// is then still dirty, and calloc must clear it. Run by limits_test.py. Prints "held" last, or "no mlockall".
// Invariant: no calloc'd byte is other than zero.
#include <sys/mman.h>

#include "victim.h"

using namespace victim;

int main(int argc, char **argv) {
  alarm(60);
  require_library();
  const bool future = argc > 1 && strcmp(argv[1], "--future") == 0;
  if (mlockall(future ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) != 0) {
    SAY("no mlockall: errno=%d\n", errno);
    return kSkipped;
  }
  for (int round = 0; round < 3; ++round) {
    for (size_t size = 100; size < 6 * kMiB; size = size * 3 + 1) {
      auto *block = static_cast<unsigned char *>(v_malloc(size));
      if (block == nullptr) {
        require_enomem(block);
        continue;
      }
      if (!future) mlock(block, size);
      memset(block, 0xee, size);
      free_keeping_errno(block);
      if (round != 0) v_trim(0);
      void *zeroed = v_calloc(1, size);
      if (zeroed != nullptr && !all_zero(zeroed, size)) BROKEN("calloc(1, %zu) over locked memory is not zero", size);
      free_keeping_errno(zeroed);
    }
  }
  SAY("held\n");
  return 0;
}

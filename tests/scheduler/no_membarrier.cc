// Linked into a test that is to run once more where the kernel refuses membarrier, as some sandboxes have it. The filter
// is there before main. Invariant: where there can be no filter the test counts as skipped.
#include "tests/faults/syscall_filter.h"

#include <unistd.h>

namespace {

constexpr int kSkipped = 77;  // meson's code

__attribute__((constructor)) void refuse_membarrier() {
  if (!syscall_filter::deny("membarrier", EPERM)) _exit(kSkipped);
}

}  // namespace

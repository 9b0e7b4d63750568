// See cut_calls.h.
#include "gc/cut_calls.h"

#include "allocator/base/address.h"
#include "allocator/base/config.h"
#include "allocator/base/os_calls.h"
#include "gc/stop_signal.h"

#include <cerrno>
#include <cstring>
#include <signal.h>

namespace warren::gc::cut_calls {

WARREN_TLS Left left;

namespace {

// The instruction before is asked for only when it lies on the same page, which is mapped then.
bool follows_system_call(uintptr_t at) {
  constexpr unsigned char kSystemCall[] = {0x0f, 0x05};
  return at % kOsPageSize >= sizeof kSystemCall && memcmp(at_address<void>(at - sizeof kSystemCall), kSystemCall, sizeof kSystemCall) == 0;
}

uint64_t kernel_set(const sigset_t &set) { return reinterpret_cast<const uint64_t &>(set); }

}  // namespace

void note(const void *context) {
  const auto *in = static_cast<const ucontext_t *>(context);
  if (in->uc_mcontext.gregs[REG_RAX] != -EINTR || !follows_system_call(static_cast<uintptr_t>(in->uc_mcontext.gregs[REG_RIP]))) return;
  if ((os_calls::pending_signals() & ~kernel_set(in->uc_sigmask) & ~stop_signal::bit()) != 0) return;
  left.sp = static_cast<uintptr_t>(in->uc_mcontext.gregs[REG_RSP]);
  ++left.number;
}

}  // namespace warren::gc::cut_calls

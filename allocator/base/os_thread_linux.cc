// A bare thread on Linux, x86-64. See os_thread.h.
//
//   area   [thread-local variables … | control block | stack]
//                                    ^ fs
//
// The heap's code reads its thread-local words at a distance below fs that is the same in every thread, so the
// thread gets words of its own, zero as in any new thread, and a control block that holds what compiled
// code reads above fs: its own address (fs:0, fs:16) and the stack protector's canary (fs:40).
#include "allocator/base/os_thread.h"

#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/tls.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <sched.h>

namespace warren::os_thread {
namespace {

// In .bss: costs nothing until used.
constexpr size_t kLocalBytes = size_t{64} << 10;  // libc's own words may lie between ours and fs
constexpr size_t kControlBytes = 4096;
constexpr size_t kStackBytes = size_t{32} << 10;
struct Area {
  char local[kLocalBytes];
  char control[kControlBytes];
  char stack[kStackBytes];
};
alignas(4096) WARREN_LARGE_TABLE Area area;

WARREN_TLS char probe = 0;
constexpr size_t kModuleBytes = 4096;  // far more than all of the library's thread-local words

// The thread's id while it lives; the kernel stores 0 when it has left its stack.
uint32_t alive = 0;

// With CLONE_FS, though the thread leaves that at once: without it this is no thread in valgrind's eyes, which then
// gives up.
constexpr unsigned long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                                 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

os_calls::Capabilities at_start;

void run(void *body) {
  os_calls::leave_working_directory();
  at_start = os_calls::capabilities(0);
  os_calls::name_thread("warren-scavenge");
  reinterpret_cast<void (*)()>(body)();
}

}  // namespace

bool start(void (*body)()) {
  if (__atomic_load_n(&alive, __ATOMIC_ACQUIRE) != 0) return false;
  const auto fs = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  const uintptr_t distance = fs - address_of(&probe);
  if (distance > kLocalBytes - kModuleBytes) return false;  // as large as this is no program's static TLS
  memset(area.local + kLocalBytes - distance - kModuleBytes, 0, distance + kModuleBytes);
  const uintptr_t control = address_of(area.control);
  memcpy(area.control, &control, sizeof control);
  memcpy(area.control + 16, &control, sizeof control);
  memcpy(area.control + 40, at_address<void>(fs + 40), 2 * sizeof(uintptr_t));
  const uint64_t signals = os_calls::block_all_signals();
  const long id = os_calls::clone_thread(kFlags, area.stack + kStackBytes, &alive, at_address<void>(control), run,
                                         reinterpret_cast<void *>(body));
  os_calls::restore_signals(signals);
  return !os_calls::failed(id);
}

bool privileges_differ() {
  // Without capabilities there is nothing to give up, and no reason to ask.
  return !(at_start == os_calls::Capabilities{}) && !(os_calls::capabilities(os_calls::process_id()) == at_start);
}

uint32_t id() { return __atomic_load_n(&alive, __ATOMIC_RELAXED); }

void forget_in_child() { __atomic_store_n(&alive, 0, __ATOMIC_RELAXED); }

}  // namespace warren::os_thread

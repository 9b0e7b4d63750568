// See counted_entries.h. Written through /proc/self/mem: no page is ever writable and executable at once.
#include "preload/counted_entries.h"

#include "allocator/base/os_calls.h"
#include "allocator/sampling.h"

#include <cstring>
#include <fcntl.h>

namespace warren::counted_entries {
namespace {

int memory = -1;  // open while entries are redirected

}  // namespace

void redirect_code(uintptr_t from, uintptr_t to) {
  constexpr size_t kJumpBytes = 5;
  const auto distance = static_cast<int64_t>(to - from - kJumpBytes);
  const auto near = static_cast<int32_t>(distance);
  if (near != distance) return;
  uint8_t jump[kJumpBytes] = {0xe9};
  memcpy(jump + 1, &near, sizeof near);
  os_calls::write_at(memory, jump, sizeof jump, from);
}

void redirect_all() {
  const long opened = os_calls::open("/proc/self/mem", O_WRONLY);
  if (os_calls::failed(opened)) return;
  memory = static_cast<int>(opened);
  sampling::count_for_ever();
  redirect_malloc();
  redirect_new();
  os_calls::close(memory);
}

}  // namespace warren::counted_entries

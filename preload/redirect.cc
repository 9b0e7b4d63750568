// See redirect.h.
#include "preload/redirect.h"

#include "allocator/base/os_calls.h"

#include <cstring>
#include <fcntl.h>

namespace warren {

Redirection::Redirection() {
  const long opened = os_calls::open("/proc/self/mem", O_WRONLY);
  memory_ = os_calls::failed(opened) ? -1 : static_cast<int>(opened);
}

Redirection::~Redirection() {
  if (is_possible()) os_calls::close(memory_);
}

void Redirection::write(uintptr_t from, uintptr_t to) {
  constexpr size_t kJumpBytes = 5;
  const auto distance = static_cast<int64_t>(to - from - kJumpBytes);
  const auto near = static_cast<int32_t>(distance);
  if (near != distance) return;
  uint8_t jump[kJumpBytes] = {0xe9};
  memcpy(jump + 1, &near, sizeof near);
  os_calls::write_at(memory_, jump, sizeof jump, from);
}

}  // namespace warren

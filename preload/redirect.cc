// See redirect.h.
#include "preload/redirect.h"

#include "allocator/base/check.h"
#include "allocator/base/os_calls.h"

#include <cstring>
#include <fcntl.h>

namespace warren {
namespace {

constexpr size_t kJumpBytes = 5;

}  // namespace

Redirection::Redirection() {
  const long opened = os_calls::open("/proc/self/mem", O_WRONLY);
  memory_ = os_calls::failed(opened) ? -1 : static_cast<int>(opened);
}

Redirection::~Redirection() {
  if (is_possible()) os_calls::close(memory_);
}

bool Redirection::write(uintptr_t from, uintptr_t to) {
  const auto distance = static_cast<int64_t>(to - from - kJumpBytes);
  const auto near = static_cast<int32_t>(distance);
  if (near != distance) return false;
  uint8_t jump[kJumpBytes] = {0xe9};
  memcpy(jump + 1, &near, sizeof near);
  return os_calls::write_at(memory_, jump, sizeof jump, from) == static_cast<long>(sizeof jump);
}

bool Redirection::jump_all(const Jump *jumps, size_t count) {
  CHECK(count <= kMostJumps);
  uint8_t before[kMostJumps][kJumpBytes];
  for (size_t i = 0; i < count; ++i) {
    memcpy(before[i], jumps[i].from, kJumpBytes);
    if (write(reinterpret_cast<uintptr_t>(jumps[i].from), reinterpret_cast<uintptr_t>(jumps[i].to))) continue;
    while (i-- > 0) os_calls::write_at(memory_, before[i], kJumpBytes, reinterpret_cast<uintptr_t>(jumps[i].from));
    return false;
  }
  return true;
}

}  // namespace warren

// See stop_gate.h.
#include "allocator/base/stop_gate.h"

#include "allocator/base/annotations.h"

namespace warren::stop_gate {

WARREN_TLS uint32_t inside = 0;
void (*stop_here)() = nullptr;

WARREN_COLD void stop_now() {
  if (stop_here != nullptr) stop_here();
}

}  // namespace warren::stop_gate

// See modules.h.
#include "inspect/modules.h"

namespace warren::inspect {

bool Modules::read() {
  return read_maps("/proc/self/maps",
      text_,
      [](const Mapping &mapping, void *context) {
        return !mapping.executable || static_cast<Modules *>(context)->modules_.push_back(mapping);
      },
      this);
}

void Modules::release() {
  modules_.release();
  text_.release();
}

size_t Modules::find(uintptr_t address) const { return find_mapping(modules_, address); }

}  // namespace warren::inspect

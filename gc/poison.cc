// See poison.h.
#include "gc/poison.h"

#include "allocator/base/fatal.h"

#include <cstring>

namespace warren::gc::poison {

void fill(uintptr_t start, size_t bytes) { memset(at_address<void>(start), kByte, bytes); }

void fill_dead(const Span *span) {
  const BitPair *pairs = pairs_of(span);
  const bool large = span->size_class.is_large();
  const size_t objects = large ? 1 : info(span->size_class).objects;
  const size_t size = large ? span->bytes() : info(span->size_class).object_size;
  for (size_t i = 0; i < objects; ++i) {
    const uint64_t dead = pairs[i / 64].allocated & ~pairs[i / 64].marked;
    if ((dead >> (i % 64) & 1) != 0) fill(span->start() + i * size, size);
  }
}

void check(uintptr_t first, size_t size, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const auto *object = at_address<const unsigned char>(first + i * size);
    for (size_t at = 0; at < size; ++at) {
      if (object[at] == kByte) continue;
      fatal::write_after_free(object, size, at);
      break;
    }
  }
}

}  // namespace warren::gc::poison

// See os_process.h. Layout of the initial stack: argc, argv…, NULL, envp…, NULL, auxv….
#include "allocator/base/os_process.h"

#include "allocator/base/address.h"
#include "allocator/base/os_calls.h"

#include <elf.h>

extern "C" void *__libc_stack_end;  // set by the loader before any other object runs

namespace warren::os_process {
namespace {

constexpr long kAddrNoRandomize = 0x0040000;

const uintptr_t *initial_stack() { return static_cast<const uintptr_t *>(__libc_stack_end); }

const char *const *environment_block() {
  const uintptr_t argc = *initial_stack();
  return reinterpret_cast<const char *const *>(initial_stack() + 1 + argc + 1);
}

// The text behind `name=` in `entry`, or nullptr.
const char *value_of(const char *entry, const char *name) {
  while (*name != '\0') {
    if (*entry++ != *name++) return nullptr;
  }
  return *entry == '=' ? entry + 1 : nullptr;
}

}  // namespace

const char *environment(const char *name) {
  if (__libc_stack_end == nullptr) return nullptr;
  for (const char *const *entry = environment_block(); *entry != nullptr; ++entry) {
    if (const char *value = value_of(*entry, name)) return value;
  }
  return nullptr;
}

uint64_t auxiliary(uint64_t type) {
  if (__libc_stack_end == nullptr) return 0;
  const char *const *entry = environment_block();
  while (*entry != nullptr) ++entry;
  const auto *vector = reinterpret_cast<const Elf64_auxv_t *>(entry + 1);
  for (; vector->a_type != AT_NULL; ++vector) {
    if (vector->a_type == type) return vector->a_un.a_val;
  }
  return 0;
}

uint64_t layout_seed() {
  const long flags = os_calls::personality();
  const uint64_t bytes = auxiliary(AT_RANDOM);
  if (bytes == 0 || (!os_calls::failed(flags) && (flags & kAddrNoRandomize) != 0)) return 0;
  uint64_t seed;
  __builtin_memcpy(&seed, at_address<const void>(bytes), sizeof seed);
  seed *= 0x9e3779b97f4a7c15;  // the first byte is also the stack protector's; do not show it in addresses
  return seed ^ seed >> 32;
}

uint64_t id() { return os_calls::process_id(); }

int keep_stderr() {
  constexpr int kLowest = 900;
  static int kept = -1;
  if (kept < 0) {
    const long copy = os_calls::duplicate_from(2, kLowest);
    kept = os_calls::failed(copy) ? 2 : static_cast<int>(copy);
  }
  return kept;
}

}  // namespace warren::os_process

// A small, strict allocator for the programs that define the malloc family themselves: a static pool with a
// header before each block, never reused. Included by exactly one source of each such program.
// Invariant: it knows its own blocks, so a pointer of another allocator is recognised and counted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace own {

inline constexpr std::size_t kPoolBytes = std::size_t{256} << 20;
inline constexpr std::uint64_t kLive = 0x6c697665626c6f63;
inline constexpr std::uint64_t kFreed = 0x6672656564626c6f;

struct alignas(16) Header {
  std::uint64_t state;
  std::size_t size;
};

alignas(4096) inline char g_pool[kPoolBytes];
inline std::atomic<std::size_t> g_used{0};
inline std::atomic<long> g_allocated{0};
inline std::atomic<long> g_freed{0};
inline std::atomic<long> g_strangers{0};  // pointers to free or realloc that this allocator never made

inline bool made_here(const void *p) {
  const auto *c = static_cast<const char *>(p);
  return c >= g_pool && c < g_pool + kPoolBytes;
}

inline void *allocate(std::size_t size, std::size_t alignment = 16) {
  if (size > kPoolBytes / 2) return nullptr;
  if (alignment < 16) alignment = 16;
  const std::size_t room = sizeof(Header) + alignment + ((size + 15) & ~std::size_t{15});
  const std::size_t at = g_used.fetch_add(room);
  if (at + room > kPoolBytes) return nullptr;
  auto address = reinterpret_cast<std::uintptr_t>(g_pool) + at + sizeof(Header);
  address = (address + alignment - 1) & ~(alignment - 1);
  auto *header = reinterpret_cast<Header *>(address - sizeof(Header));
  header->state = kLive;
  header->size = size;
  g_allocated.fetch_add(1);
  return reinterpret_cast<void *>(address);
}

inline Header *header_of(void *p) { return static_cast<Header *>(p) - 1; }

inline void release(void *p) {
  if (p == nullptr) return;
  if (!made_here(p)) {
    g_strangers.fetch_add(1);
    return;
  }
  Header *header = header_of(p);
  if (header->state != kLive) __builtin_trap();
  header->state = kFreed;
  g_freed.fetch_add(1);
}

inline void *change(void *p, std::size_t size) {
  if (p == nullptr) return allocate(size);
  if (!made_here(p)) {
    g_strangers.fetch_add(1);
    return nullptr;
  }
  void *moved = allocate(size);
  if (moved == nullptr) return nullptr;
  const std::size_t old_size = header_of(p)->size;
  std::memcpy(moved, p, old_size < size ? old_size : size);
  release(p);
  return moved;
}

}  // namespace own

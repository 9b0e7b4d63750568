// Every function that takes a block back, every function that hands one out, and the few services acts
// need. Linked into the victim and the driver (which only reads the names).
// Invariant: all calls go through volatile pointers, so that no compiler removes, merges or judges them.
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "child.h"
#include "misuse.h"

#ifndef __cpp_sized_deallocation
void operator delete(void *, std::size_t) noexcept;
void operator delete[](void *, std::size_t) noexcept;
void operator delete(void *, std::size_t, std::align_val_t) noexcept;
void operator delete[](void *, std::size_t, std::align_val_t) noexcept;
#endif

namespace misuse {
namespace {

constexpr auto kBlockAlignment = std::align_val_t{16};

// A function pointer the optimiser knows nothing about.
template <class F>
F *opaque(F *function) {
  F *volatile hidden = function;
  return hidden;
}

template <class F>
F *looked_up(const char *name) {
  return reinterpret_cast<F *>(dlsym(RTLD_DEFAULT, name));
}

void *g_sink;  // keeps results of realloc alive

void call_free(void *p, std::size_t) { opaque(&free)(p); }
void call_realloc_same(void *p, std::size_t n) { g_sink = opaque(&realloc)(p, n); }
void call_realloc_grow(void *p, std::size_t n) { g_sink = opaque(&realloc)(p, 2 * n + 64); }
void call_realloc_shrink(void *p, std::size_t n) { g_sink = opaque(&realloc)(p, n / 2 + 1); }
void call_realloc_zero(void *p, std::size_t) { g_sink = opaque(&realloc)(p, 0); }
void call_reallocarray(void *p, std::size_t n) { g_sink = opaque(&reallocarray)(p, n, 2); }
void call_reallocarray_zero(void *p, std::size_t) { g_sink = opaque(&reallocarray)(p, 0, 8); }
void call_usable_size(void *p, std::size_t) { g_sink = reinterpret_cast<void *>(opaque(&malloc_usable_size)(p)); }

bool has_cfree() { return looked_up<void(void *)>("cfree") != nullptr; }
void call_cfree(void *p, std::size_t) { looked_up<void(void *)>("cfree")(p); }

bool has_free_sized() { return looked_up<void(void *)>("free_sized") != nullptr; }
void call_free_sized(void *p, std::size_t n) { looked_up<void(void *, std::size_t)>("free_sized")(p, n); }

bool has_free_aligned_sized() { return looked_up<void(void *)>("free_aligned_sized") != nullptr; }
void call_free_aligned_sized(void *p, std::size_t n) {
  looked_up<void(void *, std::size_t, std::size_t)>("free_aligned_sized")(p, 16, n);
}

using Delete = void(void *) noexcept;
using SizedDelete = void(void *, std::size_t) noexcept;
using AlignedDelete = void(void *, std::align_val_t) noexcept;
using SizedAlignedDelete = void(void *, std::size_t, std::align_val_t) noexcept;
using NothrowDelete = void(void *, const std::nothrow_t &) noexcept;
using AlignedNothrowDelete = void(void *, std::align_val_t, const std::nothrow_t &) noexcept;

void call_delete(void *p, std::size_t) { opaque<Delete>(&operator delete)(p); }
void call_delete_array(void *p, std::size_t) { opaque<Delete>(&operator delete[])(p); }
void call_sized_delete(void *p, std::size_t n) { opaque<SizedDelete>(&operator delete)(p, n); }
void call_sized_delete_array(void *p, std::size_t n) { opaque<SizedDelete>(&operator delete[])(p, n); }
void call_aligned_delete(void *p, std::size_t) { opaque<AlignedDelete>(&operator delete)(p, kBlockAlignment); }
void call_aligned_delete_array(void *p, std::size_t) {
  opaque<AlignedDelete>(&operator delete[])(p, kBlockAlignment);
}
void call_sized_aligned_delete(void *p, std::size_t n) {
  opaque<SizedAlignedDelete>(&operator delete)(p, n, kBlockAlignment);
}
void call_sized_aligned_delete_array(void *p, std::size_t n) {
  opaque<SizedAlignedDelete>(&operator delete[])(p, n, kBlockAlignment);
}
void call_nothrow_delete(void *p, std::size_t) { opaque<NothrowDelete>(&operator delete)(p, std::nothrow); }
void call_nothrow_delete_array(void *p, std::size_t) { opaque<NothrowDelete>(&operator delete[])(p, std::nothrow); }
void call_aligned_nothrow_delete(void *p, std::size_t) {
  opaque<AlignedNothrowDelete>(&operator delete)(p, kBlockAlignment, std::nothrow);
}
void call_aligned_nothrow_delete_array(void *p, std::size_t) {
  opaque<AlignedNothrowDelete>(&operator delete[])(p, kBlockAlignment, std::nothrow);
}

void *from_malloc(std::size_t n) { return opaque(&malloc)(n); }
void *from_calloc(std::size_t n) { return opaque(&calloc)(1, n); }
void *from_realloc(std::size_t n) { return opaque(&realloc)(nullptr, n); }
void *from_grown_realloc(std::size_t n) { return opaque(&realloc)(opaque(&malloc)(n / 2 + 1), n); }
void *from_reallocarray(std::size_t n) { return opaque(&reallocarray)(nullptr, 1, n); }
void *from_aligned_alloc(std::size_t n) { return opaque(&aligned_alloc)(64, n); }
void *from_memalign_page(std::size_t n) { return opaque(&memalign)(4096, n); }
void *from_posix_memalign_large(std::size_t n) {
  void *p = nullptr;
  return opaque(&posix_memalign)(&p, std::size_t{1} << 20, n) == 0 ? p : nullptr;
}
void *from_valloc(std::size_t n) { return opaque(&valloc)(n); }
void *from_new(std::size_t n) { return opaque<void *(std::size_t)>(&operator new)(n); }
void *from_new_array(std::size_t n) { return opaque<void *(std::size_t)>(&operator new[])(n); }
void *from_aligned_new(std::size_t n) {
  return opaque<void *(std::size_t, std::align_val_t)>(&operator new)(n, std::align_val_t{128});
}

}  // namespace

std::span<const Releaser> releasers() {
  static constexpr Releaser list[] = {
      {"free", "free", nullptr, call_free},
      {"realloc_same", "realloc", nullptr, call_realloc_same},
      {"realloc_grow", "realloc", nullptr, call_realloc_grow},
      {"realloc_shrink", "realloc", nullptr, call_realloc_shrink},
      {"realloc_zero", "realloc", nullptr, call_realloc_zero},
      {"reallocarray", "realloc", nullptr, call_reallocarray},
      {"reallocarray_zero", "realloc", nullptr, call_reallocarray_zero},
      {"malloc_usable_size", "malloc_usable_size", nullptr, call_usable_size},
      {"cfree", "free", has_cfree, call_cfree},
      {"free_sized", "free", has_free_sized, call_free_sized},
      {"free_aligned_sized", "free", has_free_aligned_sized, call_free_aligned_sized},
      {"delete", "free", nullptr, call_delete},
      {"delete_array", "free", nullptr, call_delete_array},
      {"sized_delete", "free", nullptr, call_sized_delete},
      {"sized_delete_array", "free", nullptr, call_sized_delete_array},
      {"aligned_delete", "free", nullptr, call_aligned_delete},
      {"aligned_delete_array", "free", nullptr, call_aligned_delete_array},
      {"sized_aligned_delete", "free", nullptr, call_sized_aligned_delete},
      {"sized_aligned_delete_array", "free", nullptr, call_sized_aligned_delete_array},
      {"nothrow_delete", "free", nullptr, call_nothrow_delete},
      {"nothrow_delete_array", "free", nullptr, call_nothrow_delete_array},
      {"aligned_nothrow_delete", "free", nullptr, call_aligned_nothrow_delete},
      {"aligned_nothrow_delete_array", "free", nullptr, call_aligned_nothrow_delete_array},
  };
  return list;
}

std::span<const Origin> origins() {
  static constexpr Origin list[] = {
      {"malloc", from_malloc},
      {"calloc", from_calloc},
      {"realloc", from_realloc},
      {"grown_realloc", from_grown_realloc},
      {"reallocarray", from_reallocarray},
      {"aligned_alloc", from_aligned_alloc},
      {"memalign_page", from_memalign_page},
      {"posix_memalign_large", from_posix_memalign_large},
      {"valloc", from_valloc},
      {"new", from_new},
      {"new_array", from_new_array},
      {"aligned_new", from_aligned_new},
  };
  return list;
}

char *Deed::make_block(std::size_t bytes) const {
  auto *block = static_cast<char *>(origin->make(bytes));
  if (block == nullptr) act_failed("out of memory");
  block[0] = 'w';
  block[bytes - 1] = 'n';
  return block;
}

void Deed::free_rightly(void *block) const { call_free(block, size); }

void Deed::finish(void *bad) const {
  char line[2 + 16 + 1 + 1];
  char *out = line;
  *out++ = '0';
  *out++ = 'x';
  const auto address = reinterpret_cast<std::uintptr_t>(bad);
  int shift = 60;
  while (shift > 0 && (address >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) *out++ = "0123456789abcdef"[(address >> shift) & 0xf];
  *out++ = '\n';
  *out = 0;
  say(STDOUT_FILENO, line);
  releaser->call(bad, size);
}

void say(int fd, const char *text) {
  if (write(fd, text, std::strlen(text)) < 0) return;
}

void skip_case() { _exit(victims::kVictimSkips); }

void act_failed(const char *why) {
  say(STDERR_FILENO, "act failed: ");
  say(STDERR_FILENO, why);
  say(STDERR_FILENO, "\n");
  _exit(3);
}

void run_on_thread(void (*body)(void *), void *argument) {
  struct Call {
    void (*body)(void *);
    void *argument;
  } call{body, argument};
  const auto entry = [](void *raw) -> void * {
    auto *c = static_cast<Call *>(raw);
    c->body(c->argument);
    return nullptr;
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, entry, &call) != 0) act_failed("pthread_create");
  pthread_join(thread, nullptr);
}

}  // namespace misuse

// Acts that hand in an address the allocator never owned: stacks, segments, mappings, wild numbers, and
// blocks of other allocators. Played by misuse_victim.
// Invariant: every address is outside the library's heap, and most are also not safe to read or write.
#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "misuse.h"

extern char **environ;

namespace misuse {
namespace {

constexpr std::size_t kPage = 4096;

alignas(64) char g_zeroed[kPage];
alignas(64) char g_initialised[256] = "some data";
alignas(64) const char g_constant[256] = "read-only data";
alignas(16) thread_local char g_thread_local[64];

void *at(std::uintptr_t address) { return reinterpret_cast<void *>(address); }

void *mapping(std::size_t bytes, int protection) {
  void *p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) act_failed("mmap");
  return p;
}

void stack(const Deed &deed) {
  alignas(16) volatile char local[128];
  local[0] = 'x';
  deed.finish(const_cast<char *>(local));
}
void inside_stack_array(const Deed &deed) {
  alignas(16) volatile char local[128];
  local[0] = 'x';
  deed.finish(const_cast<char *>(local) + 32);
}
void stack_of_a_thread(const Deed &deed) {
  run_on_thread([](void *raw) { stack(*static_cast<const Deed *>(raw)); }, const_cast<Deed *>(&deed));
}
void bss(const Deed &deed) { deed.finish(g_zeroed); }
void bss_plus_16(const Deed &deed) { deed.finish(g_zeroed + 16); }
void data(const Deed &deed) { deed.finish(g_initialised); }
void read_only_data(const Deed &deed) { deed.finish(const_cast<char *>(g_constant)); }
void code(const Deed &deed) { deed.finish(reinterpret_cast<void *>(&code)); }
void thread_local_storage(const Deed &deed) { deed.finish(g_thread_local); }
void environment_string(const Deed &deed) { deed.finish(environ[0]); }
void environment_array(const Deed &deed) { deed.finish(environ); }
void vdso(const Deed &deed) { deed.finish(at(getauxval(AT_SYSINFO_EHDR))); }
void libc_data(const Deed &deed) { deed.finish(stdout); }
void libc_code(const Deed &deed) { deed.finish(reinterpret_cast<void *>(&getpid)); }
void allocator_code(const Deed &deed) { deed.finish(reinterpret_cast<void *>(&malloc)); }

void fresh_mapping(const Deed &deed) { deed.finish(mapping(16 * kPage, PROT_READ | PROT_WRITE)); }
void inside_fresh_mapping(const Deed &deed) {
  deed.finish(static_cast<char *>(mapping(16 * kPage, PROT_READ | PROT_WRITE)) + 3 * kPage + 16);
}
void inaccessible_mapping(const Deed &deed) { deed.finish(mapping(16 * kPage, PROT_NONE)); }
void unmapped_mapping(const Deed &deed) {
  void *p = mapping(4 * kPage, PROT_READ | PROT_WRITE);
  munmap(p, 4 * kPage);
  deed.finish(p);
}
void program_break(const Deed &deed) { deed.finish(sbrk(kPage)); }

void one(const Deed &deed) { deed.finish(at(1)); }
void sixteen(const Deed &deed) { deed.finish(at(0x10)); }
void end_of_null_page(const Deed &deed) { deed.finish(at(0xff0)); }
void low_page(const Deed &deed) { deed.finish(at(0x10000)); }
void deadbeef0(const Deed &deed) { deed.finish(at(0xdeadbeef0)); }
void last_user_address(const Deed &deed) { deed.finish(at(0x7ffffffffff0)); }
void first_non_canonical(const Deed &deed) { deed.finish(at(0x800000000000)); }
void letters(const Deed &deed) { deed.finish(at(0x4141414141414141)); }
void sign_bit(const Deed &deed) { deed.finish(at(0x8000000000000000)); }
void kernel_address(const Deed &deed) { deed.finish(at(0xffff888000000000)); }
void all_ones(const Deed &deed) { deed.finish(at(~std::uintptr_t{0})); }
void all_ones_aligned(const Deed &deed) { deed.finish(at(~std::uintptr_t{15})); }
// A live block's address with one of its upper bits flipped, as a tagged pointer would have.
void tagged_bit_47(const Deed &deed) {
  deed.finish(at(reinterpret_cast<std::uintptr_t>(deed.make_block()) ^ (std::uintptr_t{1} << 47)));
}
void tagged_bit_56(const Deed &deed) {
  deed.finish(at(reinterpret_cast<std::uintptr_t>(deed.make_block()) ^ (std::uintptr_t{1} << 56)));
}
void tagged_bit_63(const Deed &deed) {
  deed.finish(at(reinterpret_cast<std::uintptr_t>(deed.make_block()) ^ (std::uintptr_t{1} << 63)));
}

// The loader allocates its records before any malloc exists, from a pool of its own.
void loader_record(const Deed &deed) {
  if (_r_debug.r_map == nullptr || _r_debug.r_map->l_next == nullptr) skip_case();
  deed.finish(_r_debug.r_map->l_next);
}

// A second C library in a namespace of its own brings a second malloc.
void block_of_second_libc(const Deed &deed) {
  void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  if (libc == nullptr) skip_case();
  auto *other_malloc = reinterpret_cast<void *(*)(std::size_t)>(dlsym(libc, "malloc"));
  if (other_malloc == nullptr) skip_case();
  void *p = other_malloc(100);
  if (p == nullptr) act_failed("second malloc");
  deed.finish(p);
}
void mapped_block_of_second_libc(const Deed &deed) {
  void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  if (libc == nullptr) skip_case();
  auto *other_malloc = reinterpret_cast<void *(*)(std::size_t)>(dlsym(libc, "malloc"));
  if (other_malloc == nullptr) skip_case();
  void *p = other_malloc(1U << 20);
  if (p == nullptr) act_failed("second malloc");
  deed.finish(p);
}

// A program's own pool allocator: a block in the middle of a static array, with a header before it.
void block_of_own_pool(const Deed &deed) {
  g_zeroed[512 - 8] = 0x31;  // what another malloc's header might look like
  deed.finish(g_zeroed + 512);
}

}  // namespace

std::span<const ActRow> foreign_rows() {
  using S = ActRow::Spread;
  constexpr unsigned kForeign = kForeignPointer;
  static constexpr ActRow rows[] = {
      {"stack", stack, kForeign, S::kSizesAndReleasers},
      {"inside_stack_array", inside_stack_array, kForeign, S::kOnce},
      {"stack_of_a_thread", stack_of_a_thread, kForeign, S::kOnce},
      {"bss", bss, kForeign, S::kOnce},
      {"bss_plus_16", bss_plus_16, kForeign, S::kOnce},
      {"data", data, kForeign, S::kOnce},
      {"read_only_data", read_only_data, kForeign, S::kOnce},
      {"code", code, kForeign, S::kOnce},
      {"thread_local_storage", thread_local_storage, kForeign, S::kOnce},
      {"environment_string", environment_string, kForeign, S::kOnce},
      {"environment_array", environment_array, kForeign, S::kOnce},
      {"vdso", vdso, kForeign, S::kOnce},
      {"libc_data", libc_data, kForeign, S::kOnce},
      {"libc_code", libc_code, kForeign, S::kOnce},
      {"allocator_code", allocator_code, kForeign, S::kOnce},
      {"fresh_mapping", fresh_mapping, kForeign, S::kOnce},
      {"inside_fresh_mapping", inside_fresh_mapping, kForeign, S::kOnce},
      {"inaccessible_mapping", inaccessible_mapping, kForeign, S::kOnce},
      {"unmapped_mapping", unmapped_mapping, kForeign, S::kOnce},
      {"program_break", program_break, kForeign, S::kOnce},
      {"one", one, kForeign, S::kOnce},
      {"sixteen", sixteen, kForeign, S::kSizesAndReleasers},
      {"end_of_null_page", end_of_null_page, kForeign, S::kOnce},
      {"low_page", low_page, kForeign, S::kOnce},
      {"deadbeef0", deadbeef0, kForeign, S::kSizesAndReleasers},
      {"last_user_address", last_user_address, kForeign, S::kOnce},
      {"first_non_canonical", first_non_canonical, kForeign, S::kOnce},
      {"letters", letters, kForeign, S::kSizesAndReleasers},
      {"sign_bit", sign_bit, kForeign, S::kOnce},
      {"kernel_address", kernel_address, kForeign, S::kOnce},
      {"all_ones", all_ones, kForeign, S::kSizesAndReleasers},
      {"all_ones_aligned", all_ones_aligned, kForeign, S::kOnce},
      {"tagged_bit_47", tagged_bit_47, kForeign, S::kSizes},
      {"tagged_bit_56", tagged_bit_56, kForeign, S::kSizes},
      {"tagged_bit_63", tagged_bit_63, kForeign, S::kSizes},
      {"loader_record", loader_record, kForeign, S::kOnce},
      {"block_of_second_libc", block_of_second_libc, kForeign, S::kOnce},
      {"mapped_block_of_second_libc", mapped_block_of_second_libc, kForeign, S::kOnce},
      {"block_of_own_pool", block_of_own_pool, kForeign, S::kOnce},
  };
  return rows;
}

}  // namespace misuse

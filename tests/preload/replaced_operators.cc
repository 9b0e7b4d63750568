// A program that brings some of the operators new and delete, which mark their blocks, and calls all of them: those it
// leaves out must end in its own. Run by process_test.py, with and without the preload. REPLACED tells which it brings:
// 1 plain, 2 arrays, 3 aligned, 4 plain and aligned. Invariant: prints one line, what went wrong or the number of its own calls.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kHeader = 256;
constexpr unsigned long kMagic = 0x5ca1ab1e;
long taken, given;

[[maybe_unused]] void *take(std::size_t size) {
  auto *block = static_cast<char *>(aligned_alloc(kHeader, (size + 2 * kHeader - 1) / kHeader * kHeader));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<unsigned long *>(block) = kMagic;
  ++taken;
  return block + kHeader;
}

[[maybe_unused]] void give(void *block) {
  if (block == nullptr) return;
  char *whole = static_cast<char *>(block) - kHeader;
  if (*reinterpret_cast<unsigned long *>(whole) != kMagic) {
    std::puts("a block of another new");
    std::_Exit(1);
  }
  ++given;
  std::free(whole);
}

}  // namespace

#if REPLACED == 1 || REPLACED == 4
void *operator new(std::size_t size) { return take(size); }
void operator delete(void *block) noexcept { give(block); }
#endif
#if REPLACED == 2
void *operator new[](std::size_t size) { return take(size); }
void operator delete[](void *block) noexcept { give(block); }
#endif
#if REPLACED == 3 || REPLACED == 4
void *operator new(std::size_t size, std::align_val_t) { return take(size); }
void operator delete(void *block, std::align_val_t) noexcept { give(block); }
#endif

int main() {
  using ::operator new;
  if (std::getenv("KEPT") == nullptr) std::puts("libc was started without the environment");
  const std::align_val_t align{64};
  const std::nothrow_t quiet{};
  for (int round = 0; round < 3; ++round) {
    ::operator delete(::operator new(100));
    ::operator delete(::operator new(100), std::size_t{100});
    ::operator delete(::operator new(100, quiet), quiet);
    ::operator delete[](::operator new[](100));
    ::operator delete[](::operator new[](100), std::size_t{100});
    ::operator delete[](::operator new[](100, quiet), quiet);
    ::operator delete(::operator new(100, align), align);
    ::operator delete(::operator new(100, align), std::size_t{100}, align);
    ::operator delete(::operator new(100, align, quiet), align, quiet);
    ::operator delete[](::operator new[](100, align), align);
    ::operator delete[](::operator new[](100, align), std::size_t{100}, align);
    ::operator delete[](::operator new[](100, align, quiet), align, quiet);
    std::vector<std::string> words;
    for (int i = 0; i < 100; ++i) words.push_back(std::string(static_cast<std::size_t>(i), 'x'));
    delete[] new int[10];
    delete new std::string(100, 'y');
  }
  void *too_much = ::operator new[](~std::size_t{0} / 2, quiet);
  std::printf("%s%ld taken, %ld given\n", too_much == nullptr ? "" : "too much was had; ", taken, given);
}

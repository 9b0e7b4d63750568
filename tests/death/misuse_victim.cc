// The program that misuses the heap once: misuse_victim ACT SIZE RELEASER ORIGIN. Run by misuse_test under
// the library being tested.
// Invariant: it exits 0 only when the misuse was not stopped; every other end is told apart by the driver.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "misuse.h"

namespace {

template <class T>
const T *named(std::span<const T> list, const char *name) {
  for (const T &item : list) {
    if (std::strcmp(item.name, name) == 0) return &item;
  }
  return nullptr;
}

bool control_run() {
  const char *control = getenv("WARREN_CONTROL");
  return control != nullptr && std::strcmp(control, "1") == 0;
}

// After a misuse that was reported and ignored: the heap must be none the worse for it.
void check_heap(std::size_t size) {
  constexpr std::size_t kCount = 512;
  static char *blocks[kCount];
  void *(*volatile take)(std::size_t) = &malloc;
  void (*volatile give_back)(void *) = &free;
  const std::size_t count = size > 100'000 ? 8 : kCount;
  for (std::size_t i = 0; i < count; ++i) {
    blocks[i] = static_cast<char *>(take(size));
    if (blocks[i] == nullptr) misuse::act_failed("no memory after an ignored misuse");
  }
  std::sort(blocks, blocks + count);
  for (std::size_t i = 1; i < count; ++i) {
    if (blocks[i] < blocks[i - 1] + size) misuse::act_failed("overlapping blocks after an ignored misuse");
  }
  for (std::size_t i = 0; i < count; ++i) give_back(blocks[i]);
}

bool misuse_is_ignored() {
  const char *conf = getenv("WARREN_CONF");
  return conf != nullptr && std::strcmp(conf, "abort_on_error=0") == 0;
}

void require_library_in_use() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void *>(&malloc), &info) == 0 || std::strstr(info.dli_fname, "libwarren") == nullptr) {
    misuse::act_failed("malloc is not the library under test");
  }
}

}  // namespace

int main(int argc, char **argv) {
  using namespace misuse;
  if (argc != 5) act_failed("usage: misuse_victim ACT SIZE RELEASER ORIGIN");
  if (!control_run()) require_library_in_use();
  const ActRow *row = nullptr;
  for (const auto rows : {double_free_rows(), bad_pointer_rows(), foreign_rows(), plight_rows()}) {
    if (row == nullptr) row = named(rows, argv[1]);
  }
  const Deed deed{std::strtoul(argv[2], nullptr, 10), named(releasers(), argv[3]), named(origins(), argv[4])};
  if (row == nullptr || deed.releaser == nullptr || deed.origin == nullptr) act_failed("no such case");
  if (deed.releaser->available != nullptr && !deed.releaser->available()) {
    if (control_run()) skip_case();
    act_failed("the library does not export this function");
  }
  row->act(deed);
  if (misuse_is_ignored()) check_heap(deed.size);
  _exit(0);
}

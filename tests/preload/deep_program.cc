// A program whose library (deep_module.cc) is opened with RTLD_DEEPBIND: blocks go from each to the other. Run by
// process_test.py. Arguments: nothing, or "used": libc's own heap is in use before. Prints what happened, one line each.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <thread>
#include <vector>

namespace {

void *library;

template <class Function>
Function *of_module(const char *name) {
  auto *function = reinterpret_cast<Function *>(dlsym(library, name));
  if (function == nullptr) {
    std::puts(dlerror());
    std::_Exit(1);
  }
  return function;
}

void exchange() {
  auto *make = of_module<void *(int)>("module_make");
  auto *take = of_module<bool(void *, bool)>("module_take");
  for (int round = 0; round < 100; ++round) {
    for (int kind = 0;; ++kind) {
      void *block = make(kind);
      if (block == nullptr) break;
      if (round % 2 == 1) block = std::realloc(block, 3000);
      std::free(block);
      if (!take(std::malloc(static_cast<std::size_t>(20 + kind * round)), round % 2 == 1)) std::puts("usable size is too small");
    }
    of_module<void(std::string *)>("module_drop")(new std::string(500, 'p'));
    delete of_module<std::string *()>("module_words")();
  }
}

}  // namespace

int main(int count, char **arguments) {
  void *of_libc = nullptr;
  if (count > 1 && std::strcmp(arguments[1], "used") == 0) {
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    of_libc = reinterpret_cast<void *(*)(std::size_t)>(dlsym(libc, "malloc"))(100);
  }
  // A name without a folder: it is this program's RUNPATH that leads to it.
  library = dlopen("libdeep_module.so", RTLD_LAZY | RTLD_GLOBAL | RTLD_DEEPBIND);
  if (library == nullptr) {
    std::puts(dlerror());
    return 1;
  }
  char *first = of_module<char *()>("module_first")();
  std::printf("%s\n", first);
  std::free(first);
  exchange();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(exchange);
  for (auto &thread : threads) thread.join();
  if (of_libc != nullptr) reinterpret_cast<void (*)(void *)>(dlsym(dlopen("libc.so.6", RTLD_NOW), "free"))(of_libc);
  std::puts("exchanged");
}

// witness: a second preloaded object that proves, from inside, whose malloc a process got.
//
// harness.py puts it behind the library under test in LD_PRELOAD; meson builds it, or harness.py does when a test is
// run by hand. Each process that maps it appends one line to the file named by WITNESS_LOG:
//
//     PID <tab> what /proc/self/exe points to <tab> the object that provides malloc in the global scope
//
// A program with a malloc of its own shows up as its own provider, a static or AT_SECURE program not at all.
//
// The provider is read from this object's own procedure linkage slot for malloc (link with -z now). The address of the
// function would not do, nor dlsym(RTLD_DEFAULT): in a program that is not position independent and takes malloc's
// address, as /usr/bin/python3 does, both give the program's linkage stub, wherever that leads.
//
// Invariant: it never calls malloc and replaces no symbol, so the process runs as it would without it.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace {

void* volatile kept;

// Makes the linker lay out a slot for malloc; never run.
__attribute__((used, noinline)) void call_malloc() { kept = malloc(1); }

// What a call of malloc from this object reaches; _DYNAMIC is this object's own, the linker makes it local.
void* malloc_of_the_process() {
  const ElfW(Rela)* slots = nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  size_t count = 0;
  for (const ElfW(Dyn)* entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_JMPREL) slots = reinterpret_cast<const ElfW(Rela)*>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_PLTRELSZ) count = entry->d_un.d_val / sizeof(ElfW(Rela));
    if (entry->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(entry->d_un.d_ptr);
  }
  Dl_info self = {};
  if (dladdr(const_cast<void**>(&kept), &self) == 0) return nullptr;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names + symbols[ELF64_R_SYM(slots[i].r_info)].st_name, "malloc") != 0) continue;
    return *reinterpret_cast<void**>(static_cast<char*>(self.dli_fbase) + slots[i].r_offset);
  }
  return nullptr;
}

// Appends to a fixed buffer and cuts off what does not fit; snprintf is allowed to allocate, this is not.
class Line {
 public:
  void add(const char* text) { add(text, strlen(text)); }

  void add(const char* text, size_t size) {
    for (size_t i = 0; i < size && length_ < sizeof(bytes_) - 1; i++) bytes_[length_++] = text[i];
  }

  void add_number(long number) {
    char digits[24];
    size_t at = sizeof(digits);
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    add(digits + at, sizeof(digits) - at);
  }

  // One write of less than a page to an O_APPEND file: lines of concurrent processes do not mix.
  void append_to(const char* path) {
    bytes_[length_++] = '\n';
    const int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) return;
    [[maybe_unused]] const ssize_t written = write(fd, bytes_, length_);
    close(fd);
  }

 private:
  char bytes_[3 * PATH_MAX / 4];
  size_t length_ = 0;
};

__attribute__((constructor)) void testify() {
  const char* path = getenv("WITNESS_LOG");
  if (path == nullptr) return;
  Line line;
  line.add_number(getpid());
  line.add("\t");
  char executable[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", executable, sizeof(executable));
  line.add(executable, length > 0 ? static_cast<size_t>(length) : 0);
  line.add("\t");
  Dl_info provider = {};
  line.add(dladdr(malloc_of_the_process(), &provider) != 0 ? provider.dli_fname : "nobody");
  line.append_to(path);
}

}  // namespace

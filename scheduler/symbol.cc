// See symbol.h.
#include "scheduler/symbol.h"

#include "allocator/base/address.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace warren::scheduler {
namespace {

// A mapped file's table of symbols. Kept for ever: reports are rare and often the last thing a process does.
struct File {
  const char *name = nullptr;
  const char *image = nullptr;
  const Elf64_Sym *symbols = nullptr;
  size_t count = 0;
  const char *names = nullptr;
};
constexpr int kMostFiles = 64;
File files[kMostFiles];
int file_count = 0;

void read_tables(File &file, size_t size) {
  const auto *header = reinterpret_cast<const Elf64_Ehdr *>(file.image);
  if (size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return;
  if (header->e_shoff == 0 || header->e_shoff + header->e_shnum * sizeof(Elf64_Shdr) > size) return;
  const auto *sections = reinterpret_cast<const Elf64_Shdr *>(file.image + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    const Elf64_Shdr &section = sections[i];
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= header->e_shnum) continue;
    const Elf64_Shdr &strings = sections[section.sh_link];
    if (section.sh_offset + section.sh_size > size || strings.sh_offset + strings.sh_size > size) return;
    file.symbols = reinterpret_cast<const Elf64_Sym *>(file.image + section.sh_offset);
    file.count = section.sh_size / sizeof(Elf64_Sym);
    file.names = file.image + strings.sh_offset;
    return;
  }
}

const File &file_named(const char *name) {
  for (int i = 0; i < file_count; ++i) {
    if (files[i].name == name) return files[i];
  }
  static const File kNone;
  if (file_count == kMostFiles) return kNone;
  File &file = files[file_count++];
  file.name = name;
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);  // the program, started by a relative path since left
  if (fd < 0) return file;
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_size > 0) {
    const auto size = static_cast<size_t>(status.st_size);
    void *image = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (image != MAP_FAILED) {
      file.image = static_cast<const char *>(image);
      read_tables(file, size);
    }
  }
  close(fd);
  return file;
}

struct Named {
  const char *name;
  uintptr_t offset;
};

Named find_in_file(const File &file, uintptr_t address) {
  for (size_t i = 0; i < file.count; ++i) {
    const Elf64_Sym &symbol = file.symbols[i];
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0) continue;
    if (address - symbol.st_value < symbol.st_size) return {file.names + symbol.st_name, address - symbol.st_value};
  }
  return {nullptr, 0};
}

Named name_of(uintptr_t address, Dl_info &info) {
  const link_map *map = nullptr;
  if (dladdr1(at_address<void>(address), &info, const_cast<void **>(reinterpret_cast<const void **>(&map)),
              RTLD_DL_LINKMAP) == 0) {
    info = {};
    return {nullptr, 0};
  }
  const uintptr_t bias = map != nullptr ? map->l_addr : 0;
  const Named found = find_in_file(file_named(info.dli_fname), address - bias);
  if (found.name != nullptr) return found;
  if (info.dli_sname != nullptr) return {info.dli_sname, address - address_of(info.dli_saddr)};
  return {nullptr, address - bias};
}

void print_demangled(LogLine &line, const char *name) {
  using Demangle = char *(const char *name, char *buffer, size_t *length, int *status);
  auto *demangle = reinterpret_cast<Demangle *>(dlsym(RTLD_DEFAULT, "__cxa_demangle"));
  int status = 1;
  char *plain =
      demangle != nullptr && name[0] == '_' && name[1] == 'Z' ? demangle(name, nullptr, nullptr, &status) : nullptr;
  const char *shown = plain != nullptr && status == 0 ? plain : name;
  const size_t length = strlen(shown);
  line.text(shown, length < 300 ? length : 300);
  free(plain);
}

void print_hexadecimal(LogLine &line, uintptr_t number) { line << at_address<const void>(number); }

}  // namespace

const char *symbol_name(uintptr_t address) {
  Dl_info info{};
  const char *name = name_of(address, info).name;
  return name != nullptr ? name : "";
}

void print_symbol(LogLine &line, uintptr_t address) {
  Dl_info info{};
  const Named found = name_of(address, info);
  const char *file = info.dli_fname != nullptr ? info.dli_fname : "?";
  if (const char *slash = strrchr(file, '/')) file = slash + 1;
  if (found.name != nullptr) {
    print_demangled(line, found.name);
    line << "+";
    print_hexadecimal(line, found.offset);
    line << " (" << file << ")";
    return;
  }
  print_hexadecimal(line, address);
  line << " (" << file << "+";
  print_hexadecimal(line, found.offset);
  line << ")";
}

}  // namespace warren::scheduler

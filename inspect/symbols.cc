// See symbols.h. Everything read from a file is checked against its size: the file may be another one by now, or damaged.
#include "inspect/symbols.h"

#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>

namespace warren::inspect {

template <class T>
const T *SymbolTable::Image::part(uint64_t offset, uint64_t count) const {
  uint64_t length, end;
  if (__builtin_mul_overflow(count, uint64_t{sizeof(T)}, &length) || __builtin_add_overflow(offset, length, &end)) return nullptr;
  return end <= size && offset % alignof(T) == 0 ? reinterpret_cast<const T *>(bytes + offset) : nullptr;
}

void SymbolTable::Image::map(const char *path) {
  const long fd = os_calls::open(path, O_RDONLY);
  if (os_calls::failed(fd)) return;
  const long length = os_calls::file_size(static_cast<int>(fd));
  if (!os_calls::failed(length) && length > static_cast<long>(sizeof(Elf64_Ehdr))) {
    const long address = os_calls::map_file(static_cast<int>(fd), static_cast<size_t>(length));
    if (!os_calls::failed(address)) {
      bytes = at_address<const uint8_t>(static_cast<uintptr_t>(address));
      size = static_cast<size_t>(length);
    }
  }
  os_calls::close(static_cast<int>(fd));
  if (bytes != nullptr && (memcmp(bytes, ELFMAG, SELFMAG) != 0 || bytes[EI_CLASS] != ELFCLASS64)) unmap();
}

void SymbolTable::Image::unmap() {
  if (bytes != nullptr) os_calls::munmap(const_cast<uint8_t *>(bytes), size);
  bytes = nullptr;
  size = 0;
}

void SymbolTable::find_build_id() {
  const auto *header = file_.part<Elf64_Ehdr>(0);
  if (header == nullptr) return;
  const auto *segments = file_.part<Elf64_Phdr>(header->e_phoff, header->e_phnum);
  for (unsigned i = 0; segments != nullptr && i < header->e_phnum; ++i) {
    if (segments[i].p_type != PT_NOTE) continue;
    uint64_t at = segments[i].p_offset;
    const uint64_t end = at + segments[i].p_filesz;
    while (const auto *note = at < end ? file_.part<Elf64_Nhdr>(at) : nullptr) {
      const uint64_t name = at + sizeof *note;
      const uint64_t contents = name + align_up(note->n_namesz, 4);
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && file_.part<char>(contents, note->n_descsz) != nullptr) {
        build_id_ = {file_.bytes + contents, note->n_descsz};
        return;
      }
      at = contents + align_up(note->n_descsz, 4);
    }
  }
}

void SymbolTable::add_symbols(const Image &image, const Elf64_Shdr &table, const Elf64_Shdr &strings) {
  const uint64_t count = table.sh_size / sizeof(Elf64_Sym);
  const auto *symbols = image.part<Elf64_Sym>(table.sh_offset, count);
  const auto *names = image.part<char>(strings.sh_offset, strings.sh_size);
  if (symbols == nullptr || names == nullptr || strings.sh_size == 0 || names[strings.sh_size - 1] != '\0') return;
  for (uint64_t i = 0; i < count; ++i) {
    const Elf64_Sym &symbol = symbols[i];
    const auto type = ELF64_ST_TYPE(symbol.st_info);
    if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_value == 0 || symbol.st_name >= strings.sh_size) continue;
    // Another library's, with the address of this program's way there.
    if (symbol.st_shndx == SHN_UNDEF) continue;
    if (!symbols_.push_back({symbol.st_value, symbol.st_size, names + symbol.st_name})) return;
  }
}

// False: the file has no table of that type.
bool SymbolTable::read_symbols(const Image &image, uint32_t type) {
  const auto *header = image.part<Elf64_Ehdr>(0);
  if (header == nullptr) return false;
  const auto *sections = image.part<Elf64_Shdr>(header->e_shoff, header->e_shnum);
  for (unsigned i = 0; sections != nullptr && i < header->e_shnum; ++i) {
    if (sections[i].sh_type != type || sections[i].sh_link >= header->e_shnum) continue;
    add_symbols(image, sections[i], sections[sections[i].sh_link]);
    return true;
  }
  return false;
}

void SymbolTable::open_debug_file() {
  if (build_id_.count < 2 || build_id_.count > 64) return;
  constexpr char kDigits[] = "0123456789abcdef";
  char digits[2 * 64];
  for (size_t i = 0; i < build_id_.count; ++i) {
    digits[2 * i] = kDigits[build_id_.bytes[i] >> 4];
    digits[2 * i + 1] = kDigits[build_id_.bytes[i] & 15];
  }
  LogLine path;
  path << "/usr/lib/debug/.build-id/";
  path.text(digits, 2) << "/";
  path.text(digits + 2, 2 * build_id_.count - 2) << ".debug";
  char terminated[256];
  memcpy(terminated, path.data(), path.size());
  terminated[path.size()] = '\0';
  debug_file_.map(terminated);
}

void SymbolTable::open(const char *path) {
  if (path[0] != '/') return;
  file_.map(path);
  if (file_.bytes != nullptr) find_build_id();
}

void SymbolTable::read_all_symbols() {
  symbols_read_ = true;
  if (!read_symbols(file_, SHT_SYMTAB)) {
    open_debug_file();
    if (debug_file_.bytes == nullptr || !read_symbols(debug_file_, SHT_SYMTAB)) read_symbols(file_, SHT_DYNSYM);
  }
  // Of several names for one place the longest function's comes last, which at() finds first.
  std::sort(symbols_.begin(), symbols_.end(), [](const Symbol &a, const Symbol &b) {
    return a.start != b.start ? a.start < b.start : a.bytes < b.bytes;
  });
}

void SymbolTable::release() {
  symbols_.release();
  file_.unmap();
  debug_file_.unmap();
  build_id_ = {nullptr, 0};
  symbols_read_ = false;
}

// Of the section that an address lies in. Without one, as far as there is anything.
uint64_t SymbolTable::section_end(uint64_t address) const {
  const auto *header = file_.part<Elf64_Ehdr>(0);
  const auto *sections = header == nullptr ? nullptr : file_.part<Elf64_Shdr>(header->e_shoff, header->e_shnum);
  for (unsigned i = 0; sections != nullptr && i < header->e_shnum; ++i) {
    const Elf64_Shdr &section = sections[i];
    if ((section.sh_flags & SHF_EXECINSTR) != 0 && address - section.sh_addr < section.sh_size) return section.sh_addr + section.sh_size;
  }
  return ~uint64_t{0};
}

SymbolTable::Function SymbolTable::at(uint64_t file_offset) {
  const Function unknown{nullptr, 0, 0};
  const auto *header = file_.part<Elf64_Ehdr>(0);
  if (header == nullptr) return unknown;
  if (!symbols_read_) read_all_symbols();
  const auto *segments = file_.part<Elf64_Phdr>(header->e_phoff, header->e_phnum);
  for (unsigned i = 0; segments != nullptr && i < header->e_phnum; ++i) {
    const Elf64_Phdr &segment = segments[i];
    if (segment.p_type != PT_LOAD || file_offset - segment.p_offset >= segment.p_filesz) continue;
    const uint64_t address = file_offset - segment.p_offset + segment.p_vaddr;
    const Symbol *behind = std::upper_bound(symbols_.begin(), symbols_.end(), address,
                                            [](uint64_t value, const Symbol &symbol) { return value < symbol.start; });
    if (behind == symbols_.begin()) return unknown;
    const Symbol &symbol = behind[-1];
    // Assembly often has no size; it does not reach beyond its section.
    if (symbol.bytes != 0 ? address - symbol.start >= symbol.bytes : address >= section_end(symbol.start)) return unknown;
    return {symbol.name, address - symbol.start, symbol.start};
  }
  return unknown;
}

bool Symbols::read() {
  if (!modules_.read()) modules_.release();  // no /proc, as in a chroot: addresses without names
  return tables_.reserve(modules_.count() + 1);
}

void Symbols::release() {
  for (size_t i = 0; i < modules_.count(); ++i) {
    if (tables_.begin()[i].open) tables_.begin()[i].table.release();
  }
  tables_.release();
  modules_.release();
}

SymbolTable &Symbols::table_of(size_t module) {
  Opened &opened = tables_.begin()[module];
  if (!opened.open) {
    opened.open = true;
    opened.table.open(modules_.path(modules_[module]));
  }
  return opened.table;
}

SymbolTable::Function Symbols::at(uintptr_t address) {
  const size_t module = modules_.find(address);
  if (module == modules_.count()) return {nullptr, 0, 0};
  return table_of(module).at(address - modules_[module].low + modules_[module].offset);
}

}  // namespace warren::inspect

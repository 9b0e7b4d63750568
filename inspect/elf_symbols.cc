// See elf_symbols.h.
#include "inspect/elf_symbols.h"

#include "allocator/base/address.h"
#include "gc/paged_array.h"
#include "inspect/process_map.h"

#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace warren::inspect::elf_symbols {
namespace {

struct Image {
  const char *start = nullptr;
  size_t size = 0;

  // Structures at a place in the file; nullptr when they do not lie wholly inside.
  template <class T>
  const T *at(uint64_t offset, uint64_t count = 1) const {
    if (offset > size || count > (size - offset) / sizeof(T)) return nullptr;
    return reinterpret_cast<const T *>(start + offset);
  }
};

struct Function {
  uint64_t start, size;
  const char *name;
};

struct File {
  uint64_t inode = 0;
  const char *path = nullptr;
  Image image;
  const Elf64_Phdr *segments = nullptr;
  unsigned segment_count = 0;
  gc::PagedArray<Function> functions;  // sorted by start
};

constexpr int kMostFiles = 512;
File files[kMostFiles];
int file_count = 0;

char *(*demangle)(const char *name, char *buffer, size_t *length, int *status) = nullptr;

Image map_file(const char *path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  Image image;
  struct stat status;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= static_cast<off_t>(sizeof(Elf64_Ehdr))) {
    const auto size = static_cast<size_t>(status.st_size);
    void *start = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (start != MAP_FAILED) image = {static_cast<const char *>(start), size};
  }
  close(fd);
  return image;
}

const Elf64_Ehdr *header_of(const Image &image) {
  const auto *header = image.at<Elf64_Ehdr>(0);
  if (header == nullptr || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64) return nullptr;
  return header;
}

// Adds the functions of one table. Whether there were any.
bool add_functions(File &file, const Image &image, uint32_t kind) {
  const Elf64_Ehdr *header = header_of(image);
  if (header == nullptr) return false;
  const auto *sections = image.at<Elf64_Shdr>(header->e_shoff, header->e_shnum);
  if (sections == nullptr) return false;
  const size_t before = file.functions.size();
  for (unsigned i = 0; i < header->e_shnum; ++i) {
    const Elf64_Shdr &section = sections[i];
    if (section.sh_type != kind || section.sh_link >= header->e_shnum) continue;
    const Elf64_Shdr &strings = sections[section.sh_link];
    const size_t count = section.sh_size / sizeof(Elf64_Sym);
    const auto *symbols = image.at<Elf64_Sym>(section.sh_offset, count);
    const auto *names = image.at<char>(strings.sh_offset, strings.sh_size);
    if (symbols == nullptr || names == nullptr || strings.sh_size == 0 || names[strings.sh_size - 1] != '\0') continue;
    for (size_t k = 0; k < count; ++k) {
      const Elf64_Sym &symbol = symbols[k];
      const auto type = ELF64_ST_TYPE(symbol.st_info);
      if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_shndx == SHN_UNDEF || symbol.st_name >= strings.sh_size) continue;
      file.functions.push_back({symbol.st_value, symbol.st_size, names + symbol.st_name});
    }
  }
  return file.functions.size() != before;
}

void sort(gc::PagedArray<Function> &functions) {
  // Heap sort: in place, and no order of input makes it slow.
  const size_t count = functions.size();
  const auto sift = [&](size_t root, size_t end) {
    for (;;) {
      size_t child = 2 * root + 1;
      if (child >= end) return;
      if (child + 1 < end && functions[child].start < functions[child + 1].start) ++child;
      if (functions[root].start >= functions[child].start) return;
      const Function kept = functions[root];
      functions[root] = functions[child];
      functions[child] = kept;
      root = child;
    }
  };
  for (size_t i = count / 2; i-- > 0;) sift(i, count);
  for (size_t end = count; end > 1;) {
    --end;
    const Function last = functions[end];
    functions[end] = functions[0];
    functions[0] = last;
    sift(0, end);
  }
}

// The file that a distribution keeps the full table in, by the build id in the notes of the one that is mapped.
Image debug_file_of(const File &file) {
  for (unsigned i = 0; i < file.segment_count; ++i) {
    const Elf64_Phdr &segment = file.segments[i];
    if (segment.p_type != PT_NOTE) continue;
    for (uint64_t at = segment.p_offset; at + sizeof(Elf64_Nhdr) <= segment.p_offset + segment.p_filesz;) {
      const auto *note = file.image.at<Elf64_Nhdr>(at);
      if (note == nullptr) break;
      const uint64_t data = at + sizeof *note + align_up(note->n_namesz, 4);
      const auto *id = file.image.at<unsigned char>(data, note->n_descsz);
      if (id == nullptr) break;
      if (note->n_type == NT_GNU_BUILD_ID && note->n_descsz >= 2 && note->n_descsz <= 32) {
        char path[128] = "/usr/lib/debug/.build-id/";
        char *end = path + strlen(path);
        for (unsigned k = 0; k < note->n_descsz; ++k) {
          *end++ = "0123456789abcdef"[id[k] >> 4];
          *end++ = "0123456789abcdef"[id[k] & 15];
          if (k == 0) *end++ = '/';
        }
        memcpy(end, ".debug", sizeof ".debug");
        return map_file(path);
      }
      at = data + align_up(note->n_descsz, 4);
    }
  }
  return {};
}

void read_file(File &file) {
  file.image = map_file(file.path);
  const Elf64_Ehdr *header = header_of(file.image);
  if (header == nullptr) return;
  file.segments = file.image.at<Elf64_Phdr>(header->e_phoff, header->e_phnum);
  if (file.segments == nullptr) return;
  file.segment_count = header->e_phnum;
  if (!add_functions(file, file.image, SHT_SYMTAB)) {
    add_functions(file, debug_file_of(file), SHT_SYMTAB);
    add_functions(file, file.image, SHT_DYNSYM);
  }
  sort(file.functions);
}

const File *file_of(const process_map::Mapping &mapping) {
  for (int i = 0; i < file_count; ++i) {
    if (files[i].inode == mapping.inode && strcmp(files[i].path, process_map::name_of(mapping)) == 0) return &files[i];
  }
  if (file_count == kMostFiles) return nullptr;
  File &file = files[file_count++];
  file.inode = mapping.inode;
  file.path = process_map::name_of(mapping);
  read_file(file);
  return &file;
}

// The function that holds the address, or the nearest before it that does not say where it ends.
const Function *find_function(const File &file, uint64_t address) {
  size_t low = 0, high = file.functions.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (file.functions[middle].start <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  constexpr size_t kLookBack = 8;  // aliases, and functions without a size
  for (size_t i = low; i-- > 0 && low - i <= kLookBack;) {
    const Function &function = file.functions[i];
    if (address - function.start < function.size || (function.size == 0 && i + 1 == low)) return &function;
  }
  return nullptr;
}

}  // namespace

Symbol at(uintptr_t address) {
  const process_map::Mapping *mapping = process_map::around(address);
  if (mapping == nullptr || mapping->inode == 0) return {nullptr, address, nullptr};
  Symbol symbol{nullptr, address - mapping->low + mapping->offset, process_map::name_of(*mapping)};
  const File *file = file_of(*mapping);
  if (file == nullptr) return symbol;
  for (unsigned i = 0; i < file->segment_count; ++i) {
    const Elf64_Phdr &segment = file->segments[i];
    if (segment.p_type != PT_LOAD || symbol.offset - segment.p_offset >= segment.p_filesz) continue;
    symbol.offset = symbol.offset - segment.p_offset + segment.p_vaddr;
    if (const Function *function = find_function(*file, symbol.offset)) {
      symbol.function = function->name;
      symbol.offset -= function->start;
    }
    break;
  }
  return symbol;
}

void find_demangler() { demangle = reinterpret_cast<decltype(demangle)>(dlsym(RTLD_DEFAULT, "__cxa_demangle")); }

const char *demangled(const char *name) {
  if (demangle == nullptr || name[0] != '_' || name[1] != 'Z') return name;
  int status = 1;
  const char *plain = demangle(name, nullptr, nullptr, &status);
  return plain != nullptr && status == 0 ? plain : name;
}

}  // namespace warren::inspect::elf_symbols

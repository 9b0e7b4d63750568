// Names of places in files: inspect/symbols. Run by meson with a program that was stripped and not linked to be moved in STRIPPED.
// Invariant: what no function covers has no name.
#include "inspect/symbols.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <vector>

namespace warren::inspect {
namespace {

class File {
 public:
  explicit File(const char *path) : path_(path) {
    std::ifstream in(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
  }
  const Elf64_Ehdr &header() const { return *at<Elf64_Ehdr>(0); }

  // Where in the file what is linked for an address lies.
  uint64_t offset_of(uint64_t address) const {
    const auto *segments = at<Elf64_Phdr>(header().e_phoff);
    for (unsigned i = 0; i < header().e_phnum; ++i) {
      if (segments[i].p_type == PT_LOAD && address - segments[i].p_vaddr < segments[i].p_filesz) {
        return address - segments[i].p_vaddr + segments[i].p_offset;
      }
    }
    return 0;
  }

  const Elf64_Shdr *section(const char *name) const {
    const auto *sections = at<Elf64_Shdr>(header().e_shoff);
    for (unsigned i = 0; i < header().e_shnum; ++i) {
      if (strcmp(at<char>(sections[header().e_shstrndx].sh_offset + sections[i].sh_name), name) == 0) return &sections[i];
    }
    return nullptr;
  }

  std::string name_at(uint64_t offset) const {
    SymbolTable table;
    table.open(path_);
    const char *name = table.at(offset).name;
    std::string copy = name == nullptr ? "" : name;
    table.release();
    return copy;
  }

 private:
  template <class T>
  const T *at(uint64_t offset) const {
    return reinterpret_cast<const T *>(bytes_.data() + offset);
  }
  const char *path_;
  std::vector<char> bytes_;
};

TEST(SymbolTable, AFunctionHasItsName) {
  const File self("/proc/self/exe");
  EXPECT_EQ(self.name_at(self.offset_of(self.header().e_entry)), "_start");
  const Elf64_Shdr *init = self.section(".init");
  ASSERT_NE(init, nullptr);
  EXPECT_EQ(self.name_at(init->sh_offset + 1), "_init");  // which has no size
}

TEST(SymbolTable, AFunctionWithoutASizeEndsWithItsSection) {
  const File self("/proc/self/exe");
  const Elf64_Shdr *init = self.section(".init"), *plt = self.section(".plt");
  if (plt == nullptr) GTEST_SKIP() << "linked without a .plt";
  ASSERT_GT(plt->sh_offset, init->sh_offset);
  EXPECT_EQ(self.name_at(plt->sh_offset + 1), "");
}

// The dynamic symbol of strcmp has an address here, that of the way to it.
TEST(SymbolTable, AnotherLibrarysFunctionNamesNothing) {
  const char *path = getenv("STRIPPED");
  ASSERT_NE(path, nullptr);
  const File stripped(path);
  EXPECT_EQ(stripped.name_at(stripped.offset_of(stripped.header().e_entry)), "");
  for (const char *name : {".plt", ".plt.sec"}) {
    const Elf64_Shdr *plt = stripped.section(name);
    for (uint64_t i = 0; plt != nullptr && i < plt->sh_size; ++i) EXPECT_EQ(stripped.name_at(plt->sh_offset + i), "");
  }
}

}  // namespace
}  // namespace warren::inspect

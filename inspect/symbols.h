// Names of functions, from the symbol tables of the files that are mapped: static functions too, where the file or the debug
// file that belongs to it (/usr/lib/debug/.build-id) has a full table.
// Callers: pprof.cc, reports. Invariant: nothing is allocated but memory of its own, nothing is called but the kernel; names
// are as the linker knows them, and last until release().
#pragma once

#include "gc/paged_array.h"
#include "inspect/modules.h"

#include <cstdint>
#include <elf.h>

namespace warren::inspect {

// One file's.
class SymbolTable {
 public:
  void open(const char *path);
  void release();

  struct Function {
    const char *name;     // nullptr: unknown
    uint64_t offset;      // of the address asked about, from the function's start
    uint64_t start;       // where the function is, by the file
  };
  // Of what the file has at an offset. The first question reads and sorts the table.
  Function at(uint64_t file_offset);

  struct BuildId {
    const uint8_t *bytes;
    size_t count;
  };
  BuildId build_id() const { return build_id_; }

 private:
  struct Symbol {
    uint64_t start, bytes;
    const char *name;
  };
  struct Image {
    const uint8_t *bytes = nullptr;
    size_t size = 0;
    template <class T>
    const T *part(uint64_t offset, uint64_t count = 1) const;
    void map(const char *path);
    void unmap();
  };
  void find_build_id();
  void read_all_symbols();
  bool read_symbols(const Image &image, uint32_t type);
  void add_symbols(const Image &image, const Elf64_Shdr &table, const Elf64_Shdr &strings);
  void open_debug_file();
  uint64_t section_end(uint64_t address) const;

  Image file_, debug_file_;
  BuildId build_id_{nullptr, 0};
  bool symbols_read_ = false;
  gc::PagedArray<Symbol> symbols_;  // sorted by start
};

// All of the process's, opened as they are asked for.
class Symbols {
 public:
  bool read();  // false: no memory
  void release();

  const Modules &modules() const { return modules_; }
  SymbolTable &table_of(size_t module);
  SymbolTable::Function at(uintptr_t address);

 private:
  struct Opened {
    SymbolTable table;
    bool open;
  };
  Modules modules_;
  gc::PagedArray<Opened> tables_;  // by module
};

}  // namespace warren::inspect

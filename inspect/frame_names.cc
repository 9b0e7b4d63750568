// See frame_names.h.
#include "inspect/frame_names.h"

#include "inspect/symbols.h"

#include <dlfcn.h>

namespace warren::inspect::frame_names {
namespace {

char *(*demangle)(const char *name, char *buffer, size_t *length, int *status) = nullptr;
Symbols symbols;

}  // namespace

void find_demangler() { demangle = reinterpret_cast<decltype(demangle)>(dlsym(RTLD_DEFAULT, "__cxa_demangle")); }

bool read() { return symbols.read(); }

Frame at(uintptr_t address) {
  const Modules &modules = symbols.modules();
  const size_t found = modules.find(address);
  if (found == modules.count() || modules.path(modules[found])[0] == '\0') return {nullptr, address, nullptr};
  const char *path = modules.path(modules[found]);
  const uint64_t offset = address - modules[found].low + modules[found].offset;
  const SymbolTable::Function function = symbols.table_of(found).at(offset);
  return {function.name, function.name == nullptr ? offset : function.offset, path};
}

const char *demangled(const char *name) {
  if (demangle == nullptr || name[0] != '_' || name[1] != 'Z') return name;
  int status = 1;
  const char *plain = demangle(name, nullptr, nullptr, &status);
  return plain != nullptr && status == 0 ? plain : name;
}

}  // namespace warren::inspect::frame_names

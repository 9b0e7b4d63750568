// See leak_roots.h.
//
//   mapping                                       is
//   file of the loader's, written to              a root: data, relocated constants
//   without a file, behind one of those           a root: .bss
//   [stack], a thread's stack                     what gc/stacks.h says: from the stack pointer up
//   the stack of a thread that has ended          its control block's table of thread-local blocks, which libc will
//                                                 free when it uses the stack again; all of the control block while
//                                                 nobody has joined the thread
//   stacks of fibers                              from the stack pointer up, where the fiber has not ended
//   the heap's, ours                              nothing
//   any other private memory                      searched when something points to it
//
// Words that epoll keeps for the program are roots, too: servers hold connections by nothing else.
// Shared memory is not searched: what it holds means something to other processes as well, so no pointers.
#include "inspect/leak_roots.h"

#include "allocator/arena.h"
#include "allocator/base/address.h"
#include "allocator/base/annotations.h"
#include "allocator/base/log.h"
#include "allocator/base/os_calls.h"
#include "allocator/hot.h"
#include "gc/mappings.h"
#include "gc/paged_array.h"
#include "gc/stacks.h"
#include "inspect/block_origins.h"
#include "inspect/heap_blocks.h"
#include "inspect/process_map.h"
#include "inspect/reach.h"
#include "inspect/snapshot.h"
#include "inspect/unforked.h"
#include "scheduler/stack.h"

#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>

namespace warren::inspect::leak_roots {
namespace {

// --- stacks that libc has made ---

struct Stack {
  uintptr_t control;
  bool live;
  bool joinable;  // has ended and was not joined
};

// Where libc keeps its lists of stacks; 0: unknown. Field descriptions are bits, elements, offset.
uintptr_t stacks_in_use = 0, stacks_for_reuse = 0;
size_t link_at = 0;

gc::PagedArray<Stack> stacks;

// A control block begins with its own address, and has it again.
bool is_control_block(uintptr_t address) {
  uintptr_t words[3];
  if (address % 16 != 0 || gc::mappings::copy(words, address, sizeof words) != sizeof words) return false;
  return words[0] == address && words[2] == address;
}

void walk_list(uintptr_t head, bool joinable) {
  constexpr int kMost = 1 << 20;
  uintptr_t link = head;
  for (int i = 0; i < kMost; ++i) {
    if (gc::mappings::copy(&link, link, sizeof link) != sizeof link || link == head) return;
    const uintptr_t control = link - link_at;
    if (!is_control_block(control)) return;
    bool known = false;
    for (const Stack &stack : stacks) known |= stack.control == control;
    if (!known) stacks.push_back({control, false, joinable});
  }
}

void find_stacks() {
  snapshot::for_each_thread(
      [](uintptr_t thread_pointer, void *) { stacks.push_back({thread_pointer, true, false}); }, nullptr);
  if (stacks_in_use == 0) return;
  walk_list(stacks_in_use, true);
  walk_list(stacks_for_reuse, false);
}

// The end of the stack that a mapping begins with, 0 when it is none. libc's stacks end in a control block and have a
// guard below.
uintptr_t stack_end(const Mapping *mapping, const Mapping *before) {
  if (before == nullptr || before->high != mapping->low || before->readable || before->inode != 0) return 0;
  const Stack *found = nullptr;
  for (const Stack &stack : stacks) {
    if (stack.control - mapping->low >= mapping->high - mapping->low) continue;
    if (found == nullptr || stack.control < found->control) found = &stack;
  }
  if (found == nullptr) return 0;
  return align_up(found->control + gc::stacks::control_block_bytes(), kOsPageSize);
}

// libc's table of a thread's thread-local blocks: a count before the first pair, then pairs of value and what to free.
void keep_thread_local_blocks(uintptr_t control) {
  uintptr_t table = 0;
  if (gc::mappings::copy(&table, control + sizeof table, sizeof table) != sizeof table) return;
  reach::keep_unsearched(table);
  uintptr_t count = 0;
  constexpr uintptr_t kMost = 1 << 16;
  if (gc::mappings::copy(&count, table - 2 * sizeof table, sizeof count) != sizeof count || count > kMost) return;
  for (uintptr_t i = 1; i <= count; ++i) {
    uintptr_t pair[2];
    if (gc::mappings::copy(pair, table + i * sizeof pair, sizeof pair) != sizeof pair) return;
    reach::keep_unsearched(pair[1]);
  }
}

void scan_ended_threads() {
  for (const Stack &stack : stacks) {
    if (stack.live) continue;
    if (stack.joinable) {
      reach::scan_range(stack.control, stack.control + gc::stacks::control_block_bytes());
    } else {
      keep_thread_local_blocks(stack.control);
    }
  }
}

// --- mappings ---

bool is_of_heap(const Mapping &mapping) {
  const uintptr_t low = arena_growth::metadata_range().start, high = arena.start + arena.grown_bytes();
  return mapping.low < high && low < mapping.high;
}

// The inspection's own memory, and stacks of fibers, may lie in one mapping with the program's.
struct Range {
  uintptr_t low, high;
};
gc::PagedArray<Range> own;  // in the order of addresses

void note_own(uintptr_t low, uintptr_t high, void *) {
  if (low == 0) return;
  size_t at = 0;
  while (at < own.size() && own[at].low < low) ++at;
  own.insert(at, {low, high});
}

void find_own() {
  process_map::for_each_own_range(note_own, nullptr);
  snapshot::for_each_own_range(note_own, nullptr);
  unforked::for_each_own_range(note_own, nullptr);
  block_origins::for_each_own_range(note_own, nullptr);
  scheduler::stacks::for_each_slab(note_own, nullptr);
}

// Calls visit for the parts of a range that are not the inspection's.
template <class Visit>
void for_each_foreign_part(uintptr_t low, uintptr_t high, Visit visit) {
  for (const Range &range : own) {
    if (range.high <= low || range.low >= high) continue;
    if (range.low > low) visit(low, range.low);
    low = range.high;
  }
  if (low < high) visit(low, high);
}

enum class Use : uint8_t { kNothing, kRoot, kRegion };

Use use_of(const Mapping &mapping, bool behind_data) {
  if (!mapping.readable || mapping.shared || is_of_heap(mapping)) return Use::kNothing;
  const char *name = process_map::name_of(mapping);
  if (name[0] == '[') return name[1] == 'h' || name[1] == 'a' ? Use::kRegion : Use::kNothing;  // [heap], [anon…]
  if (mapping.inode != 0) return mapping.executable && !mapping.writable ? Use::kNothing : Use::kRoot;
  return behind_data ? Use::kRoot : Use::kRegion;
}

// Calls visit(low, high, use) for each; regions in the order of addresses.
template <class Visit>
void for_each_use(Visit visit) {
  const Mapping *before = nullptr;
  bool before_is_data = false;
  for (const Mapping &mapping : process_map::mappings()) {
    const bool touching = before != nullptr && before->high == mapping.low;
    const bool behind_data = touching && before_is_data && mapping.inode == 0 && mapping.writable;
    const Use use = use_of(mapping, behind_data);
    uintptr_t low = mapping.low;
    if (use == Use::kRegion) {
      if (const uintptr_t end = stack_end(&mapping, before); end != 0) low = end;
    }
    if (use != Use::kNothing && low < mapping.high) {
      for_each_foreign_part(low, mapping.high, [&](uintptr_t from, uintptr_t to) { visit(from, to, use); });
    }
    before_is_data = use == Use::kRoot && mapping.writable;
    before = &mapping;
  }
}

// --- what the kernel keeps ---

gc::PagedArray<uintptr_t> kernel_words;

uintptr_t number_behind(const char *text, unsigned base) {
  uintptr_t number = 0;
  while (*text == ' ' || *text == '\t') ++text;
  for (;; ++text) {
    if (*text >= '0' && *text <= '9') {
      number = number * base + static_cast<uintptr_t>(*text - '0');
    } else if (base == 16 && *text >= 'a' && *text <= 'f') {
      number = number * base + static_cast<uintptr_t>(*text - 'a' + 10);
    } else {
      return number;
    }
  }
}

// "tfd:        5 events:       19 data:     7f3c5c000b20  pos:0 ..." for each descriptor that is watched.
void note_words_of(uint64_t descriptor) {
  LogLine path;
  path << "/proc/self/fdinfo/" << descriptor;
  path.text("", 1);
  const long fd = os_calls::open(path.data(), O_RDONLY);
  if (os_calls::failed(fd)) return;
  WARREN_LARGE_TABLE static char text[8192];
  size_t filled = 0;
  for (long bytes; (bytes = os_calls::read(static_cast<int>(fd), text + filled, sizeof text - 1 - filled)) > 0;) {
    filled += static_cast<size_t>(bytes);
    text[filled] = '\0';
    const char *line = text;
    for (const char *end; (end = strchr(line, '\n')) != nullptr; line = end + 1) {
      const char *data = strncmp(line, "tfd:", 4) == 0 ? strstr(line, "data:") : nullptr;
      if (data != nullptr && data < end) kernel_words.push_back(number_behind(data + 5, 16));
    }
    filled -= static_cast<size_t>(line - text);
    memmove(text, line, filled);
  }
  os_calls::close(static_cast<int>(fd));
}

// Objects of the collector's: what they point to is theirs to free, when they die or by a finalizer.
void scan_collected() {
  heap_blocks::for_each_span([](const Span *span) {
    if (span->state != SpanState::kCollected || span->noscan) return;
    reach::scan_touched(span->start(), span->start() + span->bytes());
  });
}

void scan_range(uintptr_t low, uintptr_t high, void *) { reach::scan_range(low, high); }

}  // namespace

void set_up() {
  const auto field = [](const char *name) { return static_cast<const uint32_t *>(dlsym(RTLD_DEFAULT, name)); };
  const uint32_t *used = field("_thread_db_rtld_global__dl_stack_used");
  const uint32_t *user = field("_thread_db_rtld_global__dl_stack_user");
  const uint32_t *link = field("_thread_db_pthread_list");
  const void *globals = dlsym(RTLD_DEFAULT, "_rtld_global");
  if (used == nullptr || user == nullptr || link == nullptr || globals == nullptr) return;
  // Three lists one behind the other: of stacks in use, of the program's own, and of those kept for reuse.
  constexpr size_t kListBytes = 2 * sizeof(void *);
  if (user[2] != used[2] + kListBytes) return;
  stacks_in_use = address_of(globals) + used[2];
  stacks_for_reuse = address_of(globals) + user[2] + kListBytes;
  link_at = link[2];
}

void note_kernel_words() {
  const long directory = os_calls::open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  if (os_calls::failed(directory)) return;
  alignas(8) WARREN_LARGE_TABLE static char entries[8192];
  for (long bytes; (bytes = os_calls::directory_entries(static_cast<int>(directory), entries, sizeof entries)) > 0;) {
    for (long at = 0; at < bytes;) {
      const auto *entry = reinterpret_cast<const os_calls::DirectoryEntry *>(entries + at);
      at += entry->length;
      if (entry->name[0] != '.') note_words_of(number_behind(entry->name, 10));
    }
  }
  os_calls::close(static_cast<int>(directory));
}

bool read_mappings() {
  if (!process_map::read()) return false;
  find_own();
  find_stacks();
  for_each_use([](uintptr_t low, uintptr_t high, Use use) {
    if (use == Use::kRegion) reach::add_mapping(low, high);
  });
  return true;
}

void scan_all_but_fibers() {
  reach::index_mappings();
  for_each_use([](uintptr_t low, uintptr_t high, Use use) {
    if (use == Use::kRoot) reach::scan_touched(low, high);
  });
  snapshot::for_each_thread_range(scan_range, nullptr);
  for (const uintptr_t word : kernel_words) reach::scan_word(word);
  scan_collected();
  scan_ended_threads();
  reach::finish();
}

bool scan() {
  if (!read_mappings()) return false;
  scan_all_but_fibers();
  const gc::world::FiberStacks *fibers = gc::world::fiber_stacks();
  if (fibers != nullptr) fibers->for_each_parked(scan_range, nullptr);
  reach::finish();
  return true;
}

}  // namespace warren::inspect::leak_roots

// See stacks.h.
//
//   stack of a pthread    guard | stack … sp … | static thread-local blocks | control block (fs)      one mapping
//   first thread          stack … sp … | arguments, environment;  blocks and control block elsewhere
//   elsewhere             sp on an alternate signal stack, a fiber's, one made by makecontext: this stack from sp to the
//                         end of its mapping, and the thread's own (and that of the fiber it runs) as far down as it
//                         was ever used, since where it was left is unknown
//
// What the heap hands out is not searched beyond the block: a coroutine's stack may come from malloc.
#include "gc/stacks.h"

#include "allocator/hot.h"
#include "allocator/page_map.h"
#include "allocator/span.h"
#include "gc/held_blocks.h"
#include "gc/mappings.h"
#include "gc/roots.h"

#include <dlfcn.h>

extern "C" void *__libc_stack_end;  // set by the loader: in the stack of the first thread

namespace warren::gc::stacks {
namespace {

constexpr size_t kRedZone = 128;  // below the stack pointer, and still a function's own

// libc's, as libc says; before set_up() those of glibc 2.36.
size_t control_bytes = 0x900;
size_t static_tls_bytes = 4096;
size_t specific_offset = 0;  // of the pointers to blocks of thread-specific values; 0: unknown
size_t specific_blocks = 0;
constexpr size_t kSpecificBlockBytes = 32 * 16;

// How far below the control block a stack of a pthread is looked for, as its mapping may be one with what lies below
// it. A first thread's control block is on no stack, unless the process was forked by a thread that was not the first.
constexpr size_t kDeepest = size_t{256} << 20, kDeepestOfFirst = size_t{8} << 20;

struct Visitor {
  VisitRange visit;
  void *context;

  void operator()(uintptr_t low, uintptr_t high) const {
    low = align_up(low, sizeof(void *));
    high = align_down(high, sizeof(void *));
    if (low < high) visit(low, high, context);
  }
};

void visit_touched(uintptr_t low, uintptr_t high, Visitor visitor) {
  const auto each = [](uintptr_t from, uintptr_t to, void *context) { (*static_cast<Visitor *>(context))(from, to); };
  mappings::for_each_touched(low, high, each, &visitor);
}

void visit_registers(const ucontext_t &context, Visitor visit) {
  const uintptr_t general = address_of(&context.uc_mcontext.gregs);
  visit(general, general + sizeof context.uc_mcontext.gregs);
  const uintptr_t vectors = address_of(context.uc_mcontext.fpregs);
  if (vectors == 0) return;
  // In the software bytes of the legacy area the kernel says how much more it has saved behind it.
  constexpr uintptr_t kLegacyBytes = 512, kFirstVector = 160, kMagicAt = 464, kSizeAt = 480;
  constexpr uint32_t kMagic = 0x46505853, kMost = 16384;
  const bool extended = *at_address<const uint32_t>(vectors + kMagicAt) == kMagic;
  const uint32_t bytes = extended ? *at_address<const uint32_t>(vectors + kSizeAt) : 0;
  visit(vectors + kFirstVector, vectors + (bytes > kLegacyBytes && bytes < kMost ? bytes : kLegacyBytes));
}

// Blocks that the loader has made for this thread one by one, and those of pthread_setspecific.
struct Table {
  const uintptr_t *entries;  // libc's dtv: number of entries before the first pair, then pairs of value and origin
  uintptr_t static_low, static_high;
  Visitor visit;
};

void visit_dynamic_block(roots::TlsModule module, void *context) {
  const auto &table = *static_cast<Table *>(context);
  constexpr uintptr_t kUnallocated = ~uintptr_t{0};
  if (module.number > table.entries[-2]) return;
  const uintptr_t block = table.entries[2 * module.number];
  if (block == 0 || block == kUnallocated || block - table.static_low < table.static_high - table.static_low) return;
  // The thread may have been stopped while it moved the table: then the entry is anything.
  mappings::Mapping mapping;
  if (!mappings::around(block, &mapping)) return;
  const uintptr_t end = block + module.bytes;
  table.visit(block, end < mapping.high ? end : mapping.high);
}

void visit_thread_local(uintptr_t thread_pointer, uintptr_t static_low, Visitor visit) {
  constexpr size_t kTableAt = 8;
  const uintptr_t table = *at_address<const uintptr_t>(thread_pointer + kTableAt);
  mappings::Mapping mapping;
  if (table % sizeof(void *) == 0 && table != 0 && mappings::around(table - 16, &mapping)) {
    Table walk{at_address<const uintptr_t>(table), static_low, thread_pointer, visit};
    const size_t fits = (mapping.high - table) / 16;
    if (walk.entries[-2] < fits) roots::for_each_tls_module(visit_dynamic_block, &walk);
  }
  if (specific_offset == 0) return;
  const auto *blocks = at_address<const uintptr_t>(thread_pointer + specific_offset);
  for (size_t i = 1; i < specific_blocks; ++i) {  // the first lies in the control block itself
    if (blocks[i] != 0 && mappings::around(blocks[i], &mapping)) visit(blocks[i], blocks[i] + kSpecificBlockBytes);
  }
}

// The end of the stack that `sp` is on, which is none of the thread's own.
uintptr_t end_of_foreign_stack(uintptr_t sp, const mappings::Mapping &mapping) {
  if (arena.contains(sp)) {
    if (const Span *span = page_map::find(arena.page_of(sp)); span != nullptr) return span->start() + span->bytes();
  }
  return mapping.high;
}

}  // namespace

void set_up() {
  // What libc tells the debugger's library. A field of a structure is bits, elements, offset.
  const auto told = [](const char *name) { return static_cast<const uint32_t *>(dlsym(RTLD_DEFAULT, name)); };
  if (const uint32_t *bytes = told("_thread_db_sizeof_pthread")) control_bytes = *bytes;
  if (const uint32_t *field = told("_thread_db_pthread_specific")) {
    specific_blocks = field[1];
    specific_offset = field[2];
  }
  using Ask = void(size_t *bytes, size_t *align);
  if (auto *ask = reinterpret_cast<Ask *>(dlsym(RTLD_DEFAULT, "_dl_get_tls_static_info"))) {
    size_t align;
    ask(&static_tls_bytes, &align);
  }
}

size_t control_block_bytes() { return control_bytes; }

void for_each_range_elsewhere(uintptr_t stack_pointer, VisitRange visit, void *context) {
  mappings::Mapping mapping;
  if (!mappings::around(stack_pointer, &mapping)) return;
  const uintptr_t low = stack_pointer - kRedZone;
  visit_touched(low > mapping.low ? low : mapping.low, end_of_foreign_stack(stack_pointer, mapping), {visit, context});
}

void for_each_range(const Thread &thread, const world::FiberStacks *fibers, VisitRange visit_range, void *context) {
  const Visitor visit{visit_range, context};
  if (thread.context != nullptr) visit_registers(*thread.context, visit);
  const uintptr_t sp = thread.stack_pointer - kRedZone;
  const uintptr_t control = thread.thread_pointer;
  const uintptr_t control_end = control + control_bytes;
  // The control block's size, too, is in the size that libc gives. A little of the stack more does no harm, but where
  // that is known to hold old words only.
  const uintptr_t static_low = (thread.leaves_nothing ? control_end : control) - static_tls_bytes;
  visit_thread_local(control, static_low, visit);
  held_blocks::for_each_in_control_block(control, control_end, visit_range, context);

  mappings::Mapping running{}, own{};
  const bool known = mappings::around(thread.stack_pointer, &running);
  uintptr_t fiber_low, fiber_high;
  const bool on_fiber = fibers != nullptr && fibers->bounds_of(thread.stack_pointer, &fiber_low, &fiber_high);
  const bool below_control = known && running.low <= control && control_end <= running.high && sp < control;
  if (!on_fiber && below_control) return visit(thread.leaves_nothing ? static_low : sp, control_end);

  if (!mappings::around(control, &own)) return;
  visit(static_low > own.low ? static_low : own.low, control_end < own.high ? control_end : own.high);
  const uintptr_t main_stack = address_of(__libc_stack_end);
  if (!on_fiber && known && running.low <= main_stack && main_stack < running.high) return visit(sp, running.high);

  if (on_fiber) {
    visit(sp > fiber_low ? sp : fiber_low, fiber_high);
  } else {
    for_each_range_elsewhere(thread.stack_pointer, visit_range, context);
    // It may have been called there by a fiber, whose own stack it has left somewhere.
    if (fibers != nullptr && fibers->bounds_of_thread(control, &fiber_low, &fiber_high)) {
      visit_touched(fiber_low, fiber_high, visit);
    }
  }
  // The stack that the thread has left for this one.
  if (thread.leaves_nothing) return;
  const uintptr_t deepest = control - (thread.is_first ? kDeepestOfFirst : kDeepest);
  visit_touched(own.low > deepest ? own.low : deepest, static_low, visit);
  if (thread.is_first && mappings::around(main_stack, &own)) visit_touched(own.low, own.high, visit);
}

}  // namespace warren::gc::stacks

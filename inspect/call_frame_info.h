// How to get from a function to its caller, read from the unwind tables (.eh_frame) that x86-64 compilers always write.
// Its own reader, because the ones there are take locks (dl_iterate_phdr, caches) that an allocating thread may hold, or
// allocate: a profiler built on them can deadlock inside malloc. The loader answers which table belongs to an address
// without a lock (_dl_find_object, glibc 2.35). Caller: stack_trace.cc.
// Invariant: nothing here allocates, locks or writes to anything but its results; tables are trusted, as exceptions trust them.
//
// Understood: a CFA that is rsp or rbp and a distance, or read from a distance to rbp (functions that align their stack), that
// of PLT entries, and signal frames; rbp saved in the frame. That is what stands at calls; what else there is reads as kUnknown.
#pragma once

#include <cstdint>
#include <dlfcn.h>

namespace warren::inspect {

struct FrameRule {
  enum class Kind : uint8_t {
    kUnknown,     // no table, or one that says what is not understood
    kEnd,         // the outermost frame
    kFromRsp,     // CFA = rsp + cfa_offset
    kFromRbp,     // CFA = rbp + cfa_offset
    kFromRbpSlot, // CFA = the word at rbp + cfa_offset
    kPlt,         // CFA = rsp + 8, or + 16 once the entry has pushed its number
    kSignal,      // the kernel's frame below a handler
  };
  // A saved rbp lies at CFA + rbp_words * 8; kSameRbp: it is in the register.
  static constexpr int16_t kSameRbp = 0;
  Kind kind = Kind::kUnknown;
  int16_t rbp_words = kSameRbp;
  int32_t cfa_offset = 0;
};

static_assert(sizeof(FrameRule) == 8, "a word of the cache");

// The rule at `pc`, by the tables of the object it lies in.
FrameRule rule_at(uintptr_t pc, const dl_find_object &object);

}  // namespace warren::inspect

// The calling thread's stack as a list of addresses, for those who ask often and in bad places: inside malloc.
// Callers: heap_profile.cc and whoever wants the stack of an allocation. Works in signal handlers, on fibers and with any lock
// held; some 15 ns a frame once the frame's place has been seen. Invariant: nothing is allocated, no lock is taken, no libc
// function is called but _dl_find_object, which takes none either.
#pragma once

#include <cstdint>

namespace warren::inspect {

inline constexpr unsigned kMostFrames = 128;  // that anybody asks for

// Up to `most` addresses, innermost first, each of the call and not of where it returns to (the return address less one).
// The library's own innermost frames are left out, and `skip` more. Returns how many there are.
unsigned capture(void **frames, unsigned most, unsigned skip = 0);

}  // namespace warren::inspect

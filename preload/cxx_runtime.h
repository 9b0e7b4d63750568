// What the heap needs of the program's C++ runtime, found when it is needed: libwarren.so does not
// depend on libstdc++, and the program may bring it late, privately (dlopen without RTLD_GLOBAL), or
// bring libc++ instead. Callers: new_delete.cc, on failure only; replaced_operators.cc.
#pragma once

#include <cstddef>

namespace warren::cxx_runtime {

using NewHandler = void (*)();

// std::get_new_handler(), or nullptr where there is no C++ runtime.
NewHandler new_handler();

// Throws std::bad_alloc; a program without a C++ runtime ends with a fatal error.
[[noreturn]] void throw_bad_alloc();

// Looks nothrow_new()'s functions up while the program starts: later, that would wait for who has the loader's lock.
void find_nothrow_new();

// The runtime's own nothrow operator new or new[], aligned unless `align` is 0: what it returns. False: there is none.
bool nothrow_new(size_t size, size_t align, bool array, void **block);

}  // namespace warren::cxx_runtime

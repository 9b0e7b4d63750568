// Libraries that the program opens with RTLD_DEEPBIND, as PHP and Julia open all of theirs.
// Such a library finds libc's malloc before ours, and the two heaps then get each other's blocks: other allocators crash there.
// Before the first of them is loaded, libc's malloc family becomes jumps to the process's. That is safe while nobody
// has used it yet; where somebody has, or nothing can be written, the library is loaded without RTLD_DEEPBIND.
// Caller: dlopen() in dlopen_x86_64.S. Invariant: a program that does not ask for RTLD_DEEPBIND sees no difference.
#pragma once

namespace warren::deep_binding {

// The dlopen behind ours, and the mode to call it with. (In this order in two registers, where the assembly expects them.)
struct Call {
  void *(*open)(const char *file, int mode);
  long mode;
};

}  // namespace warren::deep_binding

extern "C" __attribute__((visibility("hidden"))) warren::deep_binding::Call warren_before_dlopen(int mode);

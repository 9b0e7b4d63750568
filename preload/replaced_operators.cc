// See replaced_operators.h. Source of the semantics: C++20 [new.delete].
#include "preload/replaced_operators.h"

#include "preload/bypass.h"
#include "preload/cxx_runtime.h"
#include "preload/entry_points.h"
#include "preload/redirect.h"

#include <new>

namespace warren::replaced_operators {
namespace {

using std::align_val_t;
using std::nothrow_t;

bool found = false;

// Called by their public names, these are the program's where it has them.
void *new_array(size_t size) { return ::operator new(size); }
void *new_array_aligned(size_t size, align_val_t align) { return ::operator new(size, align); }
void delete_any(void *block) { ::operator delete(block); }
void delete_any_array(void *block) { ::operator delete[](block); }
void delete_any_aligned(void *block, align_val_t align) { ::operator delete(block, align); }
void delete_any_aligned_array(void *block, align_val_t align) { ::operator delete[](block, align); }
void delete_sized_aligned(void *block, size_t, align_val_t align) { ::operator delete(block, align); }
void delete_sized_aligned_array(void *block, size_t, align_val_t align) { ::operator delete[](block, align); }

// Those that catch what the program's throws are the C++ runtime's. Without one that can be found (it may be linked statically)
// the program's own has to do, which at the end of memory ends the program.
void *new_nothrow(size_t size) {
  void *block;
  return cxx_runtime::nothrow_new(size, 0, false, &block) ? block : ::operator new(size);
}
void *new_nothrow_array(size_t size) {
  void *block;
  return cxx_runtime::nothrow_new(size, 0, true, &block) ? block : ::operator new[](size);
}
void *new_nothrow_aligned(size_t size, align_val_t align) {
  void *block;
  return cxx_runtime::nothrow_new(size, static_cast<size_t>(align), false, &block) ? block : ::operator new(size, align);
}
void *new_nothrow_aligned_array(size_t size, align_val_t align) {
  void *block;
  return cxx_runtime::nothrow_new(size, static_cast<size_t>(align), true, &block) ? block : ::operator new[](size, align);
}

bool program_has_some() {
  using bypass::is_ours;
  return !(is_ours<void *(size_t)>(::operator new, warren_own_new) && is_ours<void(void *)>(::operator delete, warren_own_delete) &&
           is_ours<void *(size_t)>(::operator new[], warren_own_new_array) &&
           is_ours<void(void *)>(::operator delete[], warren_own_delete_array) &&
           is_ours<void *(size_t, align_val_t)>(::operator new, warren_own_new_aligned) &&
           is_ours<void(void *, align_val_t)>(::operator delete, warren_own_delete_aligned) &&
           is_ours<void *(size_t, align_val_t)>(::operator new[], warren_own_new_aligned_array) &&
           is_ours<void(void *, align_val_t)>(::operator delete[], warren_own_delete_aligned_array));
}

}  // namespace

bool there_are() { return found; }

void make_way() {
  if (!program_has_some()) return;
  found = true;
  Redirection redirection;
  if (!redirection.is_possible()) return;
  cxx_runtime::find_nothrow_new();
  redirection.jump(warren_own_new_array, new_array);
  redirection.jump(warren_own_new_aligned_array, new_array_aligned);
  redirection.jump(warren_own_new_nothrow, new_nothrow);
  redirection.jump(warren_own_new_nothrow_array, new_nothrow_array);
  redirection.jump(warren_own_new_aligned_nothrow, new_nothrow_aligned);
  redirection.jump(warren_own_new_aligned_nothrow_array, new_nothrow_aligned_array);
  redirection.jump(warren_own_delete_array, delete_any);
  redirection.jump(warren_own_delete_sized, delete_any);
  redirection.jump(warren_own_delete_nothrow, delete_any);
  redirection.jump(warren_own_delete_sized_array, delete_any_array);
  redirection.jump(warren_own_delete_nothrow_array, delete_any_array);
  redirection.jump(warren_own_delete_aligned_array, delete_any_aligned);
  redirection.jump(warren_own_delete_aligned_nothrow, delete_any_aligned);
  redirection.jump(warren_own_delete_sized_aligned, delete_sized_aligned);
  redirection.jump(warren_own_delete_aligned_nothrow_array, delete_any_aligned_array);
  redirection.jump(warren_own_delete_sized_aligned_array, delete_sized_aligned_array);
}

}  // namespace warren::replaced_operators

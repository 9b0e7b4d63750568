// CHECK holds in every build, DCHECK in debug builds. Invariant: a failing check allocates nothing.
#pragma once

#include "allocator/base/fatal.h"

namespace warren {

#ifdef NDEBUG
inline constexpr bool kDebug = false;
#else
inline constexpr bool kDebug = true;
#endif

}  // namespace warren

#define CHECK(condition) \
  (__builtin_expect(!(condition), 0) ? ::warren::fatal::check_failed(#condition, __FILE__, __LINE__) : void())
#define DCHECK(condition) (::warren::kDebug ? CHECK(condition) : void())

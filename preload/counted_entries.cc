// See counted_entries.h.
#include "preload/counted_entries.h"

#include "allocator/sampling.h"
#include "preload/redirect.h"
#include "preload/replaced_operators.h"

namespace warren::counted_entries {

void redirect_all() {
  Redirection redirection;
  if (!redirection.is_possible()) return;
  sampling::count_for_ever();
  redirect_malloc(redirection);
  if (!replaced_operators::there_are()) redirect_new(redirection);
}

}  // namespace warren::counted_entries

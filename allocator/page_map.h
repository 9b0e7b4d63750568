// Page -> span. Written under the page heap's lock; read without it by whoever was given a block of the
// span, since the span's publication came before the block's.
// Invariant: entries of a live span are right on its first and last page, and on every page when it
// holds objects. Entries inside free runs and large blocks may be stale: use find().
#pragma once

#include "allocator/span.h"

namespace warren::page_map {

inline Span *at(PageId page) { return arena.page_map[page.value]; }
inline void set(PageId page, Span *span) { arena.page_map[page.value] = span; }

inline void set_ends(Span *span) {
  set(span->first, span);
  set(span->last(), span);
}

inline void set_all(Span *span) {
  for (PageId page = span->first; page < span->end(); page = page + PageCount{1}) set(page, span);
}

// The span that covers `page`, found by walking back past stale entries. For reports of misuse only:
// takes time in proportion to the span. Caller holds the page heap's lock.
inline Span *find(PageId page) {
  for (PageId at_page = page;; at_page.value--) {
    Span *span = at(at_page);
    if (span != nullptr && span->covers(page) && at(span->first) == span) return span;
    if (at_page.value == 0) return nullptr;
  }
}

}  // namespace warren::page_map

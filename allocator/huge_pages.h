// Where the arena is backed by huge pages, and where no longer.
//
// A first touch of 4 KiB costs 2 µs on a virtual machine and 0.4 µs as part of a huge page: where the host has memory
// behind it. Guests report free blocks of that size to their hosts within seconds, which take them away; then it is 12 µs.
// So a large heap tries one huge page at a time of growth, looks at the clock, and asks for more only if that was cheap. Small
// heaps, of which the rest of a huge page would be a large part, do without. And where free memory went back to the kernel from a part of a huge
// page, the page is excepted, or khugepaged would fill it again by and by; it is asked for anew when all of it is free.
//
// Caller: page_heap.cc. Invariant: a unit is excepted only while `excepted` says so, and at most kMaxExcepted are,
// since each may split a mapping of the kernel's.
#pragma once

#include "allocator/base/units.h"

namespace warren::huge_pages {

// The arena has grown by these pages.
void note_growth(PageId first, PageCount count);

// These pages, free, were given back. Any thread that has them in its hands.
void note_release(PageId first, PageCount count);

// These pages are free as one run, with no memory behind any of them. Of them, `first_new` and `count_new` are news.
void note_released_run(PageId first, PageCount count, PageId first_new, PageCount count_new);

}  // namespace warren::huge_pages

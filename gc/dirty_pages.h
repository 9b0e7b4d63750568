// Which pages of the collector's heap have been written to since their objects were scanned.
// Pages of scanned spans are watched at the beginning of a cycle, and their tags say so; a page without
// that tag (its span is younger than the watch) counts as dirty until a pass watches it.
// Caller: the cycle. Invariant: at the end of rescan_stopped(), when true, every marked object's referents are marked or grey.
#pragma once

#include "gc/marker.h"

namespace warren::gc::dirty_pages {

// Watches all scanned spans, or leaves that to list_running() (see late_watch.h) with `may_be_late`. False: stores cannot be seen; mark
// with the program stopped. `minor`: what was written to, or not watched, since the last cycle is remembered; false, too: that is not
// known.
bool begin(bool minor, bool may_be_late);

// In a minor cycle: the old objects on what is remembered are scanned by those who drain.
void list_remembered(Marker &marker);

// Fetches what is dirty, watches it afresh, and scans the marked objects there; calls `between` now and then. Returns the pages
// of the OS.
size_t rescan_running(Marker &marker, void (*between)(void *context), void *context);

// The same, once, when the heap has been marked; but for the scanning: that is left to those who drain. Has all drained now and then, and at
// its end.
size_t list_running(Marker &marker, void (*drain)(void *context), void *context);

// The same at last, with the program stopped, watching nothing. False: more than `most` pages are dirty, and not all were scanned.
bool rescan_stopped(Marker &marker, size_t most);

// Whether this cycle, or the last, left watching to list_running(). For tests.
bool is_late();

// Whether end(true) is heeded: else the next cycle cannot be a minor one.
bool can_stay();

// Stores cost nothing any more; but old objects stay watched with `stay`, for a minor cycle.
void end(bool stay);

// In a forked child: the kernel watches nothing there.
void reset_in_child();

}  // namespace warren::gc::dirty_pages

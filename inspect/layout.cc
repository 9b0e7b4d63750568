// See layout.h. Shows the structures whose fields are open to all; the others show themselves.
#include "inspect/layout.h"

#include "allocator/object_map.h"
#include "allocator/page_map.h"
#include "gc/page_tags.h"
#include "gc/phase.h"
#include "gc/span_set.h"
#include "scheduler/g.h"
#include "scheduler/m.h"
#include "scheduler/p.h"
#include "scheduler/state.h"

using namespace warren;
using scheduler::G;
using scheduler::M;
using scheduler::P;
using scheduler::Scheduler;

#define SHOW_FIELD(type, field) WARREN_SHOW_NUMBER(#type "." #field, offsetof(type, field))

WARREN_SHOW_NUMBER("page_bytes", kPageSize);
WARREN_SHOW_NUMBER("class_count", kClassCount);
WARREN_SHOW_ADDRESS("size_classes", &kSizeClasses);
WARREN_SHOW_NUMBER("SizeClassInfo.bytes", sizeof(SizeClassInfo));
WARREN_SHOW_NUMBER("SizeClassInfo.objects", offsetof(SizeClassInfo, objects));
WARREN_SHOW_NUMBER("bitmap_bytes_per_page", kBitmapBytesPerPage);
WARREN_SHOW_NUMBER("octet_shift", kOctetShift);
WARREN_SHOW_NUMBER("rows_log", kRowsLog);
WARREN_SHOW_NUMBER("region_octets_log", kRegionOctetsLog);
WARREN_SHOW_NUMBER("coarse_shift", kCoarseShift);
WARREN_SHOW_NUMBER("max_small_size", kMaxSmallSize);

WARREN_SHOW_ADDRESS("arena", &hot.arena);
SHOW_FIELD(Arena, start);
SHOW_FIELD(Arena, octet_count);
SHOW_FIELD(Arena, page_map);
SHOW_FIELD(Arena, bitmap);
SHOW_FIELD(Arena, fine_from_zero);
SHOW_FIELD(Arena, coarse_from_zero);

SHOW_FIELD(Span, first);
SHOW_FIELD(Span, count);
SHOW_FIELD(Span, state);
SHOW_FIELD(Span, size_class);
SHOW_FIELD(Span, released);
SHOW_FIELD(Span, free_objects);
SHOW_FIELD(Span, noscan);
SHOW_FIELD(Span, generation);
WARREN_SHOW_ADDRESS("gc.generation", &gc::generation);
WARREN_SHOW_ADDRESS("gc.phase", &gc::phase::current);

SHOW_FIELD(Scheduler, active);
SHOW_FIELD(Scheduler, generation);
SHOW_FIELD(Scheduler, p_count);
SHOW_FIELD(Scheduler, ps);
SHOW_FIELD(Scheduler, idle_p_count);
SHOW_FIELD(Scheduler, spinning);
SHOW_FIELD(Scheduler, global_size);
SHOW_FIELD(Scheduler, m_count);
SHOW_FIELD(Scheduler, idle_m_count);
SHOW_FIELD(Scheduler, live_elsewhere);
SHOW_FIELD(P, live);
SHOW_FIELD(P, queue);
WARREN_SHOW_NUMBER("RunQueue.head", scheduler::RunQueue<G>::Layout::kHead);
WARREN_SHOW_NUMBER("RunQueue.tail", scheduler::RunQueue<G>::Layout::kTail);
WARREN_SHOW_NUMBER("RunQueue.next", scheduler::RunQueue<G>::Layout::kNext);
SHOW_FIELD(M, thread_id);
WARREN_SHOW_NUMBER("G.bytes", sizeof(G));
SHOW_FIELD(G, sp);
SHOW_FIELD(G, status);
SHOW_FIELD(G, reason);
SHOW_FIELD(G, m);
SHOW_FIELD(G, id);
SHOW_FIELD(G, creator);
SHOW_FIELD(G, generation);
SHOW_FIELD(G, name);
SHOW_FIELD(G, entry);

extern "C" {

// The linker's: where the section of entries begins and ends.
extern __attribute__((visibility("hidden"))) const LayoutEntry __start_warren_layout[], __stop_warren_layout[];

const wr_layout_record wr_layout = {{'W', 'R', 'L', 'A', 'Y', 'O', 'U', 'T'}, 3, sizeof(LayoutEntry), __start_warren_layout,
                                    __stop_warren_layout};

}  // extern "C"

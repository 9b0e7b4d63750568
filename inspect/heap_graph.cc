// See heap_graph.h.
#include "inspect/heap_graph.h"

#include "allocator/object_map.h"
#include "allocator/page_map.h"
#include "gc/page_tags.h"
#include "gc/span_set.h"
#include "inspect/heap_profile.h"

namespace warren::inspect {
namespace {

bool is_live_block(const Span *span, size_t index) {
  const uintptr_t block = span->start() + index * info(span->size_class).object_size;
  return *object_map::of_class(span->size_class, block) != 0;
}

// In a span that is still to be swept, what is not marked is dead.
uint64_t live_objects(const Span *span, const gc::BitPair &pair) {
  return gc::is_swept(span) ? pair.allocated : pair.allocated & pair.marked;
}

}  // namespace

bool HeapGraph::add_view(const Span *span, ObjectKind kind) {
  const bool large = span->size_class.is_large();
  const SizeClassInfo &shape = info(span->size_class);
  const size_t objects = large ? 1 : shape.objects;
  View view{};
  view.start = span->start();
  view.object_bytes = large ? span->bytes() : shape.object_size;
  view.reciprocal = large ? 0 : shape.reciprocal;
  view.first_word = live_.size();
  // One more than the objects need: a word may point behind the last of them.
  view.words = static_cast<uint32_t>(objects / 64 + 1);
  view.kind = kind;
  bool any = false;
  for (size_t word = 0; word < view.words; ++word) {
    LiveWord live{};
    if (kind != ObjectKind::kMalloc) {
      if (word * 64 < objects) live.bits = live_objects(span, gc::pairs_of(span)[word]);
      if (objects - word * 64 < 64) live.bits &= (uint64_t{1} << (objects - word * 64)) - 1;
    } else if (large) {
      live.bits = word == 0 && *object_map::coarse(view.start) != 0 ? 1 : 0;
    } else {
      for (size_t bit = 0; bit < 64 && word * 64 + bit < objects; ++bit) {
        if (is_live_block(span, word * 64 + bit)) live.bits |= uint64_t{1} << bit;
      }
    }
    any |= live.bits != 0;
    if (!live_.push_back(live)) return false;
  }
  if (!any) {
    live_.shrink(view.first_word);
    return true;
  }
  if (!views_.push_back(view) || !span_of_view_.push_back(static_cast<uint32_t>(spans_.size() - 1))) return false;
  for (PageId page = span->first; page < span->end(); page = page + PageCount{1}) {
    owners_[page.value] = static_cast<uint32_t>(views_.size());
  }
  return true;
}

bool HeapGraph::add_span(const Span *span, uint64_t time) {
  SpanItem item{};
  item.start = span->start();
  item.pages = span->count.value;
  item.state = static_cast<uint8_t>(span->state);
  const bool has_objects =
      span->state == SpanState::kObjects || span->state == SpanState::kLarge || span->state == SpanState::kCollected;
  item.size_class = has_objects ? span->size_class.value : 0;
  item.released = span->state == SpanState::kFree && span->released;
  item.noscan = span->state == SpanState::kCollected && span->noscan;
  const uint64_t born = span->since * heap_profile::kStampUnit;
  item.age = has_objects && born != 0 && born < time ? time - born : 0;
  if (!spans_.push_back(item)) return false;
  if (!has_objects) return true;
  if (span->state != SpanState::kCollected) return add_view(span, ObjectKind::kMalloc);
  return add_view(span, span->noscan ? ObjectKind::kCollectedNoscan : ObjectKind::kCollected);
}

void HeapGraph::drop(const gc::Run &run) {
  const uint32_t owner = owners_[(run.next - arena_start_) >> kPageShift];
  if (owner == 0) return;
  const View &view = views_[owner - 1];
  for (uintptr_t object = run.next; object < run.end; object += view.object_bytes) {
    const size_t index = (object - view.start) / view.object_bytes;
    live_[view.first_word + index / 64].bits &= ~(uint64_t{1} << (index % 64));
  }
}

bool HeapGraph::build(uint64_t time) {
  arena_start_ = arena.start;
  const PageId end = arena.end_page();
  if (arena_start_ == 0 || end.value == 0) return true;
  arena_bytes_ = size_t{end.value} << kPageShift;
  if (!owners_.reserve(end.value)) return false;
  for (PageId page{1}; page < end;) {
    const Span *span = page_map::at(page);
    if (span == nullptr || span->first != page || span->count.value == 0) {
      page = page + PageCount{1};  // a hole that no span describes
      continue;
    }
    if (!add_span(span, time)) return false;
    page = span->end();
  }
  if (gc::tables.tags != nullptr) {
    gc::caches::for_each_run([](const gc::Run &run, void *self) { static_cast<HeapGraph *>(self)->drop(run); }, this);
  }
  for (size_t i = 0; i < views_.size(); ++i) {
    SpanItem &item = spans_[span_of_view_[i]];
    item.first_object = object_count_;
    for (size_t word = 0; word < views_[i].words; ++word) {
      LiveWord &live = live_[views_[i].first_word + word];
      live.before = object_count_;
      object_count_ += bits::count(live.bits);
    }
    item.objects = object_count_ - item.first_object;
  }
  return true;
}

}  // namespace warren::inspect

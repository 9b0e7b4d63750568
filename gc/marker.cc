// See marker.h.
#include "gc/marker.h"

#include "allocator/base/annotations.h"
#include "gc/assist.h"
#include "gc/specials.h"

#include <cstring>

namespace warren::gc {
namespace {

// A large object is scanned in pieces (Go's oblets), so that its scan can be shared and broken off.
constexpr size_t kPiece = size_t{128} << 10;

// The words are the program's, which may be writing them: one load each, and no sanitizer may mind.
WARREN_ALWAYS_INLINE uintptr_t load_word(uintptr_t at) {
  return __atomic_load_n(reinterpret_cast<const uintptr_t *>(at), __ATOMIC_RELAXED);
}

}  // namespace

Marker::~Marker() { flush(); }

WARREN_ALWAYS_INLINE void Marker::push(uintptr_t object) {
  if (WARREN_UNLIKELY(buffer_ == nullptr || buffer_->count == kBufferEntries)) {
    if (buffer_ != nullptr && spare_ != nullptr && spare_->count == 0) {
      MarkBuffer *const full = buffer_;
      buffer_ = spare_;
      spare_ = full;
    } else {
      MarkBuffer *const fresh = mark_work::get_empty();
      if (fresh == nullptr) return mark_work::note_overflow();
      if (buffer_ != nullptr) {
        if (spare_ != nullptr) mark_work::put_full(spare_);
        spare_ = buffer_;
      }
      buffer_ = fresh;
    }
  }
  buffer_->entries[buffer_->count++] = object;
}

WARREN_ALWAYS_INLINE bool Marker::pop(uintptr_t &object) {
  if (WARREN_UNLIKELY(buffer_ == nullptr || buffer_->count == 0)) {
    if (spare_ != nullptr && spare_->count != 0) {
      MarkBuffer *const empty = buffer_;
      buffer_ = spare_;
      spare_ = empty;
    } else {
      MarkBuffer *const full = mark_work::get_full();
      if (full == nullptr) return false;
      if (buffer_ != nullptr) mark_work::put_empty(buffer_);
      buffer_ = full;
    }
  }
  object = buffer_->entries[--buffer_->count];
  return true;
}

WARREN_ALWAYS_INLINE void Marker::reach(const Slot &slot) {
  if (!slot.is_allocated() || slot.is_marked()) return;
  slot.mark();
  if (WARREN_UNLIKELY((slot.tag & kNoscanTag) != 0)) {
    noscan_bytes_ += object_size(slot);
    return;
  }
  push(slot.object);
}

WARREN_ALWAYS_INLINE void Marker::consider(uintptr_t word, const Tables &in) {
  Slot slot;
  if (find_slot(word, slot, in)) reach(slot);
}

void Marker::reach_all(Batch &batch) {
  for (unsigned i = 0; i < batch.count; ++i) reach(batch.slots[i]);
  batch.count = 0;
}

void Marker::gather(uintptr_t low, uintptr_t high, Batch &batch) {
  scanned_bytes_ += high - low;
  const Tables in = tables;
  for (uintptr_t at = low; at < high; at += sizeof(uintptr_t)) {
    const uintptr_t word = load_word(at);
    Slot &slot = batch.slots[batch.count];
    if (word - in.start >= in.bytes || !find_slot(word, slot, in)) continue;
    __builtin_prefetch(slot.pair);
    if (++batch.count == kBatch) reach_all(batch);
  }
}

void Marker::discover(uintptr_t word) { consider(word, tables); }

WARREN_ALWAYS_INLINE void Marker::scan_words(uintptr_t low, uintptr_t high) {
  scanned_bytes_ += high - low;
  const Tables in = tables;  // a copy, that stores to buffers cannot change
  for (uintptr_t at = low; at < high; at += sizeof(uintptr_t)) {
    const uintptr_t word = load_word(at);
    if (word - in.start < in.bytes) consider(word, in);
  }
}

void Marker::scan_range(uintptr_t low, uintptr_t high) {
  low = align_up(low, sizeof(uintptr_t));
  high = align_down(high, sizeof(uintptr_t));
  if (low < high) scan_words(low, high);
}

WARREN_ALWAYS_INLINE void Marker::scan_object(uintptr_t entry) {
  const uint16_t tag = tag_of(arena.page_of(entry));
  if (WARREN_UNLIKELY(is_large(tag))) return scan_large(entry);
  const uintptr_t end = entry + kSizeClasses[tag & kClassMask].object_size;
  object_bytes_ += end - entry;
  scan_words(entry, end);
}

WARREN_NOINLINE void Marker::scan_large(uintptr_t entry) {
  const Span *span = page_map::at(arena.page_of(entry));
  const uintptr_t end = span->start() + span->bytes();
  if (entry == span->start()) {
    for (uintptr_t piece = entry + kPiece; piece < end; piece += kPiece) push(piece);
  }
  const uintptr_t to = end - entry < kPiece ? end : entry + kPiece;
  object_bytes_ += to - entry;
  Batch batch;
  gather(entry, to, batch);
  reach_all(batch);
}

bool Marker::drain(size_t most) {
  const uint64_t until = scanned_bytes_ + most;
  for (;;) {
    uintptr_t entry;
    while (ring_count_ < kRing && pop(entry)) {
      __builtin_prefetch(at_address<void>(entry));
      ring_[(ring_first_ + ring_count_++) % kRing] = entry;
    }
    if (ring_count_ == 0) return false;
    entry = ring_[ring_first_];
    ring_first_ = (ring_first_ + 1) % kRing;
    --ring_count_;
    scan_object(entry);
    if (WARREN_UNLIKELY(assist::hungry())) share();
    if (scanned_bytes_ >= until) return true;
  }
}

void Marker::share() {
  constexpr uint32_t kWorthSharing = 8;
  if (mark_work::any_full() || buffer_ == nullptr) return;
  if (spare_ != nullptr && spare_->count != 0) {
    mark_work::put_full(spare_);
    spare_ = nullptr;
    return;
  }
  if (buffer_->count < kWorthSharing) return;
  MarkBuffer *const half = mark_work::get_empty();
  if (half == nullptr) return;
  // The older entries: they are likely to lead to more.
  half->count = buffer_->count / 2;
  buffer_->count -= half->count;
  memcpy(half->entries, buffer_->entries, half->count * sizeof half->entries[0]);
  memmove(buffer_->entries, buffer_->entries + half->count, buffer_->count * sizeof half->entries[0]);
  mark_work::put_full(half);
}

void Marker::flush() {
  for (; ring_count_ != 0; --ring_count_) {
    push(ring_[ring_first_]);
    ring_first_ = (ring_first_ + 1) % kRing;
  }
  for (MarkBuffer **buffer : {&buffer_, &spare_}) {
    if (*buffer == nullptr) continue;
    if ((*buffer)->count != 0) {
      mark_work::put_full(*buffer);
    } else {
      mark_work::put_empty(*buffer);
    }
    *buffer = nullptr;
  }
}

void Marker::rescan_page_range(uintptr_t low, uintptr_t high) {
  Batch batch;
  for (uintptr_t page_start = align_down(low, kPageSize); page_start < high; page_start += kPageSize) {
    if (page_start - tables.start >= tables.bytes) continue;
    const PageId page = arena.page_of(page_start);
    const uint16_t tag = tag_of(page);
    if (tag == 0 || (tag & kNoscanTag) != 0) continue;
    const uintptr_t from = page_start < low ? low : page_start;
    const uintptr_t to = page_start + kPageSize < high ? page_start + kPageSize : high;
    const Span *span = page_map::at(page);
    if (WARREN_UNLIKELY(span->specials != 0)) specials::scan_contents_on(span, *this);
    const BitPair *pairs = pairs_of(span);
    if (is_large(tag)) {
      if ((__atomic_load_n(&pairs->marked, __ATOMIC_RELAXED) & 1) != 0) gather(from, to, batch);
      continue;
    }
    const SizeClassInfo &shape = info(span->size_class);
    const size_t size = shape.object_size;
    const uintptr_t start = span->start();
    for (size_t index = span->index_of(from); index < shape.objects && start + index * size < to; ++index) {
      if ((__atomic_load_n(&pairs[index / 64].marked, __ATOMIC_RELAXED) >> (index % 64) & 1) == 0) continue;
      const uintptr_t object = start + index * size;
      gather(object < from ? from : object, object + size < to ? object + size : to, batch);
    }
  }
  reach_all(batch);
}

void rescan_all_marked(Marker &marker) {
  marker.rescan_page_range(tables.start, tables.start + tables.bytes);
}

}  // namespace warren::gc

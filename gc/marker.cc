// See marker.h.
#include "gc/marker.h"

#include "allocator/base/annotations.h"
#include "gc/assist.h"
#include "gc/block_digests.h"
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

// An entry of a buffer: a grey object's address, and above it the tag of its page, so that who takes it out need not look that up.
// Of a large object, any of its pieces.
constexpr unsigned kTagShift = 48;

WARREN_ALWAYS_INLINE uintptr_t entry_of(uintptr_t object, uint16_t tag) { return object | uintptr_t{tag} << kTagShift; }
WARREN_ALWAYS_INLINE uint16_t tag_of_entry(uintptr_t entry) { return static_cast<uint16_t>(entry >> kTagShift); }
WARREN_ALWAYS_INLINE void *object_of(uintptr_t entry) {
  return at_address<void>(entry & ((uintptr_t{1} << kTagShift) - 1));
}

}  // namespace

Marker::~Marker() { flush(); }

WARREN_ALWAYS_INLINE void Marker::push(uintptr_t entry) {
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
  buffer_->entries[buffer_->count++] = entry;
}

// 0: nobody has any to give.
WARREN_ALWAYS_INLINE uintptr_t Marker::pop() {
  if (WARREN_UNLIKELY(buffer_ == nullptr || buffer_->count == 0)) return pop_slow();
  return buffer_->entries[--buffer_->count];
}

WARREN_NOINLINE uintptr_t Marker::pop_slow() {
  if (spare_ != nullptr && spare_->count != 0) {
    MarkBuffer *const empty = buffer_;
    buffer_ = spare_;
    spare_ = empty;
  } else {
    MarkBuffer *const full = mark_work::get_full();
    if (full == nullptr) return 0;
    if (buffer_ != nullptr) mark_work::put_empty(buffer_);
    buffer_ = full;
  }
  return buffer_->entries[--buffer_->count];
}

WARREN_ALWAYS_INLINE void Marker::reach(const Slot &slot) {
  if (!slot.is_white()) return;
  slot.mark();
  if (WARREN_UNLIKELY((slot.tag & kNoscanTag) != 0)) {
    noscan_bytes_ += object_size(slot);
    return;
  }
  push(entry_of(slot.object, slot.tag));
}

WARREN_ALWAYS_INLINE void Marker::consider(uintptr_t word, const Tables &in) {
  Slot slot;
  if (find_unmarked(word, slot, in)) reach(slot);
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
    if (!find_unmarked(word, slot, in)) continue;
    __builtin_prefetch(slot.pair);
    if (++batch.count == kBatch) reach_all(batch);
  }
}

void Marker::discover(uintptr_t word) { consider(word, tables); }

WARREN_ALWAYS_INLINE void Marker::scan_words(uintptr_t low, uintptr_t high, const Tables &in) {
  for (uintptr_t at = low; at < high; at += sizeof(uintptr_t)) {
    consider(load_word(at), in);
  }
}

void Marker::scan_range(uintptr_t low, uintptr_t high) {
  low = align_up(low, sizeof(uintptr_t));
  high = align_down(high, sizeof(uintptr_t));
  if (low >= high) return;
  scanned_bytes_ += high - low;
  const Tables in = tables;
  scan_words(low, high, in);
}

WARREN_NOINLINE void Marker::scan_large(uintptr_t object) {
  const Span *span = page_map::at(arena.page_of(object));
  const uintptr_t end = span->start() + span->bytes();
  if (object == span->start()) {
    for (uintptr_t piece = object + kPiece; piece < end; piece += kPiece) push(entry_of(piece, kLargeTag));
  }
  const uintptr_t to = end - object < kPiece ? end : object + kPiece;
  object_bytes_ += to - object;
  Batch batch;
  gather(object, to, batch);
  reach_all(batch);
}

bool Marker::drain(size_t most) {
  const Tables in = tables;  // copies, that stores to buffers cannot change
  const uint64_t until = scanned_bytes_ + most;
  unsigned next = next_, empty = 0;
  uint64_t small_bytes = 0;
  bool more = true;
  for (;;) {
    // What was popped some turns ago has arrived meanwhile.
    const uintptr_t fetched = pop();
    __builtin_prefetch(object_of(fetched));
    const uintptr_t entry = ring_[next];
    ring_[next] = fetched;
    next = (next + 1) % kRing;
    if (WARREN_LIKELY(entry != 0)) {
      const uint16_t tag = tag_of_entry(entry);
      const uintptr_t object = address_of(object_of(entry));
      if (WARREN_UNLIKELY(is_large(tag))) {
        scan_large(object);
      } else {
        const size_t size = kSizeClasses[tag & kClassMask].object_size;
        small_bytes += size;
        scan_words(object, object + size, in);
      }
      empty = 0;
    } else if (fetched == 0 && ++empty == kRing) {
      more = false;
      break;
    }
    if (next == 0) {
      if (WARREN_UNLIKELY(assist::hungry())) share();
      if (scanned_bytes_ + small_bytes >= until) break;
    }
  }
  next_ = next;
  object_bytes_ += small_bytes;
  scanned_bytes_ += small_bytes;
  return more;
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
  for (uintptr_t &entry : ring_) {
    if (entry != 0) push(entry);
    entry = 0;
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

// The objects from number `first` on, at most 64, that are marked.
uint64_t marks_from(const BitPair *pairs, size_t first, size_t count) {
  const size_t shift = first % 64;
  // relaxed: who marks one later scans it later
  uint64_t marks = __atomic_load_n(&pairs[first / 64].marked, __ATOMIC_RELAXED) >> shift;
  if (shift + count > 64) marks |= __atomic_load_n(&pairs[first / 64 + 1].marked, __ATOMIC_RELAXED) << (64 - shift);
  return count == 64 ? marks : marks & ((uint64_t{1} << count) - 1);
}

// Words of a copy.
WARREN_ALWAYS_INLINE void Marker::gather_copy(const uintptr_t *words, size_t first, size_t end, Batch &batch) {
  const Tables in = tables;
  for (size_t i = first; i < end; ++i) {
    Slot &slot = batch.slots[batch.count];
    if (!find_unmarked(words[i], slot, in)) continue;
    __builtin_prefetch(slot.pair);
    if (++batch.count == kBatch) reach_all(batch);
  }
}

// The marks are read before the words: of an object that is marked in between, the thread that marks it reads all.
void Marker::rescan_block(uintptr_t block, const Span *span, bool large, Batch &batch) {
  constexpr size_t kWords = block_digests::kBlockWords;
  const BitPair *pairs = pairs_of(span);
  uintptr_t words[kWords];
  if (large) {
    if ((__atomic_load_n(&pairs->marked, __ATOMIC_RELAXED) & 1) == 0) return;
    if (block_digests::unchanged(block, block_digests::copy(block, 1, words))) return;
    scanned_bytes_ += sizeof words;
    return gather_copy(words, 0, kWords, batch);
  }
  const SizeClassInfo &shape = info(span->size_class);
  const size_t size = shape.object_size;
  const size_t first = span->index_of(block);
  const size_t last = span->index_of(block + sizeof words - 1);
  if (first >= shape.objects) return;
  const size_t end = last < shape.objects ? last + 1 : shape.objects;
  uint64_t marks = marks_from(pairs, first, end - first);
  if (marks == 0) return;
  if (block_digests::unchanged(block, block_digests::copy(block, marks, words))) return;
  const uintptr_t origin = span->start() + first * size;
  for (; marks != 0; marks &= marks - 1) {
    const uintptr_t object = origin + static_cast<unsigned>(__builtin_ctzll(marks)) * size;
    const size_t from = object <= block ? 0 : (object - block) / sizeof(uintptr_t);
    const size_t to = object + size >= block + sizeof words ? kWords : (object + size - block) / sizeof(uintptr_t);
    scanned_bytes_ += (to - from) * sizeof(uintptr_t);
    gather_copy(words, from, to, batch);
  }
}

void Marker::rescan_page_range(uintptr_t low, uintptr_t high) {
  Batch batch;
  for (uintptr_t page_start = align_down(low, kPageSize); page_start < high; page_start += kPageSize) {
    if (page_start - tables.start >= tables.bytes) continue;
    const PageId page = arena.page_of(page_start);
    const uint16_t tag = tag_of(page);
    if (tag == 0 || (tag & kNoscanTag) != 0) continue;
    const Span *span = page_map::at(page);
    const uintptr_t from = page_start < low ? low : page_start;
    const uintptr_t to = page_start + kPageSize < high ? page_start + kPageSize : high;
    if (WARREN_UNLIKELY(span->specials != 0)) specials::scan_contents_on(span, from, to, *this);
    for (uintptr_t block = from; block < to; block += block_digests::kBlockBytes) rescan_block(block, span, is_large(tag), batch);
  }
  reach_all(batch);
}

void rescan_all_marked(Marker &marker) {
  marker.rescan_page_range(tables.start, tables.start + tables.bytes);
}

}  // namespace warren::gc

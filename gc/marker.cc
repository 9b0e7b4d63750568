// See marker.h.
#include "gc/marker.h"

#include "allocator/base/annotations.h"
#include "gc/assist.h"
#include "gc/block_digests.h"
#include "gc/specials.h"
#include "gc/word_filter_x86_64.h"

#include <cstring>

namespace warren::gc {
namespace {

// A large object is scanned in pieces (Go's oblets), so that its scan can be shared and broken off.
constexpr size_t kPiece = size_t{128} << 10;

// The words are the program's, which may be writing them: one load each, and no sanitizer may mind.
WARREN_ALWAYS_INLINE uintptr_t load_word(uintptr_t at) {
  return __atomic_load_n(reinterpret_cast<const uintptr_t *>(at), __ATOMIC_RELAXED);
}

// Calls visit for the words in [low, high) that are addresses of the arena's.
template <class Visit>
WARREN_ALWAYS_INLINE void for_each_of_few(uintptr_t low, uintptr_t high, uintptr_t start, size_t bytes, Visit visit) {
  for (uintptr_t at = low; at < high; at += sizeof(uintptr_t)) {
    const uintptr_t word = load_word(at);
    if (word - start < bytes) visit(word);
  }
}

// Of objects from this size on, which seldom consist of pointers, many words are passed over at a time.
constexpr size_t kFilteredSize = 64;

// The same. Between two looks at a word it may become another: then its page is dirty.
template <class Visit>
WARREN_ALWAYS_INLINE void for_each_in(uintptr_t low, uintptr_t high, uintptr_t start, size_t bytes, Visit visit) {
  const WordFilter filter(start, bytes);
  uintptr_t at = low;
  for (; high - at >= WordFilter::kWords * sizeof(uintptr_t); at += WordFilter::kWords * sizeof(uintptr_t)) {
    for (unsigned some = filter.candidates(at); some != 0; some &= some - 1) {
      const uintptr_t word = load_word(at + static_cast<unsigned>(__builtin_ctz(some)) * sizeof(uintptr_t));
      if (word - start < bytes) visit(word);
    }
  }
  for_each_of_few(at, high, start, bytes, visit);
}

// An entry of a buffer: a grey object's address, and above it the tag of its page, so that who takes it out need not look that up.
// Of a large object, any of its pieces. With kPagesTag: that many OS pages, less one, added to the address of the first.
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

// The way from a word to its object's bits, and these, mostly come from far away: all of them are asked for before one is looked at.
WARREN_NOINLINE void Marker::resolve() {
  const Tables in = tables;
  struct {
    BitPair *pair;
    uint64_t bit;
    uintptr_t entry;
  } places[kWords];
  unsigned count = 0;
  for (unsigned i = 0; i < word_count_; ++i) {
    Slot slot;
    if (!find_unmarked(words_[i], slot, in)) continue;
    __builtin_prefetch(slot.pair);
    places[count++] = {slot.pair, slot.bit, entry_of(slot.object, slot.tag)};
  }
  word_count_ = 0;
  for (unsigned i = 0; i < count; ++i) {
    const uintptr_t entry = places[i].entry;
    reach({address_of(object_of(entry)), places[i].pair, places[i].bit, tag_of_entry(entry)});
  }
}

// A word that is an address in the arena.
WARREN_ALWAYS_INLINE void Marker::note(uintptr_t word) {
  words_[word_count_] = word;
  if (WARREN_UNLIKELY(++word_count_ == kWords)) resolve();
}

void Marker::discover(uintptr_t word) {
  Slot slot;
  if (find_unmarked(word, slot, tables)) reach(slot);
}

void Marker::scan_words(uintptr_t low, uintptr_t high) {
  scanned_bytes_ += high - low;
  const uintptr_t start = tables.start;
  const size_t bytes = tables.bytes;
  for_each_in(low, high, start, bytes, [this](uintptr_t word) { note(word); });
}

// Makes the group of an object that is being scanned. Not inlined: most objects of some heaps have nothing near.
WARREN_NOINLINE void Marker::locate(Group &group, uintptr_t object, const Tables &in) {
  const size_t page = (object - in.start) >> kPageShift;
  const uint16_t tag = __atomic_load_n(&in.tags[page], __ATOMIC_RELAXED);  // the entry's may be that of a page further on
  const SizeClassInfo &shape = kSizeClasses[tag & kClassMask];
  const size_t size = shape.object_size;
  const size_t page_index = (tag >> kPageIndexShift) & kPageIndexMask;
  const size_t inside = page_index * kPageSize + object % kPageSize;
  const auto index = static_cast<size_t>(inside * shape.reciprocal >> 32);
  const size_t left = shape.span_pages * kPageSize - (inside - index % 64 * size);
  group.base = object - index % 64 * size;
  group.extent = left < 64 * size ? left : 64 * size;
  group.pair = reinterpret_cast<BitPair *>(in.bits + (page - page_index) * kBitmapBytesPerPage) + index / 64;
  group.shape = &shape;
}

// Marks what a round has found; it is scanned in the next.
template <size_t kSize>
WARREN_ALWAYS_INLINE void Marker::end_round(Group &group, uint64_t found) {
  // relaxed, all: see Slot. What somebody else has marked meanwhile is theirs to scan.
  BitPair *const pair = group.pair;
  found &= __atomic_load_n(&pair->allocated, __ATOMIC_RELAXED) & ~__atomic_load_n(&pair->marked, __ATOMIC_RELAXED);
  if (found != 0) found &= ~__atomic_fetch_or(&pair->marked, found, __ATOMIC_RELAXED);
  group.grey = found;
  if (found == 0) return;
  if (kSize == 16) found = (found | found >> 1 | found >> 2 | found >> 3) & 0x1111111111111111;  // one of each cache line
  const uintptr_t base = group.base;
  const size_t size = kSize != 0 ? kSize : group.shape->object_size;
  do {
    __builtin_prefetch(at_address<void>(base + uint64_t(__builtin_ctzll(found)) * size));
  } while ((found &= found - 1) != 0);
}

// One that was taken out of a buffer. Its group is looked for only when one of its words is near.
WARREN_ALWAYS_INLINE size_t Marker::scan_entry(Group &group, uintptr_t entry, const Tables &in) {
  const uint16_t tag = tag_of_entry(entry);
  const uintptr_t object = address_of(object_of(entry));
  const size_t size = kSizeClasses[tag & kClassMask].object_size;
  const uint64_t reciprocal = kSizeClasses[tag & kClassMask].reciprocal;
  uintptr_t base = object - 64 * size;
  size_t extent = 128 * size;
  uint64_t found = 0;
  bool located = false;
  const auto look = [&](uintptr_t word) __attribute__((always_inline)) {
    if (word - base < extent) {
      if (!located) {
        locate(group, object, in);
        base = group.base;
        extent = group.extent;
        located = true;
      }
      if (word - base < extent) {
        found |= uint64_t{1} << ((word - base) * reciprocal >> 32);
        return;
      }
    }
    note(word);
  };
  if (size >= kFilteredSize) {
    for_each_in(object, object + size, in.start, in.bytes, look);
  } else {
    for_each_of_few(object, object + size, in.start, in.bytes, look);
  }
  if (located) end_round<0>(group, found);
  return size;
}

WARREN_ALWAYS_INLINE size_t Marker::scan_round(Group &group, const Tables &in) {
  const uintptr_t base = group.base;
  const size_t size = group.shape->object_size, extent = group.extent;
  const uint64_t reciprocal = group.shape->reciprocal;
  uint64_t found = 0, scanned = 0, grey = group.grey;
  const auto look = [&](uintptr_t word) __attribute__((always_inline)) {
    if (word - base < extent) {
      found |= uint64_t{1} << ((word - base) * reciprocal >> 32);
    } else {
      note(word);
    }
  };
  do {
    const uintptr_t low = base + static_cast<unsigned>(__builtin_ctzll(grey)) * size;
    if (size >= kFilteredSize) {
      for_each_in(low, low + size, in.start, in.bytes, look);
    } else {
      for_each_of_few(low, low + size, in.start, in.bytes, look);
    }
    scanned += size;
  } while ((grey &= grey - 1) != 0);
  end_round<0>(group, found);
  return scanned;
}

// The same for objects of two words.
WARREN_ALWAYS_INLINE size_t Marker::scan_round_of_pairs(Group &group, const Tables &in) {
  constexpr size_t kSize = 2 * sizeof(uintptr_t);
  const uintptr_t start = in.start, base = group.base;
  const size_t bytes = in.bytes, extent = group.extent;
  uint64_t found = 0, scanned = 0, grey = group.grey;
  const auto look = [&](uintptr_t word) __attribute__((always_inline)) {
    if (word - base < extent) {
      found |= uint64_t{1} << (word - base) / kSize;
    } else if (word - start < bytes) {
      note(word);
    }
  };
  do {
    const uintptr_t object = base + static_cast<uint64_t>(__builtin_ctzll(grey)) * kSize;
    const uintptr_t one = load_word(object), other = load_word(object + sizeof(uintptr_t));
    scanned += kSize;
    if ((one | other) == 0) continue;  // a leaf
    look(one);
    look(other);
  } while ((grey &= grey - 1) != 0);
  end_round<kSize>(group, found);
  return scanned;
}

void Marker::scan_range(uintptr_t low, uintptr_t high) {
  low = align_up(low, sizeof(uintptr_t));
  high = align_down(high, sizeof(uintptr_t));
  if (low >= high) return;
  scan_words(low, high);
  resolve();
}

WARREN_NOINLINE void Marker::scan_large(uintptr_t object) {
  const Span *span = page_map::at(arena.page_of(object));
  const uintptr_t end = span->start() + span->bytes();
  if (object == span->start()) {
    for (uintptr_t piece = object + kPiece; piece < end; piece += kPiece) push(entry_of(piece, kLargeTag));
  }
  const uintptr_t to = end - object < kPiece ? end : object + kPiece;
  object_bytes_ += to - object;
  scan_words(object, to);
}

// Pages of one entry: some 30 us.
constexpr size_t kStride = 16 * kOsPageSize;

void Marker::rescan_later(uintptr_t low, uintptr_t high) {
  for (; low < high; low += kStride) push(entry_of(low + ((high - low < kStride ? high - low : kStride) / kOsPageSize - 1), kPagesTag));
}

WARREN_NOINLINE void Marker::scan_uncommon(uintptr_t entry) {
  const uintptr_t at = address_of(object_of(entry));
  if (is_large(tag_of_entry(entry))) return scan_large(at);
  const uintptr_t low = align_down(at, kOsPageSize);
  rescan_page_range(low, low + (at - low + 1) * kOsPageSize);
}

bool Marker::drain(size_t most) {
  const Tables in = tables;  // copies, that stores to buffers cannot change
  const uint64_t until = scanned_bytes_ + most;
  unsigned next = next_, empty = 0;
  uint64_t small_bytes = 0;
  bool more = true;
  for (;;) {
    // What was found some turns ago has arrived meanwhile.
    Turn &turn = ring_[next];
    next = (next + 1) % kRing;
    if (turn.group.grey != 0) {
      small_bytes += turn.group.shape->object_size == 16 ? scan_round_of_pairs(turn.group, in) : scan_round(turn.group, in);
      empty = 0;
    } else {
      // First asked for, then scanned: what is late now would hold that up, too.
      const uintptr_t fetched = pop();
      __builtin_prefetch(object_of(fetched));
      const uintptr_t entry = turn.entry;
      turn.entry = fetched;
      if (WARREN_LIKELY(entry != 0)) {
        if (WARREN_UNLIKELY((tag_of_entry(entry) & kClassMask) >= kPagesTag)) {
          scan_uncommon(entry);
        } else {
          small_bytes += scan_entry(turn.group, entry, in);
        }
        empty = 0;
      } else if (fetched != 0) {
        empty = 0;
      } else if (++empty >= kRing) {
        if (word_count_ == 0) {
          more = false;
          break;
        }
        resolve();
        empty = 0;
      }
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
  constexpr uint32_t kWorthSharing = 2;  // each may lead to many
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
  resolve();
  for (auto &[group, entry] : ring_) {
    if (entry != 0) push(entry);
    entry = 0;
    for (; group.grey != 0; group.grey &= group.grey - 1) {
      const uintptr_t object = group.base + static_cast<unsigned>(__builtin_ctzll(group.grey)) * group.shape->object_size;
      push(entry_of(object, tag_of(arena.page_of(object))));
    }
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
WARREN_ALWAYS_INLINE void Marker::scan_copy(const uintptr_t *words, size_t first, size_t end) {
  scanned_bytes_ += (end - first) * sizeof(uintptr_t);
  rescanned_bytes_ += (end - first) * sizeof(uintptr_t);
  for_each_in(address_of(words + first), address_of(words + end), tables.start, tables.bytes, [this](uintptr_t word) { note(word); });
}

// The same, of objects in a span with these bits: most of what they point to lies in it, too, and is marked already.
WARREN_ALWAYS_INLINE void Marker::scan_copy_in(const Span *span, const BitPair *pairs, const uintptr_t *words, size_t first, size_t end) {
  scanned_bytes_ += (end - first) * sizeof(uintptr_t);
  rescanned_bytes_ += (end - first) * sizeof(uintptr_t);
  const uintptr_t span_start = span->start();
  const size_t span_bytes = span->bytes();
  const uint64_t reciprocal = info(span->size_class).reciprocal;
  for_each_in(address_of(words + first), address_of(words + end), tables.start, tables.bytes, [=, this](uintptr_t word) {
    if (word - span_start < span_bytes) {
      const uint64_t index = (word - span_start) * reciprocal >> 32;
      if ((__atomic_load_n(&pairs[index / 64].marked, __ATOMIC_RELAXED) >> index % 64 & 1) != 0) return;
    }
    note(word);
  });
}

// The marks are read before the words: of an object that is marked in between, the thread that marks it reads all.
void Marker::rescan_block(uintptr_t block, const Span *span, bool large) {
  constexpr size_t kBlock = block_digests::kBlockWords;
  const BitPair *pairs = pairs_of(span);
  uintptr_t words[kBlock];
  if (large) {
    if ((__atomic_load_n(&pairs->marked, __ATOMIC_RELAXED) & 1) == 0) return;
    if (block_digests::unchanged(block, block_digests::copy(block, 1, words))) return;
    return scan_copy(words, 0, kBlock);
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
  while (marks != 0) {  // marked objects that lie side by side
    const auto skip = static_cast<unsigned>(__builtin_ctzll(marks));
    const uint64_t others = ~(marks >> skip);
    const unsigned run = others == 0 ? 64 : static_cast<unsigned>(__builtin_ctzll(others));
    const uintptr_t low = origin + skip * size, high = low + run * size;
    const size_t from = low <= block ? 0 : (low - block) / sizeof(uintptr_t);
    const size_t to = high >= block + sizeof words ? kBlock : (high - block) / sizeof(uintptr_t);
    scan_copy_in(span, pairs, words, from, to);
    if (skip + run >= 64) break;
    marks &= ~uint64_t{0} << (skip + run);
  }
}

void Marker::rescan_page_range(uintptr_t low, uintptr_t high) {
  for (uintptr_t page_start = align_down(low, kPageSize); page_start < high; page_start += kPageSize) {
    if (page_start - tables.start >= tables.bytes) continue;
    const PageId page = arena.page_of(page_start);
    const uint16_t tag = tag_of(page);
    if (tag == 0 || (tag & kNoscanTag) != 0) continue;
    const Span *span = page_map::at(page);
    const uintptr_t from = page_start < low ? low : page_start;
    const uintptr_t to = page_start + kPageSize < high ? page_start + kPageSize : high;
    if (WARREN_UNLIKELY(span->specials != 0)) specials::scan_contents_on(span, from, to, *this);
    for (uintptr_t block = from; block < to; block += block_digests::kBlockBytes) {
      // The program's processor has it: to be asked for in time. Beyond the range, it is the next one's, or nobody's.
      for (size_t line = 0; line < block_digests::kBlockBytes; line += 64) {
        __builtin_prefetch(at_address<void>(block + 2 * block_digests::kBlockBytes + line));
      }
      rescan_block(block, span, is_large(tag));
    }
  }
  resolve();
}

void rescan_all_marked(Marker &marker) {
  marker.rescan_page_range(tables.start, tables.start + tables.bytes);
}

}  // namespace warren::gc

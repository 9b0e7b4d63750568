// Marking: reads words, finds the objects they point into, marks them, and reads those in turn.
//
// A word that points into an allocated object of the collector's heap marks it, and if it can hold pointers, it becomes grey.
// Grey objects wait in buffers (mark_work.h), a stack; the next few are already in a small ring while the processor
// fetches their contents, so that the one that is scanned is in the cache. What it points to near by is scanned with it, out of the
// ring; other words are looked up some dozens at a time, so that their objects' bits are in the cache. No recursion.
//
// Callers: the cycle's threads, threads that help while they allocate (heap.cc).
// Invariant: when a worker is destroyed, all it has found is marked and scanned, or in a buffer that goes round.
#pragma once

#include "gc/mark_work.h"
#include "gc/page_tags.h"

namespace warren::gc {

class Marker {
 public:
  Marker() = default;
  ~Marker();
  Marker(const Marker &) = delete;
  Marker &operator=(const Marker &) = delete;

  // Reads the aligned words in [low, high). What they point to becomes grey.
  void scan_range(uintptr_t low, uintptr_t high);

  // One word.
  void discover(uintptr_t word);

  // The marked objects on a run of OS pages: the words on these pages, but not of blocks that are as they were when they were
  // scanned in this way before. With finalizers' objects, marked or not.
  void rescan_page_range(uintptr_t low, uintptr_t high);

  // The same by whoever drains, a few pages at a time.
  void rescan_later(uintptr_t low, uintptr_t high);

  // Scans grey objects, those of others too, until there are none or about `most` bytes were read. False: none are left.
  bool drain(size_t most);

  // Gives some to those that wait for any.
  void share();

  // Gives all grey objects to the others.
  void flush();

  uint64_t marked_bytes() const { return object_bytes_ + noscan_bytes_; }
  uint64_t object_bytes() const { return object_bytes_; }    // of them: of objects that may hold pointers
  uint64_t rescanned_bytes() const { return rescanned_bytes_; }
  uint64_t scanned_bytes() const { return scanned_bytes_; }  // with roots, and what was scanned again

 private:
  // The 64 objects that have their bits in one pair, or those of them that are in the span; of these, which are grey. An object is
  // mostly pointed to by one that was allocated just before or after it: so with a grey object all that is found of its sixty-four
  // is scanned, in rounds, and each round's marks are made at once, without a trip through a buffer.
  struct Group {
    uint64_t grey = 0;  // 0: the others mean nothing
    uintptr_t base;     // the first object
    size_t extent;      // bytes
    BitPair *pair;
    const SizeClassInfo *shape;
  };

  // A group, or an object that may become one.
  struct Turn {
    Group group;
    uintptr_t entry = 0;  // 0: none
  };

  // Groups that take turns, a round at a time, so that what a round has found is in the cache at the next. A power of two. Measured
  // with a tree of 16-byte nodes.
  static constexpr unsigned kRing = 8;

  // Words that wait to be looked up together.
  static constexpr unsigned kWords = 64;

  void reach(const Slot &slot);
  void note(uintptr_t word);
  void resolve();
  void scan_copy(const uintptr_t *words, size_t first, size_t end);
  void scan_copy_in(const Span *span, const BitPair *pairs, const uintptr_t *words, size_t first, size_t end);
  void rescan_block(uintptr_t block, const Span *span, bool large);
  void push(uintptr_t entry);
  uintptr_t pop();
  uintptr_t pop_slow();
  void scan_words(uintptr_t low, uintptr_t high);
  void scan_large(uintptr_t object);
  void scan_uncommon(uintptr_t entry);
  static void locate(Group &group, uintptr_t object, const Tables &in);
  template <size_t kSize>
  static void end_round(Group &group, uint64_t found);
  size_t scan_entry(Group &group, uintptr_t entry, const Tables &in);
  size_t scan_round(Group &group, const Tables &in);
  size_t scan_round_of_pairs(Group &group, const Tables &in);

  Turn ring_[kRing] = {};
  unsigned next_ = 0;  // whose turn it is
  unsigned word_count_ = 0;
  uintptr_t words_[kWords];
  MarkBuffer *buffer_ = nullptr;
  MarkBuffer *spare_ = nullptr;  // full or empty: so that one push and pop at the edge do not go to the lock
  uint64_t object_bytes_ = 0;  // of grey objects that were scanned
  uint64_t noscan_bytes_ = 0;
  uint64_t scanned_bytes_ = 0;
  uint64_t rescanned_bytes_ = 0;  // of them: on dirty pages
};

// Marks every marked object's referents again: after a grey object had to be dropped.
void rescan_all_marked(Marker &marker);

}  // namespace warren::gc

// What the collector remembers of each block of 512 bytes that it has scanned for the second time: a digest of its words and of
// which objects on it were marked. A page is dirty when one of its words was written to; a block whose digest is still the
// same has nothing to find. Most passes over dirty pages thereby read much and look up little.
//
// Why the marks belong to it: an object that was found unmarked was not scanned, or by somebody else at another time, and what it
// held then may have been overwritten and restored since.
//
// Caller: marker.cc, by any thread that marks. Invariant: unchanged() is true only of a block whose words, and marks, were the
// same when a thread scanned it in this cycle, or in this pass is about to (but for one chance in 2^64).
#pragma once

#include "allocator/base/units.h"

#include <cstddef>
#include <cstdint>

namespace warren::gc::block_digests {

// Smaller: more digests. Larger: one store has more words looked up.
inline constexpr size_t kBlockBytes = 512;
inline constexpr size_t kBlockWords = kBlockBytes / sizeof(uintptr_t);
static_assert(kOsPageSize % kBlockBytes == 0);

// Forgets everything, and makes room for the collector's part of the arena. Without memory for that all blocks count as changed.
void begin();

// Copies a block (the program may be writing to it), and returns the copy's digest. `marks`: which of its objects are marked.
uint64_t copy(uintptr_t block, uint64_t marks, uintptr_t (&words)[kBlockWords]);

// Whether that is the block's digest already. It is from now on.
bool unchanged(uintptr_t block, uint64_t digest);

}  // namespace warren::gc::block_digests

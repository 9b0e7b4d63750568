// Compile-time constants of the heap and what is derived from them.
// Included by every file of allocator/. Invariant: nothing here depends on the machine it runs on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

// Page: the unit of the page heap. (The kernel's 4 KiB unit is always called an OS page.)
// Larger: fewer page map entries, coarser spans. Smaller than 8 KiB: more spans for the same heap.
inline constexpr unsigned kPageShift = 13;
inline constexpr size_t kPageSize = size_t{1} << kPageShift;
inline constexpr size_t kOsPageSize = 4096;
inline constexpr unsigned kCacheLineLog = 6;

// The object map keeps one byte for each place where a block can start (object_map.h).
inline constexpr unsigned kOctetShift = 3;   // tiny blocks start on multiples of 8, small ones on multiples of 16
inline constexpr unsigned kCoarseShift = 7;  // medium and large blocks on multiples of 128

// The bytes for tiny and small blocks lie region by region, and those of a region in rows: blocks that start at 0 mod 32 have theirs
// in the first, those at 8 mod 32 in the second, and so on. A region is what the rotation of 16 bits can put in order.
inline constexpr unsigned kRowsLog = 2;
inline constexpr unsigned kRegionOctetsLog = 16;
inline constexpr size_t kRegionPages = size_t{1} << (kRegionOctetsLog + kOctetShift - kPageShift);
inline constexpr size_t kRowBytes = size_t{1} << (kRegionOctetsLog - kRowsLog);

inline constexpr size_t kTinySize = size_t{1} << kOctetShift;  // up to here: 8-byte blocks, the only ones not 16-aligned
inline constexpr size_t kMaxSmallSize = 1024;  // up to here: marked in the fine plane
inline constexpr size_t kMaxClassSize = 32768;  // above: page runs
inline constexpr size_t kMinAlign = 16;

// The arena grows in steps, and a step is what all planes grow by together. 4 MiB is the least that
// gives every plane whole OS pages. Larger steps would count against RLIMIT_AS before they are used.
inline constexpr unsigned kStepShift = 22;
inline constexpr size_t kStepSize = size_t{1} << kStepShift;

// Bits of the bitmap for one page: enough for the 1024 eight-byte objects of a page, or two for each of the collector's.
inline constexpr size_t kBitmapBytesPerPage = 128;
// Of the free bits: one for each object of 16 bytes or more. (All in the bitmap: 0.5 to 0.7% more of heaps of small blocks.)
inline constexpr size_t kFreeBitsBytesPerPage = 64;
inline constexpr size_t kMaxObjectsPerSpan = kBitmapBytesPerPage * 8;

// Address space set aside for the arena unless the option `arena` says otherwise, and the least
// that still makes a working process.
inline constexpr size_t kDefaultArenaSize = size_t{1} << 40;
inline constexpr size_t kMinArenaSize = size_t{64} << 20;

static_assert((kStepSize >> kPageShift) * sizeof(void *) % kOsPageSize == 0, "page map grows by OS pages");
static_assert((kStepSize >> kOctetShift) % (kRowBytes << kRowsLog) == 0, "fine plane grows by regions");
static_assert((kStepSize >> kCoarseShift) % kOsPageSize == 0, "coarse plane grows by OS pages");
static_assert((kStepSize >> kPageShift) * kBitmapBytesPerPage % kOsPageSize == 0, "bitmap grows by OS pages");
static_assert((kStepSize >> kPageShift) * kFreeBitsBytesPerPage % kOsPageSize == 0, "free bits grow by OS pages");

}  // namespace warren

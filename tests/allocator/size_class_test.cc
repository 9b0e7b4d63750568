// Every property of the committed table of size classes that the code relies on: allocator/size_class.h.
// Run as a test of its own. Invariant: all classes, all sizes and all offsets are tried; nothing is sampled.
#include "allocator/size_class.h"

#include "allocator/base/bitmap.h"
#include "allocator/cache.h"
#include "allocator/heap.h"
#include "tests/allocator/packed_tiny.h"

#include <gtest/gtest.h>

namespace warren {
namespace {

// Go's classes, the oracle for the generator.
constexpr uint32_t kGoSizes[] = {
    8,    16,   24,    32,    48,    64,    80,    96,    112,   128,   144,   160,   176,   192,   208,   224,  240,
    256,  288,  320,   352,   384,   416,   448,   480,   512,   576,   640,   704,   768,   896,   1024,  1152, 1280,
    1408, 1536, 1792,  2048,  2304,  2688,  3072,  3200,  3456,  4096,  4864,  5376,  6144,  6528,  6784,  6912, 8192,
    9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768};

constexpr unsigned kFirstMedium = 33;

SizeClass class_of(size_t size) {
  if (size > kMaxSmallSize) return class_of_medium_size(size);
  return SizeClass{hot.empty.class_of[size]};
}

TEST(SizeClass, TheSizesAreGos) {
  ASSERT_EQ(std::size(kGoSizes), 67u);
  ASSERT_EQ(kClassCount, 68u);
  for (unsigned number = 1; number < kClassCount; ++number)
    EXPECT_EQ(kSizeClasses[number].object_size, kGoSizes[number - 1]) << number;
}

TEST(SizeClass, SizesAscend) {
  for (unsigned number = 2; number < kClassCount; ++number) {
    EXPECT_GT(kSizeClasses[number].object_size, kSizeClasses[number - 1].object_size) << number;
  }
}

TEST(SizeClass, SizesAreMultiplesOfTheirAlignment) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    const uint32_t size = kSizeClasses[number].object_size;
    if (number == kTinyClass || number == kUnalignedClass) {
      EXPECT_EQ(size % 8, 0u) << number;
    } else {
      EXPECT_EQ(size % kMinAlign, 0u) << number;
    }
  }
}

TEST(SizeClass, MediumSizesFitTheCoarsePlane) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    const bool medium = kSizeClasses[number].object_size > kMaxSmallSize;
    EXPECT_EQ(medium, number >= kFirstMedium) << number;
    if (medium) {
      EXPECT_EQ(kSizeClasses[number].object_size % (size_t{1} << kCoarseShift), 0u) << number;
    }
  }
}

TEST(SizeClass, ObjectsFillTheirSpans) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    const SizeClassInfo &shape = kSizeClasses[number];
    const size_t bytes = size_t{shape.span_pages} * kPageSize;
    EXPECT_GE(shape.objects, 1u) << number;
    EXPECT_LE(shape.objects, kMaxObjectsPerSpan) << number;
    EXPECT_LE(bits::words_for(shape.objects) * 8, shape.span_pages * kBitmapBytesPerPage)
        << number << ": bits lie in the next span's slice";
    EXPECT_EQ(shape.objects,
              number == kTinyClass && bytes / 8 > kMaxObjectsPerSpan ? kMaxObjectsPerSpan : bytes / shape.object_size)
        << number;
    const size_t tail = bytes - size_t{shape.objects} * shape.object_size;
    EXPECT_LE(tail * 32, bytes) << number << ": more than a 32nd of the span is lost";
  }
}

TEST(SizeClass, RoundingUpWastesLittle) {
  for (unsigned number = 5; number < kClassCount; ++number) {  // 48 bytes and up; below it is at most 15 bytes
    const uint32_t size = kSizeClasses[number].object_size;
    const uint32_t least = kSizeClasses[number - 1].object_size + 1;
    EXPECT_LE((size - least) * 3, size) << number << ": more than a third of the block is lost";
    if (size > 128) {
      EXPECT_LE((size - least) * 100, size * 17u) << number;
    }
  }
}

TEST(SizeClass, TheReciprocalIsExactForEveryOffsetOfEverySpan) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    const SizeClassInfo &shape = kSizeClasses[number];
    const size_t bytes = size_t{shape.span_pages} * kPageSize;
    size_t wrong = 0;
    for (size_t offset = 0; offset < bytes; ++offset) {
      if (object_index(SizeClass{static_cast<uint8_t>(number)}, offset) != offset / shape.object_size) ++wrong;
    }
    EXPECT_EQ(wrong, 0u) << number;
  }
}

TEST(SizeClass, EverySizeGetsTheSmallestClassThatFits) {
  pack_tiny_blocks();
  for (size_t size = 0; size <= kMaxClassSize; ++size) {
    const SizeClass size_class = class_of(size);
    ASSERT_GT(size_class.value, 0u) << size;
    ASSERT_LT(size_class.value, kClassCount) << size;
    ASSERT_NE(size_class.value, kUnalignedClass) << size;
    ASSERT_GE(info(size_class).object_size, size);
    uint8_t below = static_cast<uint8_t>(size_class.value - 1);
    if (below == kUnalignedClass) --below;
    if (below != 0) {
      ASSERT_LT(kSizeClasses[below].object_size, size == 0 ? 1 : size) << size;
    }
  }
}

TEST(SizeClass, ASizeOfAClassIsItsOwn) {
  pack_tiny_blocks();
  for (unsigned number = 1; number < kClassCount; ++number) {
    if (number == kUnalignedClass) continue;
    EXPECT_EQ(class_of(kSizeClasses[number].object_size).value, number);
    EXPECT_EQ(rounded_size(kSizeClasses[number].object_size), kSizeClasses[number].object_size);
  }
}

TEST(SizeClass, RoundedSize) {
  pack_tiny_blocks();
  for (size_t size = 0; size <= kMaxClassSize; ++size) ASSERT_EQ(rounded_size(size), info(class_of(size)).object_size);
  for (size_t pages = 4; pages < 1000; ++pages) {
    EXPECT_EQ(rounded_size(pages * kPageSize + 1), (pages + 1) * kPageSize);
    EXPECT_EQ(rounded_size(pages * kPageSize), pages * kPageSize);
  }
  EXPECT_EQ(rounded_size((size_t{1} << 30) * kPageSize), (size_t{1} << 30) * kPageSize);
  EXPECT_EQ(rounded_size((size_t{1} << 30) * kPageSize + 1), 0u) << "can never be had";
  EXPECT_EQ(rounded_size(size_t{PTRDIFF_MAX}), 0u);
  EXPECT_EQ(rounded_size(~size_t{0}), 0u);
}

TEST(SizeClass, EveryAlignmentUpToAPageHasAClass) {
  for (size_t align = kMinAlign; align <= kPageSize; align *= 2) {
    bool found = false;
    for (unsigned number = 1; number < kClassCount; ++number)
      found = found || kSizeClasses[number].object_size % align == 0;
    EXPECT_TRUE(found) << align;
  }
  EXPECT_EQ(kMaxClassSize % kPageSize, 0u) << "the last class serves every alignment up to a page";
}

TEST(SizeClass, WhatAThreadMayHoard) {
  for (unsigned number = 1; number < kClassCount; ++number) {
    const SizeClassInfo &shape = kSizeClasses[number];
    EXPECT_GE(shape.cache_slots, 4u) << number;
    EXPECT_LE(shape.cache_slots / 2, kMaxBatch) << number;
    EXPECT_TRUE(shape.cache_slots == 4 || size_t{shape.cache_slots} * shape.object_size <= kMaxClassSize) << number;
  }
}

TEST(SizeClass, BothTablesInOne) {
  for (size_t size = 0; size <= kMaxClassSize; ++size) {
    const SizeClass expected = size <= kMaxSmallSize ? class_of_small_size(size) : class_of_medium_size(size);
    ASSERT_EQ(class_of_class_size(size).value, expected.value) << size;
  }
}

TEST(SizeClass, BinsAndClassesGoBothWays) {
  unsigned used = 0;
  for (unsigned bin = 0; bin < kBinCount; ++bin) {
    if (!bin_is_used(bin)) continue;
    ++used;
    EXPECT_EQ(bin_of(class_of_bin(bin)), bin);
  }
  EXPECT_EQ(used, 66u) << "all classes but the one of 24 bytes";
  EXPECT_FALSE(bin_is_used(0));
  EXPECT_FALSE(bin_is_used(kUnalignedClass));
  EXPECT_FALSE(bin_is_used(kSentinelMark));
}

}  // namespace
}  // namespace warren

// Address arithmetic and the numbers that must not be mixed up: allocator/base/address.h, units.h, config.h.
// Run by base_test. Invariant: every result is compared with plain arithmetic.
#include "allocator/base/address.h"
#include "allocator/base/units.h"

#include <gtest/gtest.h>

namespace warren {
namespace {

TEST(Address, PowersOfTwo) {
  EXPECT_FALSE(is_power_of_two(0));
  for (unsigned shift = 0; shift < 64; ++shift) {
    const size_t power = size_t{1} << shift;
    EXPECT_TRUE(is_power_of_two(power)) << shift;
    if (shift > 1) {
      EXPECT_FALSE(is_power_of_two(power - 1)) << shift;
      EXPECT_FALSE(is_power_of_two(power + 1)) << shift;
    }
  }
}

TEST(Address, AlignUpAndDown) {
  for (size_t align = 1; align <= 4096; align *= 2) {
    for (size_t n = 0; n < 3 * align; n += align < 64 ? 1 : align / 32) {
      EXPECT_EQ(align_down(n, align), n / align * align);
      EXPECT_EQ(align_up(n, align), (n + align - 1) / align * align);
    }
  }
}

TEST(Address, PointersGoBothWays) {
  int object = 0;
  EXPECT_EQ(at_address<int>(address_of(&object)), &object);
  EXPECT_EQ(address_of(nullptr), 0u);
}

TEST(Units, PagesCoverBytes) {
  EXPECT_EQ(PageCount::covering(0).value, 0u);
  EXPECT_EQ(PageCount::covering(1).value, 1u);
  EXPECT_EQ(PageCount::covering(kPageSize).value, 1u);
  EXPECT_EQ(PageCount::covering(kPageSize + 1).value, 2u);
  EXPECT_EQ(PageCount::covering((size_t{1} << 30) * kPageSize).value, 1u << 30);
  EXPECT_EQ(PageCount{3}.bytes(), 3 * kPageSize);
  EXPECT_EQ(PageCount{0xffffffff}.bytes(), size_t{0xffffffff} << kPageShift) << "no 32-bit arithmetic";
}

TEST(Units, PageArithmetic) {
  EXPECT_EQ(PageId{7} + PageCount{3}, PageId{10});
  EXPECT_EQ(PageId{10} - PageId{7}, PageCount{3});
  EXPECT_EQ(PageCount{10} - PageCount{7}, PageCount{3});
  EXPECT_EQ(PageCount{10} + PageCount{7}, PageCount{17});
  EXPECT_LT(PageId{1}, PageId{2});
  EXPECT_LT(PageCount{1}, PageCount{2});
}

TEST(Units, ClassZeroIsLarge) {
  EXPECT_TRUE(SizeClass{0}.is_large());
  EXPECT_FALSE(SizeClass{1}.is_large());
}

TEST(Config, DerivedConstantsAgree) {
  EXPECT_EQ(kPageSize, 8192u);
  EXPECT_EQ(kPageSize % kOsPageSize, 0u);
  EXPECT_EQ(kMaxObjectsPerSpan, 1024u);
  EXPECT_EQ(kStepSize % kPageSize, 0u);
  EXPECT_EQ(kMinArenaSize % kStepSize, 0u);
  EXPECT_GT(kMaxClassSize, kMaxSmallSize);
}

}  // namespace
}  // namespace warren

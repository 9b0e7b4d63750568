// Multiplies the act lists by sizes, releasers and origins into the table of cases the driver runs.
// Invariant: case names are unique, so that --gtest_filter can pick any one of them.
#include "misuse.h"

namespace misuse {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
// Small, medium and large; both ends of what size classes serve, and three sizes above.
constexpr std::size_t kSizes[] = {8,      16,     24,     100,     1'000,    2'000,
                                  20'000, 32'768, 40'000, 1 * kMiB, 64 * kMiB};
// One of each kind, for acts that are also multiplied by something else.
constexpr std::size_t kFewSizes[] = {24, 2'000, 40'000};
constexpr std::size_t kOnlySize = 100;

void add(std::vector<MisuseCase> &cases, const ActRow &row) {
  using S = ActRow::Spread;
  const Releaser &plain_free = releasers().front();
  const Origin &plain_malloc = origins().front();
  switch (row.spread) {
    case S::kOnce:
      cases.push_back({&row, kOnlySize, &plain_free, &plain_malloc});
      break;
    case S::kSizesAndOrigins:
      for (const Origin &origin : origins().subspan(1)) {
        for (const std::size_t size : kFewSizes) cases.push_back({&row, size, &plain_free, &origin});
      }
      break;
    case S::kSizesAndReleasers:
      for (const Releaser &releaser : releasers().subspan(1)) {
        for (const std::size_t size : kFewSizes) cases.push_back({&row, size, &releaser, &plain_malloc});
      }
      [[fallthrough]];
    case S::kSizes:
      for (const std::size_t size : kSizes) {
        if (size >= row.smallest) cases.push_back({&row, size, &plain_free, &plain_malloc});
      }
      break;
  }
}

}  // namespace

std::string MisuseCase::name() const {
  std::string text = row->name;
  if (origin != &origins().front()) text += std::string("_") + origin->name;
  text += std::string("_by_") + releaser->name + "_" + std::to_string(size);
  return text;
}

const std::vector<MisuseCase> &misuse_cases() {
  static const std::vector<MisuseCase> cases = [] {
    std::vector<MisuseCase> all;
    for (const auto rows : {double_free_rows(), bad_pointer_rows(), foreign_rows(), plight_rows()}) {
      for (const ActRow &row : rows) add(all, row);
    }
    return all;
  }();
  return cases;
}

}  // namespace misuse

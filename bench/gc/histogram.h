// Times in nanoseconds, counted in buckets that are a sixteenth of their size wide; it allocates nothing.
// Included by pauses.cc and slowdown.cc; pauses.go has the same. Invariant: the greatest time is exact, and no percentile exceeds it.
#pragma once

#include <bit>
#include <cinttypes>
#include <cstdint>
#include <cstdio>

class Histogram {
 public:
  void note(std::uint64_t time) {
    ++counts_[bucket(time)];
    ++total_;
    if (time > greatest_) greatest_ = time;
  }

  // Of something that was due every `period`: those that could not be measured meanwhile would have been late as well.
  void note_with_omitted(std::uint64_t time, std::uint64_t period) {
    note(time);
    while (time > period) note(time -= period);
  }

  void add(const Histogram &other) {
    for (unsigned i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    if (other.greatest_ > greatest_) greatest_ = other.greatest_;
  }

  void print(const char *name) const {
    const struct {
      const char *name;
      double part;
    } rows[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
    for (const auto &row : rows) std::printf("%s_%s_ns %" PRIu64 "\n", name, row.name, at(row.part));
    std::printf("%s_max_ns %" PRIu64 "\n", name, greatest_);
  }

  std::uint64_t total() const { return total_; }

  std::uint64_t at(double part) const {
    const auto wanted = static_cast<std::uint64_t>(part * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (unsigned i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen > wanted) return upper(i) < greatest_ ? upper(i) : greatest_;
    }
    return greatest_;
  }

 private:
  static constexpr unsigned kBuckets = 64 * 16;

  static unsigned bucket(std::uint64_t time) {
    if (time < 16) return static_cast<unsigned>(time);
    const auto shift = static_cast<unsigned>(std::bit_width(time)) - 5;
    return (shift + 1) * 16 + static_cast<unsigned>((time >> shift) & 15);
  }

  static std::uint64_t upper(unsigned bucket) {
    if (bucket < 16) return bucket;
    const unsigned shift = bucket / 16 - 1;
    return ((std::uint64_t{16} + bucket % 16 + 1) << shift) - 1;
  }

  std::uint64_t counts_[kBuckets] = {};
  std::uint64_t total_ = 0;
  std::uint64_t greatest_ = 0;
};

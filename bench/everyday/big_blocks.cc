// Claim: a video or scientific pipeline whose frames are large blocks that are written whole, filtered into a copy, resized and dropped.
// Held constant: 150 frames of 5 to 25 MiB, each put in one of 12 places, where the frame before it is freed; every third is filtered into
// a new block of its size, every seventh resized by realloc; one text of 64 bytes with each. Unit: one frame. Run by bench/run.py.
#include "workload.h"

namespace {

constexpr std::size_t kMebibyte = 1024 * 1024;
constexpr std::size_t kSmallest = 5 * kMebibyte;
constexpr std::size_t kSpread = 20 * kMebibyte;
constexpr std::uint64_t kFrames = 150;
constexpr std::size_t kPlaces = 12;
constexpr std::size_t kNoteSize = 64;

workload::Random generator(0x9e3779b97f4a7c15ULL);

std::uint64_t next_random() { return generator.next(); }

struct Frame {
  unsigned char *data;
  std::size_t size;
  std::uint64_t stamp;
};

// Writes all of the frame, a word at a time.
void make(Frame &frame, std::uint64_t stamp) {
  frame.size = kSmallest + next_random() % kSpread;
  frame.data = static_cast<unsigned char *>(workload::require(std::malloc(frame.size)));
  frame.stamp = stamp;
  auto *words = reinterpret_cast<std::uint64_t *>(frame.data);
  const std::size_t count = frame.size / 8;
  std::uint64_t value = stamp * 0x100000001b3ULL + 1;
  for (std::size_t i = 0; i < count; ++i) {
    words[i] = value;
    value += 0x9e3779b97f4a7c15ULL;
  }
  std::memset(frame.data + count * 8, static_cast<int>(stamp & 0xff), frame.size - count * 8);
}

std::uint64_t digest(const Frame &frame) {
  const auto *words = reinterpret_cast<const std::uint64_t *>(frame.data);
  const std::size_t count = frame.size / 8;
  std::uint64_t sum = frame.stamp;
  for (std::size_t i = 0; i < count; i += 16) sum = (sum ^ words[i]) * 0x100000001b3ULL;
  return sum;
}

// A transformed copy takes the frame's place.
std::uint64_t filter(Frame &frame) {
  auto *copy = static_cast<unsigned char *>(workload::require(std::malloc(frame.size)));
  auto *target = reinterpret_cast<std::uint64_t *>(copy);
  const auto *source = reinterpret_cast<const std::uint64_t *>(frame.data);
  const std::size_t count = frame.size / 8;
  target[0] = source[0];
  for (std::size_t i = 1; i < count; ++i) target[i] = source[i] ^ (source[i - 1] >> 1);
  std::memcpy(copy + count * 8, frame.data + count * 8, frame.size - count * 8);
  std::free(frame.data);
  frame.data = copy;
  return target[count / 2];
}

// Cropping or padding.
void resize(Frame &frame) {
  const std::size_t size = kSmallest + next_random() % kSpread;
  auto *data = static_cast<unsigned char *>(workload::require(std::realloc(frame.data, size)));
  if (size > frame.size) std::memset(data + frame.size, 0x5a, size - frame.size);
  frame.data = data;
  frame.size = size;
}

}  // namespace

int main() {
  Frame places[kPlaces] = {};
  std::uint64_t checksum = 0;
  for (std::uint64_t number = 0; number < kFrames; ++number) {
    Frame &frame = places[next_random() % kPlaces];
    if (frame.data != nullptr) {
      checksum = checksum * 31 + digest(frame);
      std::free(frame.data);
      frame.data = nullptr;
    }
    make(frame, number);
    if (number % 3 == 0) checksum += filter(frame);
    if (number % 7 == 0) resize(frame);
    // A small record beside the large ones, as real programs have.
    auto *note = static_cast<char *>(workload::require(std::malloc(kNoteSize)));
    std::snprintf(note, kNoteSize, "frame %" PRIu64 " size %zu", number, frame.size);
    for (const char *c = note; *c != '\0'; ++c) checksum = checksum * 131 + static_cast<unsigned char>(*c);
    std::free(note);
  }
  for (const Frame &frame : places) {
    if (frame.data != nullptr) checksum = checksum * 31 + digest(frame);
    std::free(frame.data);
  }
  workload::report(kFrames, checksum);
}

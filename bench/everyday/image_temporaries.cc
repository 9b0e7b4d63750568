// Claim: image arithmetic written as expressions, in which every operator returns a new image.
// Held constant: 600 steps with images of 96 to 495 pixels a side (36 KiB to 1 MiB), each of two images of noise, an expression of seven
// operators and a blur, and a pyramid of images of half the size; 24 results stay, and each step replaces one of them.
// Unit: one step. Run by bench/run.py.
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr int kSteps = 600;
constexpr std::size_t kKept = 24;
constexpr int kSmallestSide = 96;
constexpr std::uint64_t kSideSpread = 400;
constexpr int kPyramidSide = 192;

workload::Random generator(0x1a9e1a9e1a9e1a9eULL);

std::uint64_t next_random() { return generator.next(); }

struct Image {
  Image() = default;
  Image(int width, int height)
      : width(width), height(height), pixels(new float[static_cast<std::size_t>(width) * static_cast<std::size_t>(height)]) {}
  Image(const Image &other) : Image(other.width, other.height) {
    for (std::size_t i = 0; i < size(); ++i) pixels[i] = other.pixels[i];
  }
  Image(Image &&other) noexcept : width(other.width), height(other.height), pixels(std::exchange(other.pixels, nullptr)) {}
  Image &operator=(Image other) noexcept {
    width = other.width;
    height = other.height;
    std::swap(pixels, other.pixels);
    return *this;
  }
  ~Image() { delete[] pixels; }

  std::size_t size() const { return static_cast<std::size_t>(width) * static_cast<std::size_t>(height); }
  std::size_t place(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x);
  }
  float &at(int x, int y) { return pixels[place(x, y)]; }
  float at(int x, int y) const { return pixels[place(x, y)]; }

  int width = 0;
  int height = 0;
  float *pixels = nullptr;
};

Image operator+(const Image &left, const Image &right) {
  Image result(left.width, left.height);
  for (std::size_t i = 0; i < result.size(); ++i) result.pixels[i] = left.pixels[i] + right.pixels[i];
  return result;
}

Image operator-(const Image &left, const Image &right) {
  Image result(left.width, left.height);
  for (std::size_t i = 0; i < result.size(); ++i) result.pixels[i] = left.pixels[i] - right.pixels[i];
  return result;
}

Image operator*(const Image &image, float factor) {
  Image result(image.width, image.height);
  for (std::size_t i = 0; i < result.size(); ++i) result.pixels[i] = image.pixels[i] * factor;
  return result;
}

Image noise(int width, int height) {
  Image result(width, height);
  std::uint64_t value = next_random();
  for (std::size_t i = 0; i < result.size(); ++i) {
    value = value * 6364136223846793005ULL + 1442695040888963407ULL;
    result.pixels[i] = static_cast<float>(value >> 52) / 16.0F;
  }
  return result;
}

Image blur(const Image &image) {
  Image across(image.width, image.height);
  Image result(image.width, image.height);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 1; x + 1 < image.width; ++x) {
      across.at(x, y) = (image.at(x - 1, y) + image.at(x, y) + image.at(x + 1, y)) * 0.3125F;
    }
    across.at(0, y) = image.at(0, y);
    across.at(image.width - 1, y) = image.at(image.width - 1, y);
  }
  for (int x = 0; x < image.width; ++x) {
    result.at(x, 0) = across.at(x, 0);
    result.at(x, image.height - 1) = across.at(x, image.height - 1);
  }
  for (int y = 1; y + 1 < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      result.at(x, y) = (across.at(x, y - 1) + across.at(x, y) + across.at(x, y + 1)) * 0.3125F;
    }
  }
  return result;
}

Image half(const Image &image) {
  Image result(image.width / 2, image.height / 2);
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) result.at(x, y) = (image.at(2 * x, 2 * y) + image.at(2 * x + 1, 2 * y + 1)) * 0.5F;
  }
  return result;
}

Image scaled_up(const Image &image, int width, int height) {
  Image result(width, height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) result.at(x, y) = image.at(x * image.width / width, y * image.height / height);
  }
  return result;
}

std::uint64_t digest(const Image &image) {
  std::uint64_t sum = image.size();
  for (std::size_t i = 0; i < image.size(); i += 37) {
    sum = sum * 31 + static_cast<std::uint64_t>(static_cast<std::int64_t>(image.pixels[i] * 16.0F));
  }
  return sum;
}

// What each halving loses is kept as a band; the bands are then put together again.
Image pyramid(const Image &source) {
  std::vector<Image> bands;
  Image current = source;
  while (current.width >= kPyramidSide && current.height >= kPyramidSide) {
    Image small = half(blur(current));
    bands.push_back(current - scaled_up(small, current.width, current.height));
    current = std::move(small);
  }
  for (std::size_t i = bands.size(); i > 0; --i) {
    const Image &band = bands[i - 1];
    current = scaled_up(current, band.width, band.height) + band * 0.75F;
  }
  return current;
}

int random_side() {
  return kSmallestSide + static_cast<int>(next_random() % kSideSpread);
}

}  // namespace

int main() {
  std::uint64_t checksum = 0;
  std::vector<Image> kept(kKept);
  for (int step = 0; step < kSteps; ++step) {
    const int width = random_side();
    const int height = random_side();
    Image first = noise(width, height);
    Image second = noise(width, height);
    Image mixed = (first + second) * 0.5F - blur(first) * 0.25F + (second - first) * 0.125F;
    Image result = pyramid(mixed);
    checksum = checksum * 31 + digest(result);
    Image &slot = kept[next_random() % kept.size()];
    if (slot.pixels != nullptr) checksum = checksum * 7 + digest(slot);
    slot = (next_random() & 1) != 0 ? std::move(result) : mixed;
  }
  workload::report(kSteps, checksum);
}

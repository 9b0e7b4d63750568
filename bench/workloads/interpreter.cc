// Claim: an interpreter that boxes every value: most boxes die at once, a few live for long.
// Held constant: boxes of 16 to 64 bytes with a reference count, made in frames of 8 to 64; a frame's boxes die in
// reverse order when it returns, except that one of eight replaces one of 150,000 globals; frames nest up to 24 deep.
// Unit: one box made and dropped. Run by bench/run.py.
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kGlobals = 150'000;
constexpr std::uint64_t kBoxes = 16'000'000;
constexpr int kDeepest = 24;

struct Box {
  std::uint32_t references;
  std::uint32_t kind;
  std::uint64_t value;
};

class Machine {
 public:
  Machine() : globals_(kGlobals, nullptr) { stack_.reserve(64 * (kDeepest + 1)); }

  ~Machine() {
    for (Box *box : globals_) drop(box);
  }

  void call(int depth) {
    const std::size_t base = stack_.size();
    for (std::size_t left = random_.between(8, 64); left > 0; --left) {
      stack_.push_back(make());
      if (depth < kDeepest && random_.below(32) == 0) call(depth + 1);
    }
    while (stack_.size() > base) {
      Box *box = stack_.back();
      stack_.pop_back();
      checksum_ += box->value;
      if (random_.below(8) == 0) {
        ++box->references;
        drop(std::exchange(globals_[random_.below(kGlobals)], box));
      }
      drop(box);
    }
  }

  std::uint64_t made() const { return made_; }
  std::uint64_t checksum() const { return checksum_; }

 private:
  Box *make() {
    const std::size_t words = random_.between(2, 8);
    auto *box = static_cast<Box *>(workload::allocate(words * 8, made_));
    *box = {1, static_cast<std::uint32_t>(words), made_++ & 0xFF};
    return box;
  }

  static void drop(Box *box) {
    if (box != nullptr && --box->references == 0) std::free(box);
  }

  workload::Random random_{24};
  std::vector<Box *> stack_;
  std::vector<Box *> globals_;
  std::uint64_t made_ = 0;
  std::uint64_t checksum_ = 0;
};

}  // namespace

int main() {
  Machine machine;
  while (machine.made() < kBoxes) machine.call(0);
  workload::report(machine.made(), machine.checksum());
}

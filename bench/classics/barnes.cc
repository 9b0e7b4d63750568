// Claim: few allocations and much work on them: where blocks lie matters, not how fast they come; after barnes, which moves bodies that
// attract each other.
// Held constant: 20,000 blocks of 160 bytes, made once; 60 steps write to all of each and read a third of them in no order.
// Unit: one step. Run by bench/run.py.
#include <vector>

#include "workload.h"

int main() {
  constexpr std::uint64_t kSteps = 60;
  constexpr std::size_t kBodies = 20'000;
  struct Body {
    std::uint64_t state[12];
    Body *children[8];
  };
  workload::Random random(2);
  std::vector<Body *> bodies(kBodies);
  for (Body *&body : bodies) {
    body = static_cast<Body *>(workload::allocate(sizeof(Body), 0));
    std::memset(static_cast<void *>(body), 0, sizeof(Body));
  }
  std::uint64_t checksum = 0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    for (Body *body : bodies) {
      for (std::uint64_t &value : body->state) value += step;
    }
    for (std::size_t i = 0; i < kBodies; i += 3) checksum += bodies[random.below(kBodies)]->state[step % 12];
  }
  for (Body *body : bodies) std::free(body);
  workload::report(kSteps, checksum);
}

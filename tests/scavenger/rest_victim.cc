// rest_victim: frees much memory, or little, and then does nothing. Run by scavenger_test.py:
//   gives_back SIZE   512 MiB in blocks of SIZE bytes: resident memory falls by itself, the thread ends, the heap works
//   off               scavenge_delay=off: memory stays, and no thread comes
//   little            a program that frees little has no thread, at any time
//   waits             scavenge_delay=3600000: the thread is there while it waits, and nothing has gone
//   counters          what the statistics say before, during and after
// Invariant: while it waits it makes no call of the heap.
#include "observe.h"

#include <initializer_list>

using namespace observe;

namespace {

constexpr size_t kMuch = 512 * kMiB;

void check_budget(double elapsed) {
  const double spent = static_cast<double>(statistics().scavenger_ns) * 1e-9;
  if (spent > 0.050 + 0.02 * elapsed) BROKEN("the scavenger took %g s of processor time in %g s", spent, elapsed);
}

void gives_back(int argc, char **argv) {
  const double began = seconds();
  REQUIRE(argc > 2);
  const size_t size = strtoul(argv[2], nullptr, 10);
  use_heap(1 * kMiB);
  const size_t before = resident_mib();
  Hoard hoard(size, kMuch);
  REQUIRE(resident_mib() >= before + 500);
  hoard.free_most();
  const size_t freed = resident_mib();
  wait_until("resident memory is near what it was at the start", [&] { return resident_mib() <= before + kKeptMiB; });
  const double back = seconds();
  wait_until("the thread has ended", [] { return tasks() == 1; });
  SAY("size=%zu before=%zu freed=%zu after=%zu\n", size, before, freed, resident_mib());
  check_budget(back - began);
  const wr_mem_stats now = statistics();
  REQUIRE(now.scavenged_bytes >= kMuch - kKeptMiB * kMiB - 64 * kMiB);
  REQUIRE(now.heap_released <= now.heap_idle);
  hoard.check_kept();
  use_heap(64 * kMiB);
  hoard.check_kept();
  Hoard again(size, kMuch / 4);
  again.free_all();
  hoard.free_kept();
}

void off(int, char **) {
  Hoard hoard(100000, 200 * kMiB);
  hoard.free_all();
  for (int i = 0; i < 40; ++i) {
    REQUIRE(tasks() == 1);
    REQUIRE(resident_mib() >= 200);
    pause_ms(10);
  }
  const wr_mem_stats now = statistics();
  REQUIRE(now.scavenged_bytes == 0);
  REQUIRE(now.scavenger_ns == 0);
}

void little(int, char **) {
  REQUIRE(tasks() == 1);
  for (int round = 0; round < 5; ++round) {
    for (const size_t size : {size_t{16}, size_t{1000}, size_t{100000}, size_t{5000000}}) {
      Hoard hoard(size, 20 * kMiB);
      REQUIRE(tasks() == 1);
      hoard.free_all();
      REQUIRE(tasks() == 1);
      pause_ms(20);
      REQUIRE(tasks() == 1);
    }
  }
}

void waits(int, char **) {
  Hoard hoard(100000, 200 * kMiB);
  REQUIRE(tasks() == 1);
  hoard.free_all();
  REQUIRE(tasks() == 2);
  // The thread gives itself its name.
  wait_until("the thread is called warren-scavenge", [] { return scavenger_id() != 0; });
  REQUIRE(resident_mib() >= 200);
  REQUIRE(statistics().scavenged_bytes == 0);
  use_heap(400 * kMiB);
  REQUIRE(tasks() == 2);
}

void counters(int, char **) {
  Hoard hoard(100000, 200 * kMiB);
  const wr_mem_stats full = statistics();
  hoard.free_all();
  const wr_mem_stats freed = statistics();
  REQUIRE(freed.heap_idle >= full.heap_idle + 190 * kMiB);
  uint64_t scavenged = freed.scavenged_bytes, spent = freed.scavenger_ns;
  wait_until("the thread has ended", [&] {
    const wr_mem_stats now = statistics();
    REQUIRE(now.scavenged_bytes >= scavenged);
    REQUIRE(now.scavenger_ns >= spent);
    REQUIRE(now.heap_released <= now.heap_idle);
    REQUIRE(now.heap_idle + now.heap_inuse == now.heap_sys);
    scavenged = now.scavenged_bytes;
    spent = now.scavenger_ns;
    return tasks() == 1;
  });
  const wr_mem_stats now = statistics();
  REQUIRE(now.scavenged_bytes >= 180 * kMiB);
  REQUIRE(now.scavenger_ns != 0);
  REQUIRE(now.heap_released - full.heap_released >= 180 * kMiB);
  REQUIRE(now.heap_released - full.heap_released == now.scavenged_bytes);
}

constexpr Scenario kScenarios[] = {
    {"gives_back", gives_back}, {"off", off}, {"little", little}, {"waits", waits}, {"counters", counters},
};

}  // namespace

int main(int argc, char **argv) { return play(argc, argv, kScenarios); }

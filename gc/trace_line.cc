// See trace_line.h.
#include "gc/trace_line.h"

namespace warren::gc {
namespace {

// number / 10^decimals, with all decimals.
void put_decimal(LogLine &line, uint64_t number, unsigned decimals) {
  uint64_t unit = 1;
  for (unsigned i = 0; i < decimals; ++i) unit *= 10;
  line << number / unit;
  if (decimals == 0) return;
  line << ".";
  for (uint64_t rest = number % unit; unit > 1; rest %= unit) {
    unit /= 10;
    line << rest / unit;
  }
}

// Milliseconds as Go shows them: two digits and at most three decimals, whole ones from 10 ms on.
void put_milliseconds(LogLine &line, uint64_t nanoseconds) {
  if (nanoseconds >= 10'000'000) {
    put_decimal(line, nanoseconds / 1'000'000, 0);
    return;
  }
  uint64_t shown = nanoseconds / 1000;
  if (shown == 0) {
    line << "0";
    return;
  }
  unsigned decimals = 3;
  while (shown >= 100) {
    shown /= 10;
    --decimals;
  }
  put_decimal(line, shown, decimals);
}

void put_all(LogLine &line, const uint64_t *times, const char *separators) {
  put_milliseconds(line, *times);
  for (; *separators != '\0'; ++separators) {
    line.text(separators, 1);
    put_milliseconds(line, *++times);
  }
}

}  // namespace

LogLine &operator<<(LogLine &line, const CycleTrace &cycle) {
  line << "gc " << cycle.number << " @";
  put_decimal(line, cycle.since_start / 1'000'000, 3);
  line << "s " << uint64_t{cycle.percent} << "%: ";
  const uint64_t clock[] = {cycle.clock.first_pause, cycle.clock.mark, cycle.clock.last_pause};
  put_all(line, clock, "++");
  line << " ms clock, ";
  const auto &used = cycle.cpu;
  const uint64_t cpu[] = {used.first_pause, used.assist, used.background, used.idle, used.last_pause};
  put_all(line, cpu, "+//+");
  const auto megabytes = [](uint64_t bytes) { return bytes >> 20; };
  line << " ms cpu, " << megabytes(cycle.heap_at_start) << "->" << megabytes(cycle.heap_at_end) << "->"
       << megabytes(cycle.heap_live) << " MB, " << megabytes(cycle.goal) << " MB goal, " << megabytes(cycle.stacks)
       << " MB stacks, " << megabytes(cycle.globals) << " MB globals, " << uint64_t{cycle.procs} << " P";
  if (cycle.is_forced) line << " (forced)";
  if (cycle.is_minor) line << " (minor)";
  if (cycle.tracking != nullptr) line << " (" << cycle.tracking << ")";
  return line;
}

}  // namespace warren::gc

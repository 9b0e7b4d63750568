// See pacer.h. Names of Go's are in brackets where a formula is Go's.
#include "gc/pacer.h"

namespace warren::gc {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;

// The heap below which nothing is collected, at 100 percent [defaultHeapMinimum]. Larger: small programs never pay
// for a cycle. Smaller: they run one every few milliseconds.
constexpr uint64_t kLeastHeap = 4 * kMiB;

// The trigger lies between 45 and 61 parts of 64 on the way from live heap to goal, some 0.7 to 0.95 [minTriggerRatio-
// Distance, maxTriggerRatioDistance]. Lower: an allocating program would be in a cycle nearly always. Higher: the last
// steps of the way cost too much for each byte. In large heaps 4 MiB are enough of a way.
constexpr uint64_t kWayParts = 64;
constexpr uint64_t kLeastParts = 45;
constexpr uint64_t kMostParts = 61;

constexpr uint64_t kLeastRunway = 64 * kKiB;   // from trigger to goal, where the trigger was missed [minRunway]
constexpr double kLeastWorkLeft = 1000;        // nobody knows exactly when marking ends
constexpr double kOvershoot = 1.1;             // room for a heap that is past its goal [maxOvershoot]
constexpr double kLimitOvershoot = 1.02;       // and when the limit gave the goal: less than the headroom below
constexpr int kOffPercent = 100000;            // growth allowed to a cycle that runs though percent is off

// Of the way to the goal that a full cycle has left, minor ones leave a part at least.
constexpr uint64_t kLeastRoomParts = 8;

// Of the goal that the limit gives, so much is kept for what the pacer does not see [...HeadroomPercent].
constexpr uint64_t kHeadroomPercent = 3;
constexpr uint64_t kLeastHeadroom = kMiB;

// A worker count that is off by more than this from a quarter of the processors is made up for by a fractional worker.
constexpr double kMostRounding = 0.3;

// Rates computed from shares above this one would be noise.
constexpr double kMostShare = 0.95;

uint64_t plus(uint64_t a, uint64_t b) { return b > kNever - a ? kNever : a + b; }
uint64_t minus(uint64_t a, uint64_t b) { return b > a ? 0 : a - b; }
uint64_t least(uint64_t a, uint64_t b) { return b < a ? b : a; }
uint64_t most(uint64_t a, uint64_t b) { return b > a ? b : a; }

// a * percent / 100, kNever when it is more than that.
uint64_t percent_of(uint64_t a, int percent) {
  const auto factor = static_cast<uint64_t>(percent);
  uint64_t whole;
  if (__builtin_mul_overflow(a / 100, factor, &whole)) return kNever;
  return plus(whole, a % 100 * factor / 100);
}

// The nearest number of bytes below.
uint64_t to_bytes(double bytes) {
  if (!(bytes > 0)) return 0;
  return bytes >= 0x1p63 ? kNever : static_cast<uint64_t>(bytes);
}

}  // namespace

uint64_t ScanBytes::total() const { return plus(plus(heap, stacks), plus(globals, again)); }

uint64_t Pace::work_for(uint64_t bytes) const {
  if (work_per_byte <= 0) return 0;
  return most(to_bytes(work_per_byte * static_cast<double>(bytes) + 1), kLeastWork);
}

uint64_t Pace::bytes_for(uint64_t work) const { return to_bytes(bytes_per_work * static_cast<double>(work)); }

// What was allocated while marking was on is kept, dead or not, and the heap grows for what is known to be reachable: but for half of what
// is kept at least, or a heap that grows fast would be in a cycle always.
uint64_t Pacer::percent_goal() const {
  if (percent_ < 0) return kNever;
  const uint64_t known = most(minus(full_marked_, full_new_), full_marked_ / 2);
  const uint64_t base = plus(plus(known, full_history_.scan.stacks), full_history_.scan.globals);
  const uint64_t goal = most(plus(full_marked_, percent_of(base, percent_)), percent_of(kLeastHeap, percent_));
  if (heap_marked_ <= full_marked_) return goal;
  return most(goal, plus(heap_marked_, minus(goal, full_marked_) / kLeastRoomParts));
}

uint64_t Pacer::expected_scan() const {
  const uint64_t scan = history().scan.total();
  return minor_ && !minor_history_.known ? scan / 2 : scan;
}

// What the limit leaves for the heap when everything else has had its part, less what is over the limit already
// [memoryLimitHeapGoal].
uint64_t Pacer::limit_goal(const Footprint &footprint) const {
  if (limit_ == kNever) return kNever;
  const uint64_t other = minus(footprint.mapped, plus(footprint.free, footprint.heap_bytes));
  const uint64_t taken = plus(other, minus(footprint.mapped, limit_));
  if (taken >= limit_) return heap_marked_;  // a heap of no size at all would still be too much
  const uint64_t room = limit_ - taken;
  const uint64_t headroom = most(room / 100 * kHeadroomPercent, kLeastHeadroom);
  return most(most(minus(room, headroom), headroom), heap_marked_);
}

uint64_t Pacer::heap_goal(const Footprint &footprint) const {
  const uint64_t limit = limit_goal(footprint);
  uint64_t goal = percent_goal();
  if (limit < goal) return limit;  // hard: the reason below is not worth going over it
  if (triggered_ != kNever) goal = most(goal, plus(triggered_, kLeastRunway));
  return goal;
}

// Bytes the program allocates while the expected work gets done by a quarter of the processors.
uint64_t Pacer::runway() const {
  return to_bytes(history().cons_mark * (1 - kBackgroundShare) / kBackgroundShare * static_cast<double>(expected_scan()));
}

Targets Pacer::targets(const Footprint &footprint) const {
  const uint64_t goal = heap_goal(footprint);
  if (goal == kNever) return {kNever, kNever};
  if (heap_marked_ >= goal) return {goal, goal};
  const uint64_t way = goal - heap_marked_;
  const uint64_t earliest = heap_marked_ + way / kWayParts * kLeastParts;
  uint64_t latest = heap_marked_ + way / kWayParts * kMostParts;
  latest = most(latest, minus(goal, kLeastHeap));
  latest = most(latest, earliest);
  return {least(most(minus(goal, runway()), earliest), latest), goal};
}

Workers Pacer::start_cycle(const Start &start) {
  triggered_ = start.heap_live;
  started_ = start.now;
  procs_ = start.procs == 0 ? 1 : start.procs;
  minor_ = start.minor;
  full_history_.scan.globals = minor_history_.scan.globals = start.globals;

  const double wanted = kBackgroundShare * procs_;
  Workers workers{static_cast<unsigned>(wanted + 0.5), 0, 0};
  const double error = workers.dedicated / wanted - 1;
  if (error > kMostRounding || error < -kMostRounding) {
    if (workers.dedicated > wanted) --workers.dedicated;
    workers.fractional = wanted - workers.dedicated;
  }
  workers.idle = procs_ - workers.dedicated;
  return workers;
}

Pace Pacer::revise(const Progress &progress, const Footprint &footprint) const {
  const uint64_t soft_goal = heap_goal(footprint);
  if (soft_goal == kNever) return {};  // a cycle by request: the heap may have any size, so it is not worth waiting for
  const double growth = (percent_ < 0 ? kOffPercent : percent_) / 100.0;
  const auto live = static_cast<double>(progress.heap_live);
  const auto done = static_cast<double>(progress.done.total());
  auto goal = static_cast<double>(soft_goal);

  // At worst everything is reachable. Work that came to more than there seemed to be is there all the same.
  const ScanBytes &there = progress.scannable;
  const ScanBytes worst{most(there.heap, progress.done.heap), most(there.stacks, progress.done.stacks),
                        most(there.globals, progress.done.globals), most(history().scan.again, progress.done.again)};
  const auto worst_work = static_cast<double>(worst.total());
  auto expected = full_history_.known ? static_cast<double>(expected_scan()) : worst_work;

  if (done > expected) {
    // The heap grows: what is left of the way was meant for less work. It gets longer in proportion, up to the goal
    // of a heap in which everything is live.
    const auto begin = static_cast<double>(triggered_ == kNever ? heap_marked_ : triggered_);
    const double extended = begin + (goal - begin) * (expected > 0 ? worst_work / expected : 1);
    const auto limit = static_cast<double>(limit_goal(footprint));
    double hard = (1 + growth) * goal;
    if (hard > limit) hard = limit;
    const double allowed = extended > hard ? hard : extended;
    if (allowed > goal) goal = allowed;
    expected = worst_work;
  }
  if (live > goal) {
    goal *= soft_goal < percent_goal() ? kLimitOvershoot : kOvershoot;
    expected = worst_work;
  }
  double left = expected - done;
  if (left < kLeastWorkLeft) left = kLeastWorkLeft;
  double room = goal - live;
  if (room < 1) room = 1;
  Pace pace{left / room, room / left, to_bytes(goal)};
  if (progress.is_limited) pace.work_per_byte = 0;
  return pace;
}

Pacer::Summary Pacer::end_cycle(const End &end) {
  const uint64_t elapsed = minus(end.now, started_);
  const double available = static_cast<double>(elapsed) * procs_;
  double share = kBackgroundShare, idle = 0;
  if (elapsed != 0) {
    if (end.background_time != 0) share = static_cast<double>(end.background_time) / available;
    share += static_cast<double>(end.assist_time) / available;
    idle = static_cast<double>(end.idle_time) / available;
  }
  const double measured = share;
  if (share > kMostShare) share = kMostShare;
  if (idle > kMostShare) idle = kMostShare;

  Summary summary{measured, 0};
  History &history = end.minor ? minor_history_ : full_history_;
  const uint64_t work = end.done.total();
  if (triggered_ != kNever && end.heap_live > triggered_ && work != 0) {
    const auto allocated = static_cast<double>(end.heap_live - triggered_);
    summary.cons_mark = allocated * (share + idle) / (static_cast<double>(work) * (1 - share));
    // The greatest of the last ones: a cycle that begins too late costs the program more than one that begins early.
    history.cons_mark = summary.cons_mark;
    for (const double past : history.past_cons_mark) history.cons_mark = past > history.cons_mark ? past : history.cons_mark;
    for (unsigned i = 0; i + 1 < kHistory; ++i) history.past_cons_mark[i] = history.past_cons_mark[i + 1];
    history.past_cons_mark[kHistory - 1] = summary.cons_mark;
  }

  heap_marked_ = end.heap_marked;
  if (!end.minor || end.heap_marked < full_marked_) {  // less than the full one has left: another would leave no more than this
    full_marked_ = end.heap_marked;
    full_new_ = end.heap_new;
  }
  history.scan = end.done;
  history.known = true;
  minor_ = end.next_is_minor;
  triggered_ = kNever;
  return summary;
}

uint64_t ScanCredit::take(uint64_t wanted) {
  uint64_t there = work_.load(std::memory_order_relaxed);
  for (;;) {
    const uint64_t taken = least(there, wanted);
    if (taken == 0) return 0;
    if (work_.compare_exchange_weak(there, there - taken, std::memory_order_relaxed)) return taken;
  }
}

void CpuLimiter::resize(unsigned procs) {
  procs_ = procs == 0 ? 1 : procs;
  capacity_ = procs_ * kSecond;
  fill_ = least(fill_, most_fill());
}

void CpuLimiter::note(uint64_t process_time, uint64_t collector_time) {
  if (process_time < noted_) noted_ = 0;  // a forked child's begins anew
  const uint64_t program_time = minus(process_time - noted_, collector_time);
  noted_ = process_time;
  if (collector_time < program_time) {
    fill_ = minus(fill_, program_time - collector_time);
    return;
  }
  const uint64_t change = collector_time - program_time;
  const uint64_t room = most_fill() - fill_;
  overflow_ = plus(overflow_, minus(change, room));
  fill_ += least(change, room);
}

}  // namespace warren::gc

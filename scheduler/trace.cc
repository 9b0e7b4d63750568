// See trace.h.
//
//   SCHED 1006ms: gomaxprocs=2 idleprocs=0 threads=4 spinningthreads=0 idlethreads=1 runqueue=125 [113 33]
#include "scheduler/trace.h"

#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "scheduler/clock.h"
#include "scheduler/report.h"
#include "scheduler/stack.h"
#include "scheduler/state.h"

namespace warren::scheduler::trace {
namespace {

uint64_t began_at = 0;
uint64_t printed_at = 0;

int64_t number_of(const P *p) { return p == nullptr ? -1 : static_cast<int64_t>(p->id); }
int64_t number_of(const M *m) { return m == nullptr ? -1 : static_cast<int64_t>(m->id); }

LogLine &operator<<(LogLine &line, int64_t number) {
  if (number < 0) return line << "-" << static_cast<uint64_t>(-number);
  return line << static_cast<uint64_t>(number);
}

void print_ps(int count) {
  for (int i = 0; i < count; ++i) {
    const P *p = sched.ps[i].load(std::memory_order_relaxed);
    LogLine line;
    line << "  P" << uint64_t{p->id} << ": status=" << static_cast<uint64_t>(p->status.load(std::memory_order_relaxed))
         << " schedtick=" << uint64_t{p->slices.load(std::memory_order_relaxed)}
         << " syscalltick=" << uint64_t{p->blocking_calls.load(std::memory_order_relaxed)} << " m=";
    line << number_of(p->m.load(std::memory_order_relaxed));
    line << " runqsize=" << uint64_t{p->queue.size()} << " timerslen=" << uint64_t{p->timers.next() != kNever};
    line.write_to(2);
  }
}

void print_ms() {
  for (const M *m = sched.all_ms.load(std::memory_order_acquire); m != nullptr; m = m->next_all) {
    if (m->thread_id == 0) continue;
    LogLine line;
    line << "  M" << uint64_t{m->id} << ": p=";
    line << number_of(m->p.load(std::memory_order_relaxed));
    const G *g = m->current;  // a moment's impression; Gs are never unmapped
    line << " curg=" << (g != nullptr ? g->id : 0)
         << " blocking=" << uint64_t{is_blocking(m)}
         << " spinning=" << (m->spinning ? "true" : "false")
         << " lockedg=" << (m->locked_g != nullptr ? m->locked_g->id : 0);
    line.write_to(2);
  }
}

void print_g(G *g, void *) {
  const GStatus status = g->status.load(std::memory_order_relaxed);
  if (status == GStatus::kDead) return;
  LogLine line;
  line << "  G" << g->id << ": status=" << static_cast<uint64_t>(status) << "(" << state_name(g) << ") m=";
  line << number_of(status == GStatus::kRunning ? g->m.load(std::memory_order_relaxed) : nullptr);
  line << " lockedm=" << number_of(g->locked_m);
  line.write_to(2);
}

void print(uint64_t time) {
  const bool detail = options.scheddetail.load(std::memory_order_relaxed) != 0;
  const int count = sched.p_count.load(std::memory_order_relaxed);
  LogLine line;
  line << "SCHED " << (time - began_at) / kMillisecond << "ms: gomaxprocs=" << static_cast<uint64_t>(count)
       << " idleprocs=" << uint64_t{sched.idle_p_count.load(std::memory_order_relaxed)};
  uint32_t threads;
  uint32_t idle;
  uint32_t global;
  {
    MutexLock hold(sched.lock);
    threads = sched.m_count;
    idle = sched.idle_m_count;
    global = sched.global.count;
  }
  line << " threads=" << uint64_t{threads}
       << " spinningthreads=" << uint64_t{sched.spinning.load(std::memory_order_relaxed)}
       << " idlethreads=" << uint64_t{idle} << " runqueue=" << uint64_t{global};
  if (!detail) {
    line << " [";
    for (int i = 0; i < count; ++i)
      line << (i == 0 ? "" : " ") << uint64_t{sched.ps[i].load(std::memory_order_relaxed)->queue.size()};
    line << "]";
  } else {
    line << " stopping=" << uint64_t{sched.stopping.load(std::memory_order_relaxed)};
  }
  line.write_to(2);
  if (!detail) return;
  print_ps(count);
  print_ms();
  stacks::for_each(print_g, nullptr);
}

}  // namespace

void print_if_due(uint64_t time) {
  if (began_at == 0) began_at = printed_at = time;
  const uint64_t interval = options.schedtrace.load(std::memory_order_relaxed);
  if (interval == 0 || interval == kNoLimit || time - printed_at < interval * kMillisecond) return;
  printed_at = time;
  print(time);
}

}  // namespace warren::scheduler::trace

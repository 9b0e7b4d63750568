// See heap_profile.h.
#include "inspect/heap_profile.h"

#include "allocator/base/annotations.h"
#include "allocator/base/address.h"
#include "allocator/base/log.h"
#include "allocator/base/options.h"
#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"
#include "allocator/base/stop_gate.h"
#include "allocator/metadata.h"
#include "allocator/page_heap.h"
#include "allocator/sampling.h"
#include "allocator/thread.h"
#include "inspect/pprof.h"
#include "inspect/sample_weight.h"
#include "inspect/stack_table.h"
#include "inspect/stack_trace.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

namespace warren::inspect::heap_profile {
namespace {

constinit Mutex lock(LockRank::kSamples);

// A sampled block that lives.
struct Live {
  Live *next;
  uintptr_t block;
  uint64_t size;
  uint64_t born;
  uint32_t stack;
  float weight;  // allocations that it stands for
};
metadata::FixedAllocator<Live> live_allocator;

// A power of two of them, and four times as many when they hold more than two each.
constexpr size_t kFirstBuckets = 1024;
Live **buckets GUARDED_BY(lock) = nullptr;
size_t bucket_count GUARDED_BY(lock) = 0;
size_t live_count GUARDED_BY(lock) = 0;

struct Totals {
  double allocated, allocated_bytes, freed, freed_bytes;
};
constexpr size_t kTotalsPerChunk = 1024;
constexpr size_t kMostChunks = size_t{1} << 14;
WARREN_LARGE_TABLE Totals *chunks[kMostChunks] GUARDED_BY(lock);  // by stack

std::atomic<bool> started{false};          // relaxed: nothing hangs on it but answers
std::atomic<uint64_t> started_at{0};       // likewise
std::atomic<uint64_t> last_periodic{0};    // when; who moves it on writes the file
std::atomic<uint32_t> file_count{0};       // numbers of periodic files and those by signal
std::atomic<bool> writing{false};          // one dump at a time
std::atomic<bool> dump_wanted{false};      // by a signal that came at a bad moment; relaxed: looked at again and again
uint64_t first_process = 0;                // that started; its forked children have other file names

Totals *totals_of(uint32_t stack) REQUIRES(lock) {
  const size_t chunk = stack / kTotalsPerChunk;
  if (chunk >= kMostChunks) return nullptr;
  if (chunks[chunk] == nullptr) {
    MutexLock guard(metadata::lock);
    chunks[chunk] = static_cast<Totals *>(metadata::allocate(kTotalsPerChunk * sizeof(Totals), alignof(Totals)));
    if (chunks[chunk] == nullptr) return nullptr;
  }
  return &chunks[chunk][stack % kTotalsPerChunk];
}

Live *&bucket_of(uintptr_t block) REQUIRES(lock) {
  return buckets[static_cast<size_t>((uint64_t{block} >> 3) * 0x9e3779b97f4a7c15 >> 32) & (bucket_count - 1)];
}

// Room for one more. False: no memory at all.
bool reserve_bucket() REQUIRES(lock) {
  if (buckets != nullptr && live_count < 2 * bucket_count) return true;
  const size_t wanted = buckets == nullptr ? kFirstBuckets : bucket_count * 4;
  Live **fresh;
  {
    MutexLock guard(metadata::lock);
    fresh = static_cast<Live **>(metadata::allocate(wanted * sizeof(Live *), alignof(Live *)));
  }
  if (fresh == nullptr) return buckets != nullptr;
  Live **const old = buckets;
  const size_t old_count = bucket_count;
  buckets = fresh;
  bucket_count = wanted;
  for (size_t i = 0; i < old_count; ++i) {
    while (Live *live = old[i]) {
      old[i] = live->next;
      Live *&bucket = bucket_of(live->block);
      live->next = bucket;
      bucket = live;
    }
  }
  return true;
}

// --- what the heap calls ---

uint64_t rate() { return options.prof_rate.load(std::memory_order_relaxed); }

uint32_t stack() {
  void *frames[kMostFrames];
  return stack_table::record(frames, capture(frames, kMostFrames));
}

bool add(const void *block, size_t size, uint64_t rate, uint32_t stack) {
  const uint64_t born = now();
  page_heap::stamp.store(static_cast<uint32_t>(born / kStampUnit), std::memory_order_relaxed);
  MutexLock guard(lock);
  Totals *totals = totals_of(stack);
  if (totals == nullptr || !reserve_bucket()) return false;
  Live *live = live_allocator.allocate();
  if (live == nullptr) return false;
  Live *&bucket = bucket_of(address_of(block));
  *live = {bucket, address_of(block), size, born, stack, static_cast<float>(sample_weight(size, rate))};
  bucket = live;
  ++live_count;
  totals->allocated += double{live->weight};
  totals->allocated_bytes += double{live->weight} * static_cast<double>(size);
  return true;
}

bool remove(const void *block) {
  MutexLock guard(lock);
  if (buckets == nullptr) return false;
  for (Live **link = &bucket_of(address_of(block)); *link != nullptr; link = &(*link)->next) {
    Live *live = *link;
    if (live->block != address_of(block)) continue;
    *link = live->next;
    --live_count;
    Totals *totals = totals_of(live->stack);
    totals->freed += double{live->weight};
    totals->freed_bytes += double{live->weight} * static_cast<double>(live->size);
    live_allocator.free(live);
    return true;
  }
  return false;
}

void write_numbered();

// After a sample, on the thread that allocated: the moment for files that are due.
void after() {
  if (WARREN_UNLIKELY(dump_wanted.load(std::memory_order_relaxed)) && dump_wanted.exchange(false)) write_numbered();
  const uint64_t milliseconds = options.prof_interval.load(std::memory_order_relaxed);
  if (milliseconds == 0 || milliseconds == kNoLimit) return;
  const uint64_t interval = milliseconds * 1'000'000;
  const uint64_t time = now();
  uint64_t last = last_periodic.load(std::memory_order_relaxed);
  if (static_cast<int64_t>(time - last) < static_cast<int64_t>(interval)) return;
  if (!last_periodic.compare_exchange_strong(last, time, std::memory_order_relaxed)) return;
  write_numbered();
  // A file that takes longer than the interval is not followed by the next at once.
  last_periodic.store(now(), std::memory_order_relaxed);
}

constexpr sampling::Watcher kWatcher{rate, stack, add, remove, after};

// --- files ---

int64_t rounded(double number) { return number < 0.5 ? 0 : static_cast<int64_t>(number + 0.5); }

bool copy_totals(gc::PagedArray<pprof::Sample> &samples) {
  // Reserved outside of the lock; stacks that come meanwhile are left for the next time.
  const uint32_t most = stack_table::count() + 1;
  if (!samples.reserve(most)) return false;
  MutexLock guard(lock);
  for (uint32_t stack = 0; stack < most; ++stack) {
    const Totals *chunk = chunks[stack / kTotalsPerChunk];
    if (chunk == nullptr) {
      stack |= kTotalsPerChunk - 1;
      continue;
    }
    const Totals &totals = chunk[stack % kTotalsPerChunk];
    if (totals.allocated == 0) continue;
    samples.push_back({stack,
                       {rounded(totals.allocated), rounded(totals.allocated_bytes), rounded(totals.allocated - totals.freed),
                        rounded(totals.allocated_bytes - totals.freed_bytes)}});
  }
  return true;
}

int64_t unix_now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// The caller has `writing`.
int write_now(const char *path, View view) {
  gc::PagedArray<pprof::Sample> samples;
  int error = ENOMEM;
  if (copy_totals(samples)) {
    const pprof::Heading heading{unix_now(), static_cast<int64_t>(now() - started_at.load(std::memory_order_relaxed)),
                                 static_cast<int64_t>(rate()), view == View::kInUse ? 3u : 1u};
    error = pprof::write(path, samples, heading);
  }
  samples.release();
  return error;
}

// acquire and release: what one writer did to the buffers, the next one sees.
bool try_begin_writing() { return !writing.exchange(true, std::memory_order_acquire); }
void end_writing() { writing.store(false, std::memory_order_release); }

constexpr size_t kMostPath = sizeof Options::prof + 64;

void append(char (&path)[kMostPath], const char *separator, uint64_t number) {
  LogLine suffix;
  suffix << separator << number;
  const size_t length = strlen(path);
  memcpy(path + length, suffix.data(), suffix.size());
  path[length + suffix.size()] = '\0';
}

// The option's, and the process's number for one that is not the first.
void own_name(char (&path)[kMostPath]) {
  strcpy(path, options.prof);
  const uint64_t named = options.prof_pid.load(std::memory_order_relaxed);
  const uint64_t process = os_calls::process_id();
  if (process != (named != 0 && named != kNoLimit ? named : first_process)) append(path, ".", process);
}

void complain(const char *path, int error) {
  LogLine line;
  line << "warren: cannot write the heap profile to " << path << ": error " << static_cast<uint64_t>(error);
  line.write_to(2);
}

void write_numbered() {
  if (options.prof[0] == '\0') return;
  if (!try_begin_writing()) return dump_wanted.store(true, std::memory_order_relaxed);
  char path[kMostPath];
  own_name(path);
  append(path, ".", file_count.fetch_add(1, std::memory_order_relaxed) + 1);
  const int error = write_now(path, View::kInUse);
  end_writing();
  if (error != 0) complain(path, error);
}

// Inside the heap, or holding one of the runtime's locks, the thread cannot take another: then the next sample writes it.
void on_signal(int, void *, void *) {
  CacheAccess access;
  if (access.reentered() || stop_gate::inside != 0) return dump_wanted.store(true, std::memory_order_relaxed);
  write_numbered();
}

void handle_signal() {
  if (options.prof_signal.load(std::memory_order_relaxed) - 1 >= kNoLimit - 1) return;  // 0, off
  const auto signal = static_cast<int>(options.prof_signal.load(std::memory_order_relaxed));
  if (os_calls::handler_of(signal) != nullptr || os_calls::failed(os_calls::handle_signal(signal, on_signal))) {
    LogLine line;
    line << "warren: prof_signal=" << static_cast<uint64_t>(signal) << ": the signal cannot be handled, or is already";
    line.write_to(2);
  }
}

}  // namespace

void start(uint64_t wanted_rate) {
  if (wanted_rate != 0) options.prof_rate.store(wanted_rate, std::memory_order_relaxed);
  if (!started.exchange(true, std::memory_order_relaxed)) {
    first_process = os_calls::process_id();
    const uint64_t time = now();
    started_at.store(time, std::memory_order_relaxed);
    last_periodic.store(time, std::memory_order_relaxed);
  }
  page_heap::stamp.store(static_cast<uint32_t>(now() / kStampUnit), std::memory_order_relaxed);
  sampling::watch(&kWatcher);
}

void stop() {
  sampling::watch(nullptr);
  page_heap::stamp.store(0, std::memory_order_relaxed);
}

uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);  // libc reads it without the kernel; a signal handler may
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

WARREN_AT_START bool has_started() { return started.load(std::memory_order_relaxed); }

int dump(const char *path, View view) {
  if (!has_started()) return ENODATA;
  while (!try_begin_writing()) os_calls::sleep(1'000'000);
  const int error = write_now(path, view);
  end_writing();
  return error;
}

WARREN_AT_START void set_up_from_options() {
  if (options.prof[0] == '\0' && options.heap_dump[0] == '\0') return;
  start(0);
  if (options.prof[0] != '\0') handle_signal();
}

WARREN_AT_START void dump_at_exit() {
  if (options.prof[0] == '\0' || !has_started()) return;
  char path[kMostPath];
  own_name(path);
  if (const int error = dump(path, View::kAllocated)) return complain(path, error);
  if (options.prof_pid.load(std::memory_order_relaxed) != os_calls::process_id()) return;
  LogLine line;  // for who ran it by the command
  line << "warren: heap profile in " << path << "; to read it: go tool pprof -top " << path;
  line.write_to(2);
}

void for_each_live(void (*visit)(const LiveSample &sample, void *context), void *context) NO_THREAD_SAFETY_ANALYSIS {
  for (size_t i = 0; i < bucket_count; ++i) {
    for (const Live *live = buckets[i]; live != nullptr; live = live->next) {
      visit({live->block, live->size, live->born, live->stack, live->weight}, context);
    }
  }
}

namespace {
bool locked = false;  // guarded by the lock itself
}

void lock_for_fork() NO_THREAD_SAFETY_ANALYSIS {
  locked = lock.lock_for_fork();
  stack_table::lock_for_fork();
}

void unlock_after_fork(bool in_child) NO_THREAD_SAFETY_ANALYSIS {
  stack_table::unlock_after_fork(in_child);
  if (in_child) {
    writing.store(false, std::memory_order_relaxed);  // the writer did not come along
    file_count.store(0, std::memory_order_relaxed);
  }
  if (locked) lock.unlock_after_fork(in_child);
}

}  // namespace warren::inspect::heap_profile

// See own_threads.h. What the process has done is kept with its id: a child has done none of it.
#include "allocator/base/own_threads.h"

#include "allocator/base/os_calls.h"
#include "allocator/base/os_process.h"

namespace warren {
namespace {

std::atomic<OwnThread *> first{nullptr};  // release and acquire: what is listed has its next_

// seq_cst: of who announces a thread and the main thread that ends, one sees what the other did.
enum Announced : uint32_t { kNone, kUnfiltered, kFiltered };
std::atomic<uint32_t> announced{kNone};
std::atomic<uint64_t> main_ended_in{0}, watched{0};  // the process

void watch_if_due() {
  if (announced.load(std::memory_order_seq_cst) == kNone) return;
  const uint64_t ended = main_ended_in.load(std::memory_order_seq_cst);
  if (ended == 0 || ended != os_process::id()) return;
  const auto start = OwnThreads::watch.load(std::memory_order_relaxed);
  if (start == nullptr || watched.exchange(ended, std::memory_order_seq_cst) == ended) return;
  if (!start()) watched.store(0, std::memory_order_seq_cst);  // the next that is announced tries again
}

uint64_t name_of(uint64_t process, uint32_t id) { return process << 32 | id; }

}  // namespace

std::atomic<bool (*)()> OwnThreads::watch{nullptr};

void OwnThread::begin() {
  resting_.store(kWorks, std::memory_order_seq_cst);
  self_.store(name_of(os_process::id(), os_calls::thread_id()), std::memory_order_relaxed);  // for is_one() a moment's truth
  if (listed_) return;
  listed_ = true;
  next_ = first.load(std::memory_order_relaxed);
  while (!first.compare_exchange_weak(next_, this, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

void OwnThreads::announce() {
  uint32_t none = kNone;
  announced.compare_exchange_strong(none, os_calls::filtered() ? kFiltered : kUnfiltered, std::memory_order_seq_cst);
  watch_if_due();
}

void OwnThreads::main_ends() {
  main_ended_in.store(os_process::id(), std::memory_order_seq_cst);
  watch_if_due();
}

bool OwnThreads::is_resting(uint64_t process, uint32_t id) {
  const uint64_t name = name_of(process, id);
  for (const OwnThread *own = first.load(std::memory_order_acquire); own != nullptr; own = own->next_) {
    if (own->resting_.load(std::memory_order_seq_cst) == name) return true;
  }
  return false;
}

bool OwnThreads::is_one(uint64_t process, uint32_t id) {
  const uint64_t name = name_of(process, id);
  for (const OwnThread *own = first.load(std::memory_order_acquire); own != nullptr; own = own->next_) {
    if (own->self_.load(std::memory_order_relaxed) == name) return true;  // relaxed: as in begin()
  }
  return false;
}

bool OwnThreads::filtered_since() {
  return announced.load(std::memory_order_relaxed) == kUnfiltered && os_calls::filtered();
}

}  // namespace warren
